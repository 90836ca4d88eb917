"""The Ray cluster of a study: find or start it, what it has, and what its errors mean."""

import logging
import os
import re
import signal
import socket
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from rlsparse.errors import UsageError, import_extra, in_one_line
from rlsparse.study.local_pool import usable
from rlsparse.study.pool import Job

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS_SKIP_REGEX": "."}
"""Environment variables that Ray reads when it is imported.

A Ray that is started here sends nothing to anybody, and what a cluster says in many lines on stdout, such as the state
of a machine that was lost, a study says in one.
"""

ANSWER = 10.0
"""Seconds in which the machine of an address must answer."""

STORE = 256 * 2**20
"""Bytes of the shared memory of a Ray that is started here, through which what travels goes."""


def connect(on: str) -> tuple[Any, bool]:
    """Return the package ray, connected to the cluster that `--on` means, and whether the connection is new.

    `ray` is the one that Ray finds (RAY_ADDRESS, or one that runs on this machine), else one that is started on the
    cores that this process may use, until it ends; `ray:ADDRESS` is the one that ray.init means by this address, such
    as auto, local or 10.0.0.1:6379, and `ray://HOST:10001` one that this machine is no part of. A connection that this
    process has already is used. Raises UsageError.
    """
    os.environ.update({name: text for name, text in QUIET.items() if name not in os.environ})
    ray = import_extra("ray", "ray", f"--on {on}")
    if ray.is_initialized():
        return ray, False
    address = on if "://" in on else on.partition(":")[2]
    _check_answer(on, address or os.environ.get("RAY_ADDRESS", ""))
    try:
        with _left_alone(ray):
            _init(ray, address)
    except (Exception, SystemExit) as error:  # whatever Ray raises, of which there is much
        raise UsageError(f"--on {on}: {_told(error)}") from error
    return ray, True


def _init(ray: Any, address: str) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    own = {"num_cpus": len(usable()), "object_store_memory": STORE, "include_dashboard": False}
    if address == "local":
        ray.init("local", **quiet, **own)
    elif address or os.environ.get("RAY_ADDRESS"):
        ray.init(address or "auto", **quiet)
    else:
        try:
            ray.init("auto", **quiet)
        except ConnectionError:
            ray.init("local", **quiet, **own)


@contextmanager
def _left_alone(ray: Any) -> Iterator[None]:
    """Let Ray neither take SIGTERM, by which a study saves, nor log what it does."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)


def _check_answer(on: str, address: str) -> None:
    """Raise UsageError at once where nothing answers, for which Ray would try for long."""
    found = re.fullmatch(r"(?:\w+://)?([^/:]+):(\d{1,5})", address)
    if found:
        try:
            socket.create_connection((found[1], int(found[2])), ANSWER).close()
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise UsageError(
                f"--on {on}: nothing answers at {found[1]}:{found[2]} ({why}): is Ray running there?"
            ) from error


def _told(error: BaseException) -> str:
    text = in_one_line(error)
    if "Version mismatch" in text or "version mismatch" in text:
        return f"Ray and Python must be those of the cluster: {text}"
    return text


def size(ray: Any) -> int:
    """Return how many cores the machines of the cluster have together, at least 1."""
    return max(1, int(sum(node.get("CPU", 0) for node in machines(ray).values())))


def machines(ray: Any, without: Collection[str] = ()) -> dict[str, dict[str, float]]:
    """Return what the machines that are there have, by their ids; `without` some of them."""
    return {x["NodeID"]: x["Resources"] for x in ray.nodes() if x["Alive"] and x["NodeID"] not in without}


def takes(has: dict[str, float], job: Job) -> bool:
    """Whether a machine that has this is large enough for a job."""
    return has.get("CPU", 0) >= job.cores and has.get("GPU", 0) >= job.gpus


def too_large(job: Job, there: Collection[dict[str, float]]) -> str:
    """Say in one line that no machine is large enough for a job."""
    wants, largest = (
        _in_words(job.cores, job.gpus),
        max(there, key=lambda x: (x.get("GPU", 0), x.get("CPU", 0)), default={}),
    )
    has = _in_words(largest.get("CPU", 0), largest.get("GPU", 0))
    return f"no machine of the cluster has {wants}: the largest has {has}"


def _in_words(cores: float, gpus: float) -> str:
    words = f"{cores:g} core{'s' * (cores != 1)}"
    return f"{words} and {gpus:g} GPU{'s' * (gpus > 1)}" if gpus else words


def failure(error: BaseException) -> str:
    """Say in one line why a task could not even begin, or was lost, from what Ray raises."""
    lines = [line.strip() for line in str(getattr(error, "cause", None) or error).splitlines() if line.strip()]
    missing = [line for line in lines if line.startswith(("ModuleNotFoundError", "ImportError"))]
    return " ".join((missing or lines or [type(error).__name__])[0 if not missing else -1].split())
