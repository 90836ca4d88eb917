"""Jobs run as tasks of a Ray cluster, here of three nodes on this machine, and outlive what is lost of it."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import tiny

from rlsparse.explore.ray_connection import QUIET
from rlsparse.run import checkpoint
from rlsparse.run import directory as runs
from rlsparse.study import ray_pool
from rlsparse.study.outcome import read_status
from rlsparse.study.pool import Job

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(find_spec("ray") is None, reason="rlsparse[ray] is not installed"),
]

STORE = 80 * 2**20
RATES = (1e-3, 1e-2, 3e-3, 3e-4)


def recipe(rate, steps=3_000):
    return tiny.recipe(total_steps=steps, eval_every=500, algorithm=replace(tiny.RECIPE.algorithm, learning_rate=rate))


@pytest.fixture(scope="module")
def cluster():
    """A head without cores, on which the study's process is, and whatever nodes a test adds."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # which Ray keeps as long as this process, and so do we
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        for name, text in QUIET.items():
            patch.setenv(name, text)
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, (tiny.ROOT, tiny.ROOT / "tests"))))
        from ray.cluster_utils import Cluster  # which reads these variables once, when it is imported

        head = {"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False, "temp_dir": folder}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        yield cluster
        cluster.shutdown()


@pytest.fixture
def nodes(cluster):
    """Two nodes of one core each."""
    added = [cluster.add_node(num_cpus=1, object_store_memory=STORE) for _ in range(2)]
    cluster.wait_for_nodes()
    yield added
    for node in added:
        if node in cluster.worker_nodes:
            cluster.remove_node(node)


@pytest.fixture
def open_pool(cluster, tmp_path):
    """Open a pool on the cluster, for a study in tmp_path."""
    opened = []

    def make(**options):
        opened.append(ray_pool.RayPool(f"ray:{cluster.address}", tmp_path, **options))
        return opened[-1]

    yield make
    for pool in opened:
        pool.stop()


def make_job(folder, of, **needs):
    runs.create(of, "ppo", folder, folder).release()
    return Job((folder,), trusted=("fake_envs:Point-v0",), **needs)


def finish(pool, jobs, meanwhile=lambda: None):
    """Run jobs to their ends as a study does; returns how they ended, by folder."""
    waiting, running, over = [*jobs], 0, {}
    while waiting or running:
        while waiting and running < pool.slots:
            pool.start(waiting.pop(0))
            running += 1
        for ended in pool.ended(0.5):
            running -= 1
            over[ended.job.folders[0].name] = (ended.code, ended.reason)
        meanwhile()
    return over


def at_work(folders):
    """Of runs that have saved already and are not finished, the directory and the process that trains there."""
    for folder in folders:
        status = read_status(folder)
        if (
            checkpoint.newest_steps(folder / "checkpoint")
            and status["state"] == "running"
            and status["pid"] != os.getpid()
        ):
            yield folder, status["pid"]


def assert_as_here(jobs, tmp_path):
    """Runs are those that this process trains."""
    for job in jobs:
        (folder,) = job.folders
        assert tiny.outcome(folder) == tiny.outcome(
            tiny.train(tmp_path / "here" / folder.name, runs.read_recipe(folder))
        )


def make_jobs(tmp_path, **size):
    (tmp_path / "here").mkdir()
    return [make_job(tmp_path / f"rate-{rate}", recipe(rate, **size)) for rate in RATES]


ALL_WELL = {f"rate-{rate}": (0, "") for rate in RATES}


@pytest.mark.parametrize("apart", [False, True])
def test_a_killed_worker_and_a_lost_node_cost_nothing(nodes, cluster, open_pool, tmp_path, apart, capfd):
    """Both in the middle of runs: one goes on where it was, the other on the node that is left."""
    jobs, lost = make_jobs(tmp_path), []

    def lose():
        found = [*at_work([job.folders[0] for job in jobs])]
        if found and not lost:
            lost.append(os.kill(found[0][1], signal.SIGKILL))
        elif len(found) > 1 and len(lost) == 1:
            lost.append(cluster.remove_node(nodes[0], allow_graceful=False))

    pool = open_pool(apart=apart)
    assert finish(pool, jobs, lose) == ALL_WELL
    pool.stop()
    assert len(lost) == 2
    assert_as_here(jobs, tmp_path)
    assert not list(tmp_path.glob(".shared-*"))
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("apart", [False, True])
def test_jobs_that_are_stopped_are_saved_and_go_on_later(nodes, open_pool, tmp_path, apart):
    jobs, pool = make_jobs(tmp_path, steps=30_000)[:3], open_pool(apart=apart)
    for job in jobs:
        pool.start(job)
    while not [*at_work([jobs[0].folders[0]])]:
        assert pool.ended(0.5) == []
    pool.stop()
    assert sorted(ended.job.folders for ended in pool.ended(0)) == sorted(job.folders for job in jobs)
    assert read_status(jobs[0].folders[0])["state"] == "interrupted"
    assert checkpoint.newest_steps(jobs[0].folders[0] / "checkpoint") > 0
    over = finish(open_pool(apart=apart), jobs)
    assert set(over.values()) == {(0, "")}
    assert_as_here(jobs, tmp_path)


DRIVER = """
import sys, time
from pathlib import Path
from rlsparse.study.pool import Job
from rlsparse.study.ray_pool import RayPool
pool = RayPool(sys.argv[1], Path(), apart=sys.argv[2] == "True")
pool.start(Job((Path("run"),), trusted=("fake_envs:Point-v0",)))
while not pool.ended(1):
    pass
pool.stop()
"""


@pytest.mark.parametrize("apart", [False, True])
def test_after_a_study_that_was_killed_its_runs_go_on(nodes, cluster, open_pool, tmp_path, apart):
    """Nothing of it goes on by itself, and nothing that was saved, or had come back, is lost."""
    job = make_job(tmp_path / "run", recipe(1e-3, 8_000))
    (tmp_path / "here").mkdir()
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, f"ray:{cluster.address}", str(apart)], cwd=tmp_path)
    while not (found := [*at_work(job.folders)]):
        assert driver.poll() is None
    driver.kill()
    driver.wait()
    end = time.monotonic() + 30
    while Path("/proc", str(found[0][1])).exists() and time.monotonic() < end:
        time.sleep(0.1)
    assert not Path("/proc", str(found[0][1])).exists()
    assert finish(open_pool(apart=apart), [job]) == {"run": (0, "")}
    assert_as_here([job], tmp_path)


def test_a_study_connects_from_outside_of_the_cluster(nodes, cluster, tmp_path):
    """As ray:// does, through a server beside the head."""
    port = free_port()
    server = ["-m", "ray.util.client.server", "--address", cluster.address, "--port", str(port), "--mode", "proxy"]
    with subprocess.Popen([sys.executable, *server]) as process:
        job = make_job(tmp_path / "run", recipe(1e-3))
        driver = [sys.executable, "-c", DRIVER, f"ray://127.0.0.1:{port}", "True"]
        try:
            wait_for(port)
            subprocess.run(driver, cwd=tmp_path, check=True, timeout=100)
        finally:
            process.terminate()
    assert tiny.outcome(tmp_path / "run") == tiny.outcome(tiny.train(tmp_path / "here", recipe(1e-3)))
    assert read_status(*job.folders)["state"] == "finished"


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def wait_for(port):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with suppress(OSError):
            return socket.create_connection(("127.0.0.1", port), 1).close()
        time.sleep(0.2)
    raise TimeoutError


def test_a_job_that_no_machine_can_take_is_told_and_the_others_run(nodes, open_pool, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(ray_pool, "WARNED", 1.0)
    monkeypatch.setattr(ray_pool, "GIVEN_UP", 3.0)
    jobs = [
        make_job(tmp_path / "large", recipe(1e-3), cores=4, gpus=0.5),
        make_job(tmp_path / "small", recipe(1e-3)),
    ]
    reason = "no machine of the cluster has 4 cores and 0.5 GPU: the largest has 1 core"
    assert finish(open_pool(), jobs) == {"large": (1, reason), "small": (0, "")}
    assert f"{reason}; waiting up to" in caplog.text


def test_a_machine_with_another_version_gets_no_more_jobs(nodes, cluster, open_pool, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)  # Ray puts the study's working directory first where it looks for modules
    jobs, pool = make_jobs(tmp_path), open_pool()
    other = tmp_path / "other"
    shutil.copytree(tiny.ROOT / "rlsparse", other / "rlsparse", ignore=shutil.ignore_patterns("__pycache__"))
    (other / "rlsparse" / "run" / "version.py").write_text('__version__ = "0.0.1"\n')
    bad = cluster.add_node(num_cpus=1, object_store_memory=STORE, env_vars={"PYTHONPATH": str(other)})
    try:
        cluster.wait_for_nodes()
        assert finish(pool, jobs) == ALL_WELL
    finally:
        cluster.remove_node(bad)
    assert caplog.text.count("has rlsparse 0.0.1, Python") == 1
    assert "its job goes to another machine" in caplog.text
