"""A job on a machine of a cluster, here this one: where it works, what it sends, and how it ends."""

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import tiny

from rlsparse.run import directory as runs
from rlsparse.run.lock import Lock
from rlsparse.study import local_pool, remote_job
from rlsparse.study.desk import Desk
from rlsparse.study.outcome import read_status
from rlsparse.study.pool import Job
from rlsparse.study.remote_job import Order, Outcome, scratch, work
from rlsparse.study.snapshot import news, put


@pytest.fixture(autouse=True)
def temporary_files_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(remote_job, "BEAT", 0.05)


class Study:
    """The process of a study, which answers between what a job asks."""

    def __init__(self, folders, token):
        self.desk, self.folders, self.began, self.snapshots = Desk(), folders, [], 0
        self.order = Order("1", Job(tuple(folders), trusted=("fake_envs:Point-v0",)), token, "secret", os.getcwd())
        self.desk.admit("1")

    def call(self, method, *given):
        answer = getattr(self.desk, method)(*given)
        for told in self.desk.take():
            if told.began:
                self.began.append(told.began)
                if not told.began.shared:
                    self.desk.send("1", tuple(news(folder, {}) for folder in self.folders))
            for folder, snapshot in zip(self.folders, told.snapshots, strict=bool(told.snapshots)):
                put(snapshot, folder)
                self.snapshots += 1
            self.desk.written("1")
        return answer

    def work(self):
        return work(self.order, "node", self.call)


@pytest.fixture
def study(tmp_path):
    """Make a study of one run of each recipe; machines see its folder if the token says so."""

    def make(*recipes, shared):
        folders = [tmp_path / f"run-{number}" for number in range(len(recipes))]
        for folder, recipe in zip(folders, recipes, strict=True):
            runs.create(recipe, "ppo", folder, folder).release()
        (tmp_path / "token").write_text("secret" if shared else "that of another folder of this name")
        return Study(folders, tmp_path / "token")

    return make


@pytest.mark.parametrize("shared", [True, False])
def test_runs_end_as_each_alone_would(study, tmp_path, shared):
    recipes = [tiny.RECIPE, tiny.recipe(seed=7)]
    study = study(*recipes, shared=shared)
    assert study.work() == Outcome("ended", 0)
    assert [(began.host, began.shared) for began in study.began] == [("node", shared)]
    for folder, recipe in zip(study.folders, recipes, strict=True):
        assert read_status(folder)["state"] == "finished"
        assert tiny.outcome(folder) == tiny.outcome(tiny.train(tmp_path / f"alone-{recipe.seed}", recipe))
    assert not list(tmp_path.glob("rlsparse-jobs-*/*"))


def test_what_is_new_comes_back_while_a_run_is_trained(study):
    study = study(tiny.recipe(total_steps=100_000, eval_every=1_000, rollout_length=64), shared=False)
    (folder,) = study.folders
    stopped = []

    def call(method, *given):
        if (folder / "checkpoint").exists() and not stopped:
            stopped.append(read_status(folder)["state"])
            study.desk.stop()
        return study.call(method, *given)

    assert work(study.order, "node", call).kind == "ended"
    assert stopped == ["running"]
    assert read_status(folder)["state"] == "interrupted"
    assert study.snapshots > 1


@pytest.fixture
def instead(monkeypatch):
    """Let a shell do this in a worker's place."""
    return lambda script: monkeypatch.setattr(local_pool, "worker_command", lambda *_: ["sh", "-c", script])


def test_a_worker_that_is_killed_is_told(study, instead):
    instead("kill -9 $$")
    reason = "its process was ended by signal 9, perhaps for want of memory"
    assert study(tiny.RECIPE, shared=True).work() == Outcome("killed", 137, reason)


def test_a_worker_that_fails_ends_by_itself(study, instead):
    instead("exit 5")
    assert study(tiny.RECIPE, shared=True).work() == Outcome("ended", 5)


def test_without_the_process_of_the_study_a_worker_is_asked_to_save(study, instead):
    instead("cat; exit 130")
    study = study(tiny.RECIPE, shared=True)

    def call(method, *given):
        if study.began:
            raise ConnectionError("the actor died")
        return study.call(method, *given)

    assert work(study.order, "node", call) == Outcome("ended", 130)


def test_a_worker_that_does_not_save_in_time_is_killed(study, instead, monkeypatch):
    monkeypatch.setattr(remote_job, "PATIENCE", 0.1)
    instead("cat; sleep 60")
    study = study(tiny.RECIPE, shared=True)
    study.desk.stop()
    outcome = study.work()
    assert (outcome.kind, outcome.code) == ("ended", 137)
    assert outcome.reason.startswith("its process did not save within")


def test_an_attempt_waits_for_the_one_before_it_to_save(study, instead):
    instead("true")
    study = study(tiny.RECIPE, shared=True)
    lock = Lock(study.folders[0])
    threading.Timer(0.2, lock.release).start()
    assert study.work() == Outcome("ended", 0)


def test_a_run_that_stays_in_use_is_told(study, monkeypatch):
    monkeypatch.setattr(remote_job, "PATIENCE", 0.0)
    study = study(tiny.RECIPE, shared=True)
    lock = Lock(study.folders[0])
    outcome = study.work()
    lock.release()
    assert (outcome.kind, outcome.code) == ("ended", 4)
    assert "is in use by process" in outcome.reason


@pytest.mark.parametrize("versions", [("0.0", remote_job.python_version()), (remote_job.__version__, "3.9.1")])
def test_a_machine_with_another_version_refuses(study, versions):
    study = study(tiny.RECIPE, shared=True)
    study.order = replace(study.order, versions=versions)
    outcome = study.work()
    here = f"rlsparse {remote_job.__version__}, Python {remote_job.python_version()}"
    there = "rlsparse {}, Python {}".format(*versions)
    assert outcome == Outcome("refused", reason=f"node has {here}; the study's machine has {there}")
    assert not study.began


def test_a_machine_with_a_full_disk_refuses(study, monkeypatch):
    study = study(tiny.RECIPE, shared=False)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.write", full)
    outcome = study.work()
    assert outcome.kind == "refused"
    assert outcome.reason.startswith("node: cannot write ")
    assert outcome.reason.endswith("No space left on device")


def test_what_a_killed_job_left_on_a_machine_goes_with_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(remote_job, "FRESH", -1.0)
    with scratch("1", 1) as (held,):
        left = held.parent.parent / "left"
        left.mkdir()
        with scratch("2", 2) as folders:
            assert [folder.name for folder in folders] == ["0", "1"]
            assert held.exists()
            assert not left.exists()
    assert not list(Path(tmp_path).glob("rlsparse-jobs-*/*"))
