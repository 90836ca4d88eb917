"""One job on a machine of a cluster: its worker as a process of its own, and its run directories, which may travel.

Nothing of Ray is imported here. What talks to the study's process is given as a function.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from platform import python_version
from typing import Any, Literal

from rlsparse.errors import RlsparseError, RunDirectoryError
from rlsparse.run.lock import Lock
from rlsparse.run.version import __version__
from rlsparse.study.cores import claimed
from rlsparse.study.desk import Answer, Began
from rlsparse.study.local_pool import LOG, begin, remove_if_empty, signalled
from rlsparse.study.own_folder import own_folder
from rlsparse.study.pool import Job
from rlsparse.study.snapshot import Mark, news, put

BEAT = 1.0
"""Seconds between two questions to the study's process, and between two looks for what is new."""

PATIENCE = 120.0
"""Seconds that a worker has to save, and those that a run directory may still be held by one that was lost."""

FRESH = 60.0
"""Seconds in which a folder may not have been locked yet by whoever has made it."""

Call = Callable[..., Any]
"""Calls a method of the desk by its name, and waits for what it returns; raises if the study's process is gone."""


@dataclass(frozen=True)
class Order:
    """A job as it is sent to a machine."""

    ticket: str
    job: Job
    """With absolute folders."""
    token: Path
    """A file that those machines can read that see the run directories."""
    secret: str
    """What is in it."""
    place: str
    """The working directory of the study's process."""
    versions: tuple[str, str] = (__version__, python_version())
    """Of rlsparse and Python."""


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended."""

    kind: Literal["ended", "refused", "killed"]
    """By itself, well or not; before it began, on this machine; or by a signal."""
    code: int = 0
    """Exit code of its worker."""
    reason: str = ""
    """In one line why it was refused or killed."""
    node: str = ""
    """The cluster's name of the machine."""


def work(order: Order, host: str, call: Call) -> Outcome:
    """Run a job on this machine, which is named `host`, until it is over or told to stop."""
    here = (__version__, python_version())
    if here[0] != order.versions[0] or _minor(here[1]) != _minor(order.versions[1]):
        there = "rlsparse {}, Python {}".format(*order.versions)
        return Outcome(
            "refused", reason=f"{host} has rlsparse {here[0]}, Python {here[1]}; the study's machine has {there}"
        )
    shared = _sees(order.token, order.secret)
    call("tell", order.ticket, Began(host, shared))
    try:
        if shared:
            _wait_for_locks(order.job.folders)
            return _run(order, order.job.folders, call, [])
        with scratch(order.ticket, len(order.job.folders)) as folders:
            return _travel(order, folders, call)
    except RunDirectoryError as error:
        return Outcome("ended", error.exit_code, str(error))
    except (RlsparseError, OSError) as error:
        return Outcome("refused", reason=f"{host}: {error}")


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]


def _sees(token: Path, secret: str) -> bool:
    with suppress(OSError, ValueError):
        return token.read_text() == secret
    return False


def _wait_for_locks(folders: Sequence[Path]) -> None:
    """Wait for the worker of an attempt that was lost, which saves and ends; raises RunDirectoryError."""
    end = time.monotonic() + PATIENCE
    for folder in folders:
        while True:
            try:
                Lock(folder).release()
                break
            except RunDirectoryError:
                if time.monotonic() > end:
                    raise
                time.sleep(BEAT)


def _travel(order: Order, folders: Sequence[Path], call: Call) -> Outcome:
    """Fetch the run directories, work there, and send all that is new."""
    while (answer := _ask(order, call)).parcel is None:
        if answer.stop:
            return Outcome("ended", 130)
        time.sleep(BEAT)
    for folder, parcel in zip(folders, answer.parcel, strict=True):
        put(parcel, folder)
    seen: list[dict[str, Mark]] = [{} for _ in folders]
    for folder, marks in zip(folders, seen, strict=True):
        news(folder, marks)
    outcome = _run(order, folders, call, seen)
    _send_news(order, folders, call, seen)
    return outcome


def _ask(order: Order, call: Call) -> Answer:
    """Ask the study's process how to go on; if it is gone, that is to stop."""
    try:
        return call("ask", order.ticket)
    except Exception:  # whatever the cluster raises then
        return Answer(stop=True, free=False, parcel=None)


def _send_news(order: Order, folders: Sequence[Path], call: Call, seen: Sequence[dict[str, Mark]]) -> None:
    """Send what is new, if anything is; if the study's process is gone, nobody needs it."""
    snapshots = [news(folder, marks) for folder, marks in zip(folders, seen, strict=True)]
    if not all(snapshot.empty for snapshot in snapshots):
        call("tell", order.ticket, None, snapshots)


def _run(order: Order, folders: Sequence[Path], call: Call, seen: Sequence[dict[str, Mark]]) -> Outcome:
    """Run the worker; where directories travel, send what is new in them as long as it is at work."""
    with claimed(order.job.cores) as cores:
        place = order.place if os.path.isdir(order.place) else None
        process = begin(replace(order.job, folders=tuple(folders)), cores, place)
        asked, killed_at = False, 0.0
        while _at_work(process):
            answer = _ask(order, call)
            if answer.stop and not asked:
                asked, killed_at = True, time.monotonic() + PATIENCE
                _ask_to_save(process)
            if asked and time.monotonic() > killed_at:
                process.kill()
            if seen and answer.free and not asked:
                _send_news(order, folders, call, seen)
        remove_if_empty(folders[0] / LOG)
        return _outcome(process.returncode, asked)


def _ask_to_save(process: subprocess.Popen) -> None:
    """Close the pipe that a worker reads."""
    assert process.stdin is not None
    process.stdin.close()


def _at_work(process: subprocess.Popen) -> bool:
    """Whether a process runs, BEAT seconds from now at most."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(BEAT)
        return False
    return True


def _outcome(code: int, asked: bool) -> Outcome:
    if code >= 0:
        return Outcome("ended", code)
    if asked:
        return Outcome("ended", 128 - code, f"its process did not save within {PATIENCE:.0f} s and was killed")
    return Outcome("killed", 128 - code, signalled(code))


@contextmanager
def scratch(ticket: str, count: int) -> Iterator[list[Path]]:
    """Make so many folders on this machine, which are removed at the end; those of jobs that were killed go too.

    Raises StorageError.
    """
    mine = own_folder("jobs")
    for leftover in mine.iterdir():
        with suppress(RlsparseError, OSError):
            if time.time() - leftover.stat().st_mtime > FRESH:
                Lock(leftover).release()
                shutil.rmtree(leftover, ignore_errors=True)
    place = Path(tempfile.mkdtemp(prefix=f"{ticket}-", dir=mine))
    lock = Lock(place)
    try:
        folders = [place / str(number) for number in range(count)]
        for folder in folders:
            folder.mkdir()
        yield folders
    finally:
        lock.release()
        shutil.rmtree(place, ignore_errors=True)
