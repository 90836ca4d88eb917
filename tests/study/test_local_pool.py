"""Jobs run as processes of this machine: each on its cores, told when it is over, and asked to save at the end."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

from rlsparse.run import directory as runs
from rlsparse.study import local_pool
from rlsparse.study.local_pool import LocalPool, shares
from rlsparse.study.outcome import read_status
from rlsparse.study.pool import Job

LONG = tiny.recipe(total_steps=10_000_000)


@pytest.fixture(autouse=True)
def fresh_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def pool():
    pool = LocalPool(2)
    yield pool
    pool.stop()


def job(*names, recipe=tiny.RECIPE):
    for name in names:
        runs.create(recipe, "ppo", Path(), Path(name)).release()
    return Job(tuple(map(Path, names)), trusted=(recipe.env,))


def next_ended(pool):
    while not (found := pool.ended(10)):
        pass
    return found


def pid_of(folder):
    """The process that trains, once it does."""
    while not (folder / "progress.csv").exists():
        pass
    return read_status(folder)["pid"]


@pytest.mark.parametrize(
    ("cores", "slots", "expected"),
    [
        ([0, 1], 2, [[0], [1]]),
        ([0, 1, 2, 3, 4], 2, [[0, 1], [2, 3, 4]]),
        ([3, 5], 1, [[3, 5]]),
        ([3, 5], 3, [[3], [5], [3]]),
    ],
)
def test_every_slot_has_its_share_of_the_cores(cores, slots, expected):
    assert shares(cores, slots) == expected


def test_there_are_as_many_slots_as_cores():
    assert LocalPool().slots == len(local_pool.usable())


def test_jobs_run_and_are_told_once_when_they_are_over(pool):
    first, second = job("a", "b"), job("c")
    pool.start(first)
    pool.start(second)
    over = next_ended(pool)
    while len(over) < 2:
        over += next_ended(pool)
    assert sorted(ended.job.folders for ended in over) == [first.folders, second.folders]
    assert [(ended.reason, ended.code) for ended in over] == [("", 0), ("", 0)]
    assert {read_status(Path(name))["state"] for name in "abc"} == {"finished"}
    assert pool.ended(0) == []


def test_a_job_that_fails_says_how(pool):
    pool.start(job("run", recipe=tiny.recipe(env="fake_envs:Unbuildable")))
    (ended,) = next_ended(pool)
    assert (ended.reason, ended.code) == ("", 3)


def test_a_killed_process_is_told_in_one_line(pool):
    pool.start(job("run", recipe=LONG))
    os.kill(pid_of(Path("run")), signal.SIGKILL)
    (ended,) = next_ended(pool)
    assert ended.reason == "its process was ended by signal 9, perhaps for want of memory"
    assert ended.code == 128 + 9


def test_what_a_process_says_stays_beside_its_run_and_silence_leaves_nothing(pool):
    pool.start(job("told"))
    pool.start(Job(job("silent", recipe=tiny.recipe(env="Nowhere-v0")).folders))
    over = next_ended(pool)
    while len(over) < 2:
        over += next_ended(pool)
    assert "running the module fake_envs" in Path("told", local_pool.LOG).read_text()
    assert not Path("silent", local_pool.LOG).exists()


def test_a_process_that_cannot_be_started_is_told(pool, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    pool.start(job("run"))
    (ended,) = next_ended(pool)
    assert ended.reason == "its process cannot be started: No such file or directory"
    assert ended.code == 1


def test_at_the_end_runs_are_saved_and_go_on_later(pool):
    for name in ("a", "b"):
        pool.start(job(name, recipe=LONG))
        pid_of(Path(name))
    pool.stop()
    assert {read_status(Path(name))["state"] for name in "ab"} == {"interrupted"}
    assert len(pool.ended(1) + pool.ended(1)) == 2


def test_one_that_does_not_end_is_killed(pool, monkeypatch):
    monkeypatch.setattr(local_pool, "PATIENCE", 0.0)
    pool.start(job("run", recipe=LONG))
    pid_of(Path("run"))
    pool.stop()
    assert "ended by signal 9" in pool.ended(10)[0].reason


DRIVER = """
from pathlib import Path
from rlsparse.study.local_pool import LocalPool
from rlsparse.study.pool import Job
pool = LocalPool(1)
pool.start(Job((Path("run"),), trusted=("fake_envs:Point-v0",)))
pool.ended(1000)
"""


def test_the_run_of_a_killed_driver_is_saved():
    job("run", recipe=LONG)
    driver = subprocess.Popen([sys.executable, "-c", DRIVER], env=tiny.environment())
    worker = pid_of(Path("run"))
    driver.kill()
    driver.wait()
    while read_status(Path("run"))["state"] == "running":
        assert driver.returncode == -9
    assert read_status(Path("run"))["pid"] == worker
    assert read_status(Path("run"))["state"] == "interrupted"
