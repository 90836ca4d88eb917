"""Which cluster --on means, and what is said where it cannot be had."""

import os
import signal
import socket
import threading
from importlib.util import find_spec
from types import SimpleNamespace

import pytest

from rlsparse.errors import UsageError
from rlsparse.explore import ray_connection
from rlsparse.explore.ray_connection import STORE
from rlsparse.sim.vector import usable_cores
from rlsparse.study import ray_cluster
from rlsparse.study.pool import Job
from rlsparse.study.ray_pool import RayPool

OWN = {"num_cpus": usable_cores(), "object_store_memory": STORE, "include_dashboard": False}


@pytest.fixture
def init(monkeypatch):
    """What ray.init was called with; `running` says whether a Ray runs here, `error` what it raises."""
    asked = SimpleNamespace(calls=[], running=False, error=None)

    def call(address, **options):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        own = {name: x for name, x in options.items() if name not in ("log_to_driver", "logging_level")}
        asked.calls.append((address, own))
        if asked.error:
            raise asked.error
        if address == "auto" and not asked.running:
            raise ConnectionError("Could not find any running Ray instance")

    ray = SimpleNamespace(init=call, is_initialized=lambda: False)
    monkeypatch.setattr(ray_connection, "import_extra", lambda *_: ray)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return asked


@pytest.mark.parametrize(
    ("on", "running", "calls"),
    [
        ("ray", True, [("auto", {})]),
        ("ray", False, [("auto", {}), ("local", OWN)]),
        ("ray:local", True, [("local", OWN)]),
        ("ray:auto", True, [("auto", {})]),
    ],
)
def test_a_cluster_is_found_or_started(init, on, running, calls):
    init.running = running
    ray_cluster.connect(on)
    assert init.calls == calls


def answering(server, answer):
    """Let a server answer the first that connects."""

    def serve():
        with server.accept()[0] as connection:
            connection.recv(100)
            connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_an_address_means_a_certain_cluster(init):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        thread = answering(server, bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        ray_cluster.connect(f"ray:{address}")
        thread.join()
    assert init.calls == [(address, {})]


def test_so_does_that_of_a_server_for_those_outside(init):
    with socket.create_server(("127.0.0.1", 0)) as server:
        on = f"ray://127.0.0.1:{server.getsockname()[1]}"
        ray_cluster.connect(on)
    assert init.calls == [(on, {})]


def test_what_is_no_ray_is_told_at_once(init):
    with socket.create_server(("127.0.0.1", 0)) as server:
        on, thread = f"ray:127.0.0.1:{server.getsockname()[1]}", answering(server, b"HTTP/1.0 400 Bad request")
        with pytest.raises(UsageError, match=r"no Ray answers at .* \(something else does\): is it running there\?$"):
            ray_cluster.connect(on)
        thread.join()
    assert not init.calls


@pytest.mark.parametrize("form", ["ray:127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_where_nothing_answers_that_is_told_at_once(init, form):
    with socket.create_server(("127.0.0.1", 0)) as server:
        on = form.format(server.getsockname()[1])
    with pytest.raises(
        UsageError, match=rf"^--on {on}: no Ray answers at .*Connection refused.*: is it running there\?$"
    ):
        ray_cluster.connect(on)
    assert not init.calls


def test_a_cluster_of_another_version_is_told_in_one_line(init):
    init.error = RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.40.0\n    Python: 3.12.1\n")
    with pytest.raises(UsageError) as told:
        ray_cluster.connect("ray:auto")
    assert str(told.value) == (
        "--on ray:auto: RuntimeError: Version mismatch: The cluster was started with: Ray: 2.40.0 Python: 3.12.1"
    )


def test_a_study_keeps_its_answer_to_a_signal(init):
    before = signal.getsignal(signal.SIGTERM)
    ray_cluster.connect("ray:local")
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_the_extra_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"--on ray needs ray: pip install 'rlsparse\[ray\]'"):
        RayPool("ray", tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("cores", "gpus", "there", "told"),
    [
        (4, 0, [{"CPU": 1.0}, {"CPU": 2.0}], "no machine of the cluster has 4 cores: the largest has 2 cores"),
        (
            1,
            2,
            [{"CPU": 8.0, "GPU": 1.0}],
            "no machine of the cluster has 1 core and 2 GPUs: the largest has 8 cores and 1 GPU",
        ),
        (1, 0, [], "no machine of the cluster has 1 core: the largest has 0 cores"),
    ],
)
def test_too_large_a_job_is_told_in_words(cores, gpus, there, told):
    assert ray_cluster.too_large(Job((), cores, gpus), there) == told
