"""Jobs as processes of this machine, each with its share of the cores.

A worker is a fresh interpreter and no fork: it can be started from a notebook, and takes no lock or thread along. It
holds a pipe from this process, and saves and ends as soon as that closes: when it is asked to, and also when this
process is killed. Signals of the terminal do not reach it, so that Ctrl-C is this process's to pass on.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

from rlsparse.run.storage import APPEND
from rlsparse.study.pool import Ended, Job

PATIENCE = 120.0
"""Seconds that workers have to save before they are killed."""

LOG = "worker.log"
"""File of a job's first run directory, for what its process says beside what the runs tell."""


@dataclass(frozen=True)
class _Running:
    job: Job
    process: subprocess.Popen
    waiter: threading.Thread
    """Tells when the process is over."""


class LocalPool:
    """Runs `slots` jobs at once, as many as there are cores if not given."""

    def __init__(self, slots: int | None = None, cores: Sequence[int] | None = None) -> None:
        cores = usable() if cores is None else cores
        self.slots = slots or len(cores)
        self._shares = shares(cores, self.slots)
        self._running: dict[int, _Running] = {}
        """By slot."""
        self._over: SimpleQueue[tuple[int, Ended]] = SimpleQueue()

    def start(self, job: Job) -> None:
        """Start a job; there is a slot free."""
        slot = next(slot for slot in range(self.slots) if slot not in self._running)
        try:
            process = begin(job, self._shares[slot])
        except OSError as error:
            self._over.put((slot, Ended(job, f"its process cannot be started: {error.strerror}", 1)))
            return
        waiter = threading.Thread(target=self._wait, args=(slot, job, process), daemon=True)
        self._running[slot] = _Running(job, process, waiter)
        waiter.start()

    def _wait(self, slot: int, job: Job, process: subprocess.Popen) -> None:
        code = process.wait()
        remove_if_empty(job.folders[0] / LOG)
        self._over.put((slot, Ended(job, signalled(code), code if code >= 0 else 128 - code)))

    def ended(self, seconds: float) -> list[Ended]:
        """Return the jobs that are over and have not been told; waits for one at most so many seconds."""
        found: list[Ended] = []
        with suppress(Empty):
            while True:
                slot, ended = self._over.get(timeout=0.0 if found else seconds)
                if (running := self._running.pop(slot, None)) and running.process.stdin:
                    running.process.stdin.close()
                found.append(ended)
        return found

    def stop(self) -> None:
        """Ask all jobs to save and to end, and wait for that; those that do not are killed."""
        running = [*self._running.values()]
        for each in running:
            if each.process.stdin and not each.process.stdin.closed:
                with suppress(OSError):  # it has ended meanwhile
                    each.process.stdin.write(b"!")
                    each.process.stdin.close()
        end = time.monotonic() + PATIENCE
        for each in running:
            each.waiter.join(max(0.0, end - time.monotonic()))
            if each.waiter.is_alive():
                each.process.kill()
            each.waiter.join()


def usable() -> list[int]:
    """Return the numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return [*range(os.cpu_count() or 1)]


def shares(cores: Sequence[int], slots: int) -> list[list[int]]:
    """Return the cores of each slot: parts as equal as can be, or one each, some of them shared, if they are few."""
    if slots >= len(cores):
        return [[cores[slot % len(cores)]] for slot in range(slots)]
    return [[*cores[slot * len(cores) // slots : (slot + 1) * len(cores) // slots]] for slot in range(slots)]


def worker_command(job: Job, cores: Sequence[int] = ()) -> list[str]:
    """Return the command of a job's process; it ends with the stdin that it is given."""
    flags = ["--until-stdin-ends", *(["--trusted", *job.trusted] if job.trusted else [])]
    flags += ["--cores", ",".join(map(str, cores))] if cores else []
    return [sys.executable, "-P", "-m", "rlsparse.study.worker", *flags, "--", *map(str, job.folders)]


def worker_environment() -> dict[str, str]:
    """Return the environment variables of a worker, who finds the modules that this process finds."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(os.path.abspath(place) for place in sys.path)}


def begin(job: Job, cores: Sequence[int], place: str | None = None) -> subprocess.Popen:
    """Start a worker, in the working directory `place` or that of this process; raises OSError.

    What it says goes into a file of its first run directory, if that can be opened.
    """
    try:
        log = os.open(job.folders[0] / LOG, APPEND | os.O_CREAT, 0o666)
    except OSError:
        log = os.open(os.devnull, os.O_WRONLY)
    try:
        return subprocess.Popen(
            worker_command(job, cores),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=worker_environment(),
            cwd=place,
            start_new_session=True,
        )
    finally:
        os.close(log)


def remove_if_empty(path: Path) -> None:
    """Remove a file that nothing was written into."""
    with suppress(OSError):
        if path.stat().st_size == 0:
            path.unlink()


def signalled(code: int) -> str:
    """Say in words which signal has ended a process, nothing if none has."""
    if code >= 0:
        return ""
    hint = ", perhaps for want of memory" if code == -9 else ""
    return f"its process was ended by signal {-code}{hint}"
