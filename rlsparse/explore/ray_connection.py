"""The Ray cluster that probes run on: find it, or start one here."""

import logging
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rlsparse.errors import BROKEN, UsageError, import_extra, in_one_line
from rlsparse.sim.vector import usable_cores

FLAG = "--explore.workers ray"

ANSWER = 10.0
"""Seconds in which the machine of an address must answer."""

STORE = 100 * 2**20
"""Bytes of shared memory of a Ray that is started here; what is sent is small."""


def connect() -> Any:
    """Return the package ray, connected to a cluster; raises UsageError.

    That is the one to which this process is connected already, else that of RAY_ADDRESS, or one that runs on this
    machine, else one that is started here, on the cores that this process may use, until it ends.
    """
    ray = check()
    if ray.is_initialized():
        return ray
    address = os.environ.get("RAY_ADDRESS", "")
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    own = {"num_cpus": usable_cores(), "object_store_memory": STORE, "include_dashboard": False}
    try:
        with _left_alone():
            if address == "local":
                ray.init("local", **quiet, **own)
                return ray
            try:
                ray.init(address or "auto", **quiet)
            except ConnectionError:
                if address:
                    raise
                ray.init("local", **quiet, **own)
    except BROKEN as error:  # whatever Ray raises, of which there is much
        raise UsageError(f"{FLAG}: {in_one_line(error)}") from error
    return ray


def check() -> Any:
    """Return the package ray; raises UsageError without it, and at once where nothing answers at RAY_ADDRESS.

    For that Ray itself would try for long.
    """
    ray = import_extra("ray", "ray", FLAG)
    if not hasattr(ray, "init"):  # Python takes a folder of that name for a package
        raise UsageError(f"{FLAG} needs ray: pip install 'rlsparse[ray]'")
    address = os.environ.get("RAY_ADDRESS", "")
    found = re.fullmatch(r"(?:\w+://)?([^/:]+):(\d{1,5})", address)
    if found:
        try:
            socket.create_connection((found[1], int(found[2])), ANSWER).close()
        except (OSError, OverflowError) as error:
            raise UsageError(
                f"{FLAG}: no Ray answers at RAY_ADDRESS {address} ({in_one_line(error)}): is it running there? Without "
                "RAY_ADDRESS one is started here"
            ) from error
    return ray


@contextmanager
def _left_alone() -> Iterator[None]:
    """Let Ray neither take SIGTERM, at which training saves, nor say in many lines what is said here in one."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # of a Ray that is started here
    logging.getLogger("ray").setLevel(logging.ERROR)
    main, before = threading.current_thread() is threading.main_thread(), signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)
