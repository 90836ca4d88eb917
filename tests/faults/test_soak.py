"""A long run does not grow: neither its memory, nor its open files, nor its threads."""

import os
import threading
import time
from pathlib import Path

import pytest
import tiny

from rlsparse import loop
from rlsparse.run.reporters import Reporters

MINUTES = 30.0
RECIPE = tiny.recipe(
    env="Hopper-v5", num_seeds=2, total_steps=10**9, num_envs=8, rollout_length=128, eval_every=20_000, eval_episodes=2
)


class Watch(Reporters):
    """Reporters that note memory (bytes), open files and threads at every evaluation."""

    seen: list[tuple[float, int, int, int]]

    def evaluation(self, session, rows):
        super().evaluation(session, rows)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        size = pages * os.sysconf("SC_PAGE_SIZE")
        self.seen.append((time.monotonic(), size, len(os.listdir("/proc/self/fd")), threading.active_count()))


def soak(folder, seconds):
    """Train for so long; return what was seen."""
    session = tiny.begin(folder, RECIPE)
    end = time.monotonic() + seconds
    with Watch(session, quiet=True) as watch:
        watch.seen = []
        with pytest.raises(loop.Interrupted):
            loop.train(session, watch, lambda: time.monotonic() > end)
    session.run.release()
    return watch.seen


@pytest.mark.long
def test_half_an_hour_of_training_leaves_memory_files_and_threads_as_they_were(tmp_path):
    seen = soak(tmp_path / "run", 60 * MINUTES)
    early, late = seen[len(seen) // 10 : len(seen) // 5], seen[-len(seen) // 10 :]
    growth = min(x[1] for x in late) - max(x[1] for x in early)
    print(f"{len(seen)} evaluations, {early[0][1] / 1e6:.1f} MB early, {late[-1][1] / 1e6:.1f} MB late")
    assert growth < 2e6
    assert {x[2:] for x in late} <= {x[2:] for x in early}
