"""What other systems than Linux lack is not needed: each lack is simulated, for the tests run on Linux."""

import json
import os
import runpy
import signal
import subprocess
import sys

import pytest
import tiny

from rlsparse import sim
from rlsparse.compare import own_logs
from rlsparse.errors import EnvironmentFailure, RunDirectoryError
from rlsparse.run import directory, stop, storage
from rlsparse.run.reading import read_bytes
from rlsparse.sim import processes, worker, workers

OF_LINUX = ("sched_getaffinity",)
"""What macOS does not have in `os`."""

OF_UNIX = ("O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK", "O_DIRECTORY", "killpg", "pread")
"""What Windows does not have in `os`, beside OF_LINUX."""

SIGNALS = ("SIGHUP", "SIGUSR1", "SIGXCPU")
"""What Windows does not have in `signal`."""


def new_run(folder):
    return directory.create(tiny.RECIPE, "ppo", folder, folder)


@pytest.mark.parametrize("name", [*OF_LINUX, *OF_UNIX])
def test_a_run_is_made_held_and_reopened_without(name, tmp_path, monkeypatch):
    monkeypatch.delattr(os, name)
    run = new_run(tmp_path / "run")
    with pytest.raises(RunDirectoryError, match=f"in use by process {os.getpid()}"):
        directory.reopen(tmp_path / "run")
    run.release()
    directory.reopen(tmp_path / "run")[0].release()
    assert json.loads(read_bytes(tmp_path / "run" / "versions.json"))["cores"] >= 1


def test_a_folder_that_cannot_be_opened_is_held_by_its_file(tmp_path, monkeypatch):
    """As on Windows, where to open a folder is not permitted."""
    opened = os.open

    def files_alone(path, *arguments, **options):
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied")
        return opened(path, *arguments, **options)

    monkeypatch.delattr(os, "O_DIRECTORY")
    monkeypatch.setattr(os, "open", files_alone)
    run = new_run(tmp_path / "run")
    with pytest.raises(RunDirectoryError, match="in use by process"):
        directory.reopen(tmp_path / "run")
    run.release()


def test_the_first_byte_of_the_lock_need_not_be_read(tmp_path):
    """Windows locks it, and lets no other process read it."""
    run = new_run(tmp_path / "run")
    assert (run.path / ".lock").read_text().startswith(" process ")
    run.release()


@pytest.mark.parametrize("name", SIGNALS)
def test_signals_that_a_system_lacks_are_not_listened_to(name, monkeypatch):
    number = getattr(signal, name)
    monkeypatch.delattr(signal, name)
    others = runpy.run_path(stop.__file__)
    assert set(others["ASKING"]) == set(stop.ASKING) - {number}
    with others["StopSignal"]() as asked:
        signal.raise_signal(signal.SIGTERM)
        assert asked()


@pytest.mark.parametrize("name", SIGNALS)
def test_processes_for_environments_are_not_kept_from_signals_that_a_system_lacks(name, monkeypatch):
    number = getattr(signal, name)
    monkeypatch.delattr(signal, name)
    assert number not in runpy.run_path(worker.__file__)["KEPT_FROM_WORKERS"]


def test_where_there_can_be_no_processes_environments_stay_in_this_one(monkeypatch):
    monkeypatch.setattr(processes, "POSSIBLE", False)
    monkeypatch.setattr(workers, "POSSIBLE", False)
    assert sim.workers_for(tiny.RECIPE.environment, 8, None) == (1, "")
    with pytest.raises(EnvironmentFailure, match="use --env-workers 1"):
        sim.maker(tiny.RECIPE.environment, "mujoco", "cpu", workers=2)(2)


def test_files_are_written_as_they_are_where_text_is_translated(monkeypatch):
    """Windows writes two bytes for the end of a line, unless told that the file is no text."""
    monkeypatch.setattr(os, "O_BINARY", 1 << 29, raising=False)
    assert runpy.run_path(storage.__file__)["NEW"] == storage.NEW | 1 << 29


def test_no_process_is_asked_where_asking_would_stop_it(monkeypatch):
    status = {"state": "running", "pid": 1, "host": own_logs.socket.gethostname()}
    monkeypatch.delattr(os, "killpg")
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("it was sent a signal"))
    assert own_logs._state(status) == "running"


def test_without_all_of_it_a_run_is_trained_and_ends_the_same(tmp_path):
    code = f"""
import ctypes, os, signal
for module, names in ((os, {(*OF_LINUX, *OF_UNIX)!r}), (signal, {SIGNALS!r})):
    for name in names:
        delattr(module, name)
library = ctypes.CDLL
class Named(library):
    def __init__(self, name, *arguments, **options):
        if name is None:
            raise TypeError("a library has a name on Windows")
        super().__init__(name, *arguments, **options)
ctypes.CDLL = Named
from rlsparse import train
train.main([*{tiny.FLAGS!r}, "--run-dir", "other"])
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=tiny.environment(), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    tiny.train(tmp_path / "linux", directory.read_recipe(tmp_path / "other"))
    assert tiny.outcome(tmp_path / "other") == tiny.outcome(tmp_path / "linux")
