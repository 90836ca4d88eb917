"""What a pool on Ray makes of what becomes of its tasks; test_ray_pool.py has the same on a real cluster."""

import os

import pytest
import tiny
from fake_cluster import FakeRay, RayError, TaskError

from rlsparse.errors import RunDirectoryError
from rlsparse.run import directory as runs
from rlsparse.run.lock import Lock
from rlsparse.study import ray_cluster, ray_pool
from rlsparse.study.desk import Began
from rlsparse.study.pool import Job
from rlsparse.study.ray_pool import RayPool
from rlsparse.study.remote_job import Outcome
from rlsparse.study.snapshot import Snapshot

FINISHED = Outcome("ended", 0)


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture
def ray(monkeypatch):
    ray = FakeRay(a={"CPU": 2.0}, b={"CPU": 1.0, "GPU": 1.0})
    monkeypatch.setattr(ray_cluster, "connect", lambda on: ray)
    return ray


@pytest.fixture
def pool(ray, tmp_path):
    return RayPool("ray", tmp_path)


@pytest.fixture
def job(tmp_path):
    (tmp_path / "run").mkdir()
    runs.create(tiny.RECIPE, "ppo", tmp_path, tmp_path / "run").release()
    return Job((tmp_path / "run",), cores=2, gpus=0.5, trusted=("fake_envs:Point-v0",))


def begin(pool, ray, job, shared=False):
    """Start a job, which a machine begins; returns its task."""
    pool.start(job)
    return began(pool, ray, shared)


def began(pool, ray, shared=False):
    task = ray.tasks[-1]
    ray.desk.tell(task.order.ticket, Began("node 7", shared))
    assert pool.ended(0) == []
    return task


def ends(pool, task, how):
    """The one job that is over once a task has ended so."""
    task.value = how
    (ended,) = pool.ended(0)
    return ended.code, ended.reason


def sends(ray, task, **files):
    """What a job sends back of its run directory."""
    ray.desk.tell(task.order.ticket, None, [Snapshot(files={name: text.encode() for name, text in files.items()})])


def is_held(folder):
    try:
        Lock(folder).release()
    except RunDirectoryError:
        return True
    return False


def test_there_are_as_many_slots_as_the_machines_have_cores_or_as_were_asked_for(ray, tmp_path):
    assert RayPool("ray", tmp_path).slots == 3
    assert RayPool("ray", tmp_path, slots=200).slots == 200


def test_a_job_is_a_task_with_its_cores_and_gpus(pool, ray, job):
    pool.start(job)
    options = ray.tasks[0].options
    assert (options["num_cpus"], options["num_gpus"], options["max_retries"]) == (2, 0.5, 0)
    assert (ray.tasks[0].order.job, ray.tasks[0].order.place) == (job, os.getcwd())


def test_a_job_that_is_over_is_told_once_with_its_exit_code(pool, ray, job):
    task = begin(pool, ray, job)
    task.value = Outcome("ended", 5)
    (ended,) = pool.ended(0)
    assert ended.job is job
    assert (ended.code, ended.reason) == (5, "")
    assert pool.ended(0) == []


def test_run_directories_travel_to_a_machine_that_does_not_see_them_and_are_held_here(pool, ray, job):
    task = begin(pool, ray, job)
    (parcel,) = ray.desk.ask(task.order.ticket).parcel
    assert {"recipe.toml", "status.json", "versions.json"} == set(parcel.files)
    assert is_held(job.folders[0])
    assert ends(pool, task, FINISHED) == (0, "")
    assert not is_held(job.folders[0])


def test_a_machine_that_sees_them_holds_them_itself(pool, ray, job):
    task = begin(pool, ray, job, shared=True)
    assert not is_held(job.folders[0])
    assert ray.desk.ask(task.order.ticket).parcel is None


def test_what_comes_back_is_written_and_then_further_snapshots_are_welcome(pool, ray, job):
    task = begin(pool, ray, job)
    sends(ray, task, progress="x")
    assert not ray.desk.ask(task.order.ticket).free
    assert pool.ended(0) == []
    assert (job.folders[0] / "progress").read_text() == "x"
    assert ray.desk.ask(task.order.ticket).free


def test_what_a_job_says_last_is_written_before_it_is_over(pool, ray, job):
    task = begin(pool, ray, job)
    sends(ray, task, summary="x")
    assert ends(pool, task, FINISHED) == (0, "")
    assert (job.folders[0] / "summary").read_text() == "x"


def test_a_full_disk_here_is_waited_for(pool, ray, job, monkeypatch, caplog):
    task = begin(pool, ray, job)
    with monkeypatch.context() as full:
        full.setattr("os.write", no_space)
        sends(ray, task, progress="x")
        assert pool.ended(0) == pool.ended(0) == []
        assert not ray.desk.ask(task.order.ticket).free
    assert caplog.text.count("No space left on device; what came back from node 7 is kept in memory") == 1
    assert pool.ended(0) == []
    assert (job.folders[0] / "progress").read_text() == "x"


def test_a_disk_that_stays_full_ends_a_job(pool, ray, job, monkeypatch):
    task = begin(pool, ray, job)
    monkeypatch.setattr("os.write", no_space)
    sends(ray, task, progress="x")
    assert ends(pool, task, FINISHED) == (1, "cannot write what came back from node 7")


def no_space(*_):
    raise OSError(28, "No space left on device")


def test_what_would_lie_outside_ends_a_job(pool, ray, job, tmp_path):
    pool.start(job)
    task = began(pool, ray)
    sends(ray, task, **{"../out": "x"})
    (ended,) = pool.ended(0)
    assert "node 7: " in ended.reason
    assert "a file that came back has the name ../out" in ended.reason
    assert not (tmp_path / "out").exists()
    assert ray.desk.ask(task.order.ticket).stop


def test_a_run_that_another_process_holds_is_waited_for_and_then_told(pool, ray, job, monkeypatch):
    lock = Lock(job.folders[0])
    task = begin(pool, ray, job)
    assert ray.desk.ask(task.order.ticket).parcel is None
    lock.release()
    assert pool.ended(0) == []
    assert ray.desk.ask(task.order.ticket).parcel is not None
    ends(pool, task, FINISHED)
    monkeypatch.setattr(ray_pool, "PATIENCE", -1.0)
    lock = Lock(job.folders[0])
    pool.start(job)
    ray.desk.tell(ray.tasks[-1].order.ticket, Began("node 7", shared=False))
    (ended,) = pool.ended(0)
    lock.release()
    assert "is in use by process" in ended.reason
    assert ended.code == 4


@pytest.mark.parametrize(
    "lost", [RayError("the node died"), Outcome("killed", 137, "its process was ended by signal 9")]
)
def test_a_job_that_is_lost_goes_on_from_what_came_back_and_is_not_heard_any_more(pool, ray, job, lost, caplog):
    first = begin(pool, ray, job)
    first.value = lost
    assert pool.ended(0) == []
    assert "goes on from its last checkpoint" in caplog.text
    sends(ray, first, progress="of a machine that was not lost after all")
    began(pool, ray)
    assert not (job.folders[0] / "progress").exists()
    assert ray.desk.ask(first.order.ticket).stop
    assert len(ray.tasks) == 2
    assert ends(pool, ray.tasks[1], FINISHED) == (0, "")


def test_three_losses_in_a_row_without_a_checkpoint_end_a_job(pool, ray, job):
    pool.start(job)
    for _ in range(2):
        began(pool, ray).value = RayError("the node died")
        assert pool.ended(0) == []
    assert ends(pool, began(pool, ray), RayError("the node died")) == (1, "node 7 is lost (RayError), 3 times in a row")


def test_with_a_checkpoint_between_losses_a_job_goes_on(pool, ray, job):
    pool.start(job)
    for steps in range(1, 6):
        (job.folders[0] / "checkpoint" / str(steps)).mkdir(parents=True)
        began(pool, ray).value = RayError("the node died")
        assert pool.ended(0) == []
    assert ends(pool, began(pool, ray), FINISHED) == (0, "")


def test_a_machine_that_refuses_gets_no_more_jobs(pool, ray, tmp_path, job, caplog):
    small = Job(job.folders, trusted=("fake_envs:Point-v0",))
    pool.start(small)
    ray.tasks[0].value = Outcome("refused", 1, "node 7 has rlsparse 0.0", "a")
    assert pool.ended(0) == []
    assert "node 7 has rlsparse 0.0; its job goes to another machine" in caplog.text
    assert ray.tasks[0].options["label_selector"] is None
    assert ray.tasks[1].options["label_selector"] == {"ray.io/node-id": "!in(a)"}
    assert ends(pool, ray.tasks[1], Outcome("refused", 1, "node 8 too", "b")) == (1, "node 8 too")


def test_a_machine_without_the_library_is_told(pool, ray, job):
    pool.start(job)
    missing = RuntimeError(
        "The remote function failed to import:\n\nTraceback\n  ...\nModuleNotFoundError: No module named 'rlsparse'"
    )
    code, reason = ends(pool, ray.tasks[0], TaskError(missing, "address of a"))
    assert (code, reason) == (1, "address of a: ModuleNotFoundError: No module named 'rlsparse'")


def test_a_job_for_which_no_machine_is_large_enough_waits_and_is_told(pool, ray, job, monkeypatch, caplog):
    monkeypatch.setattr(ray_pool, "WARNED", -1.0)
    pool.start(job)
    assert pool.ended(0) == pool.ended(0) == []
    reason = "no machine of the cluster has 2 cores and 0.5 GPU: the largest has 1 core and 1 GPU"
    assert caplog.text.count(reason) == 1
    monkeypatch.setattr(ray_pool, "GIVEN_UP", -1.0)
    (ended,) = pool.ended(0)
    assert (ended.code, ended.reason) == (1, reason)
    ray.machines["c"] = {"CPU": 4.0, "GPU": 1.0}
    pool.start(job)
    assert pool.ended(0) == []


def test_jobs_of_a_cluster_that_is_lost_are_over(pool, ray, job):
    begin(pool, ray, job)
    ray.lost = True
    (ended,) = pool.ended(0)
    assert (ended.code, ended.reason) == (1, "the cluster is lost: Failed to submit task to actor")
    pool.start(job)
    (ended,) = pool.ended(0)
    assert ended.reason.startswith("the cluster is lost")
    pool.stop()


def test_at_the_end_waiting_jobs_are_taken_back_and_running_ones_save(pool, ray, job, tmp_path):
    running = begin(pool, ray, job)
    waiting = Job((tmp_path / "other",))
    pool.start(waiting)
    look = pool._look

    def told():
        if ray.desk.ask(running.order.ticket).stop:
            running.value = Outcome("ended", 130)
        look()

    pool._look = told
    pool.stop()
    pool.stop()
    assert sorted((ended.job.folders[0].name, ended.code, ended.reason) for ended in pool.ended(10)) == [
        ("other", 130, ""),
        ("run", 130, ""),
    ]
    assert ray.down
    assert not list(tmp_path.glob(".shared-*"))


def test_a_job_that_does_not_save_in_time_is_killed(pool, ray, job, monkeypatch):
    monkeypatch.setattr(ray_pool, "PATIENCE", -100.0)
    begin(pool, ray, job)
    pool.stop()
    (ended,) = pool.ended(0)
    assert ended.reason == "it did not save in time"


def test_a_connection_that_there_was_before_stays(monkeypatch, ray, tmp_path):
    monkeypatch.setattr(ray_cluster, "connected", lambda: True)
    RayPool("ray", tmp_path).stop()
    assert not ray.down
