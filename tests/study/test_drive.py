"""A drive trains the cells of a study that are not finished, and says how all of them stand."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import fake_envs
import pytest
import tiny
from cells import Here, cell
from matplotlib.figure import Figure

from rlsparse.run import directory as runs
from rlsparse.run.foreign import COMMAND
from rlsparse.run.status import Settings
from rlsparse.run.stop import Stop
from rlsparse.study import worker
from rlsparse.study.drive import Drive, Options
from rlsparse.study.local_pool import LOG, LocalPool
from rlsparse.study.pool import Ended
from rlsparse.study.standing import standing
from rlsparse.study.study import Cells
from rlsparse.study.sweep import Place, carry_out, exit_code, jobs_of, part_of


@pytest.fixture(autouse=True)
def fresh_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.fsync", lambda _: None)
    monkeypatch.setattr(Figure, "savefig", lambda _, file, **__: file.write(b"a picture"))


def drive(jobs, pool=None, stop=None, tell=lambda standings: None):
    cells = [cell for job in jobs for cell in job]
    pool = pool or Here()
    return Drive(cells, pool, Options(trust=True), stop or Stop(), tell).run(jobs)


def states(standings):
    return [x.state for x in standings]


def test_every_cell_becomes_a_run_as_rlsparse_train_would_make_it():
    first, second = cell(), cell(seed=1, num_seeds=2)
    found = drive([[first, second]])
    assert states(found) == ["finished", "finished"]
    assert [len(x.returns) for x in found] == [1, 2]
    for each in (first, second):
        assert runs.read_recipe(each.folder) == each.recipe
        assert tiny.outcome(each.folder) == tiny.outcome(tiny.train(Path(f"{each.recipe.seed}"), each.recipe))


def test_run_again_a_study_does_not_touch_what_is_finished():
    cells = [cell(), cell(seed=1)]
    drive([cells])
    before = {path: path.stat().st_mtime_ns for path in Path("study").rglob("*")}
    assert jobs_of(cells, map(standing, cells), 1) == []
    assert states(drive([cells], pool := Here())) == ["finished", "finished"]
    assert pool.jobs == []
    assert {path: path.stat().st_mtime_ns for path in Path("study").rglob("*")} == before


def test_a_cell_that_fails_says_why_and_the_others_go_on(monkeypatch):
    monkeypatch.setattr("fake_envs.made", 0)
    cells = [cell(env="fake_envs:Unbuildable"), cell(env="fake_envs:Raises"), cell(), cell(env="Nowhere-v0")]
    found = drive([[each] for each in cells])
    assert states(found) == ["failed", "failed", "finished", "failed"]
    assert "meshes/leg.stl is missing" in found[0].reason
    assert "the motor burned out" in found[1].reason
    assert all("\n" not in x.reason for x in found)
    assert exit_code(found) == 3


def test_a_cell_whose_recipe_is_refused_leaves_no_directory():
    found = drive([[cell(num_envs=3, rollout_length=1)], [cell(seed=1)]])
    assert states(found) == ["failed", "finished"]
    assert found[0].code == 2
    assert not found[0].folder.exists()


def test_a_file_in_the_place_of_a_run_is_told():
    bad, good = cell(), cell(seed=1)
    bad.folder.parent.mkdir(parents=True)
    bad.folder.write_text("notes")
    found = drive([[bad, good]])
    assert states(found) == ["failed", "finished"]
    assert found[0].reason == f"{bad.folder} is there and is no run: remove it, or name another --out"
    assert found[0].code == 4


def test_those_that_a_crash_has_taken_along_go_on_in_halves():
    cells = [cell(seed=seed) for seed in range(5)]
    pool = Here(crash=[str(cells[3].folder)])
    found = drive([cells], pool)
    assert states(found) == ["finished"] * 3 + ["failed", "finished"]
    assert found[3].reason == "its process was ended by signal 9"
    assert [[folder.name for folder in job.folders] for job in pool.jobs] == [
        [f"seeds-{i}-{i}" for i in job] for job in ([0, 1, 2, 3, 4], [3], [4])
    ]


def test_where_nobody_knows_which_cell_it_was_all_are_tried_again():
    cells = [cell(seed=seed) for seed in range(4)]
    pool = Here(crash=[str(cells[0].folder)])
    assert states(drive([cells], pool)) == ["failed"] + ["finished"] * 3
    assert [len(job.folders) for job in pool.jobs] == [4, 2, 2, 1, 1]


def test_a_run_that_another_process_trains_is_left_to_it():
    mine, others = cell(), cell(seed=1)
    run = runs.create(others.recipe, "ppo", Path(), others.folder)
    found = drive([[mine, others]])
    run.release()
    assert states(found) == ["finished", "in use"]
    assert f"process {os.getpid()}" in found[1].reason
    assert exit_code(found) == 4
    assert states(drive([[mine, others]])) == ["finished", "finished"]


def asking(stop, after):
    """A step of an environment, at which the user asks to stop after so many."""
    left, step = [after], fake_envs.Point.step

    def stepped(self, action):
        left[0] -= 1
        if left[0] == 0:
            stop.ask("a test")
        return step(self, action)

    return stepped


def test_what_another_process_has_let_go_meanwhile_is_looked_at_again():
    mine, finished, left = cell(), cell(seed=1), cell(seed=2)
    held = [runs.create(x.recipe, "ppo", Path(), x.folder) for x in (finished, left)]

    def let_go(standings):
        if held and states(standings) == ["in use", "in use", "running"]:
            held.pop().release()
            held.pop().release()
            worker.work([finished.folder], ("fake_envs:Point-v0",), Stop())

    found = drive([[finished, left], [mine]], tell=let_go)
    assert states(found) == ["finished"] * 3


def test_told_to_stop_it_lets_workers_save_and_goes_on_later(monkeypatch, tmp_path):
    first = cell()
    pool = Here()
    stop = pool.stop_signal
    monkeypatch.setattr("fake_envs.Point.step", asking(stop, after=20))
    found = drive([[first], [cell(seed=1)]], pool, stop)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert states(found) == ["interrupted", "waiting"]
    assert pool.stops == 1
    assert len(pool.jobs) == 1
    assert states(drive([[first], [cell(seed=1)]])) == ["finished", "finished"]
    assert tiny.outcome(first.folder) == tiny.outcome(tiny.train(Path("alone"), first.recipe))


def test_it_tells_how_cells_stand_while_they_are_trained():
    told = []
    drive([[cell()], [cell(seed=1)]], tell=lambda standings: told.append(states(standings)))
    assert ["running", "waiting"] in told or ["finished", "running"] in told
    assert told[-1] == ["finished", "finished"]


def test_processes_train_what_is_left_after_one_was_killed():
    cells = [cell(total_steps=10_000_000), cell(seed=1)]
    killed = []

    def kill(standings):
        for x in standings:
            if x.state == "running" and x.budget > 96 and not killed and x.returns:
                killed.append(runs.read_json(x.folder / "status.json")["pid"])
                os.kill(killed[0], signal.SIGKILL)

    found = Drive(cells, LocalPool(2), Options(trust=True), Stop(), kill).run([[each] for each in cells])
    assert states(found) == ["failed", "finished"]
    assert found[0].reason == "its process was ended by signal 9, perhaps for want of memory"
    assert exit_code(found) == 137


HANGS = """
import threading, fake_envs

class Hangs(fake_envs.Point):
    def reset(self, *, seed=None, options=None):
        threading.Event().wait()
"""


def test_an_environment_that_hangs_before_its_run_begins_fails_alone():
    Path("hangs.py").write_text(HANGS)
    cells = [cell(env=f"{Path('hangs.py').resolve()}:Hangs"), cell()]
    options = Options(trust=True, settings=Settings(env_timeout=1.0))
    word = COMMAND.set(True)  # as in a command, which has no more than one process for environments
    try:
        found = Drive([*cells], Here(), options, Stop(), lambda _: None).run([[each] for each in cells])
    finally:
        COMMAND.reset(word)
    assert states(found) == ["failed", "finished"]
    assert "hangs in reset" in found[0].reason


def test_what_a_process_said_last_is_told_if_its_run_tells_nothing():
    found = drive([[cell()]], Broken())
    assert found[0].reason == "its process ended with exit code 1: SomeError: it was strange"


class Broken(Here):
    """Its processes end with a traceback."""

    def start(self, job):
        (job.folders[0] / LOG).write_text("Traceback (most recent call last):\n  ...\nSomeError: it was strange\n")
        self.over.append(Ended(job, "", 1))


def test_a_study_is_carried_out_by_as_many_processes_as_there_is_work_for():
    cells = [cell(), cell(seed=1)]
    found = carry_out(Cells(tuple(cells), ()), Place(jobs=9), Options(trust=True), Stop(), lambda _: None)
    assert states(found) == ["finished", "finished"]
    assert states(carry_out(Cells(tuple(cells), ()), Place(), Options(), Stop(), lambda _: None)) == [
        "finished",
        "finished",
    ]


def test_parts_of_a_study_share_no_cell_and_leave_out_none():
    cells = [cell(seed=seed) for seed in range(7)] + [cell(seed=seed, num_envs=4) for seed in range(4)]
    for count in (1, 2, 3, 11, 13):
        parts = [part_of(cells, f"{number}/{count}") for number in range(count)]
        assert sorted((x for part in parts for x in part), key=cells.index) == cells
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        assert part_of(cells, f"{count}/{count}") == parts[0]


@pytest.mark.parametrize("part", ["3/2", "1/0", "x", "-1/2", "1"])
def test_what_is_no_part_is_refused(part):
    with pytest.raises(Exception, match="as 2/10"):
        part_of([cell()], part)


def test_only_cells_that_have_taken_as_many_steps_are_trained_together():
    cells = [cell(seed=seed) for seed in range(3)]
    drive([[cells[0]]])
    runs.create(cells[1].recipe, "ppo", Path(), cells[1].folder).release()
    run, *_ = runs.reopen(cells[1].folder)
    run.write_status("interrupted", 32)
    run.release()
    assert jobs_of(cells, map(standing, cells), 1) == [[cells[2]], [cells[1]]]


def test_a_standing_is_read_from_the_directory():
    each = cell(num_seeds=2)
    assert (standing(each).state, standing(each).steps, standing(each).returns) == ("waiting", 0, ())
    drive([[each]])
    now = standing(each)
    assert (now.state, now.steps, now.budget, now.share) == ("finished", 96, 96, 1.0)
    assert (each.folder / "summary.json").unlink() is None
    assert standing(each).state == "waiting"
    assert states(drive([[each]])) == ["finished"]
    assert replace(now, steps=48, rate=12.0).seconds_left == 4.0
