"""Cells of small studies, as they are before anything is trained, and a pool that has no process."""

from collections import deque
from pathlib import Path

import tiny
from matplotlib.figure import Figure

from rlsparse.run.stop import Stop
from rlsparse.study import worker
from rlsparse.study.cell import Cell
from rlsparse.study.pool import Ended


def cell(name="ppo", seed=0, **changes):
    recipe = tiny.recipe(seed=seed, **changes)
    asked = ("eval-every", "eval-episodes")
    folder = Path("study", recipe.env, name, f"seeds-{seed}-{recipe.seeds[-1]}")
    return Cell("ppo", recipe, asked, folder, name, name)


class Here:
    """A pool whose jobs run in this process, one after the other; `crash` names folders at which a process dies."""

    def __init__(self, slots=1, crash=()):
        self.slots, self.crash = slots, crash
        self.jobs, self.over, self.stops = [], deque(), 0
        self.stop_signal = Stop()

    def start(self, job):
        assert len(self.over) < self.slots
        self.jobs.append(job)
        code, reason = 0, ""
        for folder in job.folders:
            if str(folder) in self.crash:
                code, reason = 137, "its process was ended by signal 9"
                break
            code = code or worker.work([folder], job.trusted, self.stop_signal)
        self.over.append(Ended(job, reason, code))

    def ended(self, seconds):
        found = [*self.over]
        self.over.clear()
        return found

    def stop(self):
        self.stops += 1


def carry_out_here(monkeypatch, tmp_path):
    """Let studies be carried out in this process and in tmp_path; nothing is waited for that nobody looks at."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.fsync", lambda _: None)
    monkeypatch.setattr(Figure, "savefig", lambda _, file, **__: file.write(b"a picture"))
    monkeypatch.setattr("rlsparse.study.sweep.LocalPool", lambda slots: Here())
