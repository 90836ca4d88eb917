"""The Ray cluster that probes, or studies, run on: find it, or start one here."""

import logging
import os
import re
import signal
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rlsparse.errors import BROKEN, UsageError, import_extra, in_one_line
from rlsparse.sim.vector import usable_cores

FLAG = "--explore.workers ray"

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS_SKIP_REGEX": "."}
"""Environment variables that Ray reads when it is imported.

A Ray that is started here sends nothing to anybody, and what a cluster says on stdout, such as the whole state of a
machine that was lost, is left out.
"""

ANSWER = 10.0
"""Seconds in which the machine of an address must answer."""

STORE = 100 * 2**20
"""Bytes of shared memory of a Ray that is started here; what is sent is small."""


def connect(flag: str = FLAG, address: str = "") -> Any:
    """Return the package ray, connected to the cluster at an address that ray.init takes; raises UsageError.

    Without an address that is the one to which this process is connected already, else that of RAY_ADDRESS, or one that
    runs on this machine, else one that is started here, on the cores that this process may use, until it ends. Errors
    name the `flag`.
    """
    ray = check(flag, address)
    if ray.is_initialized():
        return ray
    address = address or os.environ.get("RAY_ADDRESS", "")
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
        raise UsageError(f"{flag}: {in_one_line(error)}") from error
    return ray


def check(flag: str = FLAG, address: str = "") -> Any:
    """Return the package ray; raises UsageError without it, and at once where nothing answers at the address.

    For that Ray itself would try for long.
    """
    os.environ.update({name: text for name, text in QUIET.items() if name not in os.environ})
    ray = import_extra("ray", "ray", flag)
    if not hasattr(ray, "init"):  # Python takes a folder of that name for a package
        raise UsageError(f"{flag} needs ray: pip install 'rlsparse[ray]'")
    by_variable = "" if address else os.environ.get("RAY_ADDRESS", "")
    found = re.fullmatch(r"(\w+://)?([^/:]+):(\d{1,5})", address or by_variable)
    if found and (why := _no_answer(found[2], int(found[3]), ask=not found[1])):
        named = f"RAY_ADDRESS {by_variable}" if by_variable else address
        hint = " Without RAY_ADDRESS one is started here" * bool(by_variable)
        raise UsageError(f"{flag}: no Ray answers at {named} ({why}): is it running there?{hint}")
    return ray


HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""How a connection of HTTP/2 begins, which Ray speaks; its answer is a frame of kind 4, too."""


def _no_answer(host: str, port: int, ask: bool) -> str:
    """Say in one line why no Ray answers at an address, `ask` it if so; nothing if one may."""
    try:
        with socket.create_connection((host, port), ANSWER) as connection:
            if ask and os.environ.get("RAY_USE_TLS", "0") in ("", "0"):
                connection.sendall(HELLO)
                answer = connection.recv(9)
                return "" if answer[3:4] == b"\4" else "something else does"
    except (OSError, OverflowError) as error:
        return in_one_line(error)
    return ""


@contextmanager
def _left_alone() -> Iterator[None]:
    """Let Ray neither take SIGTERM, at which training saves, nor say in many lines what is said here in one."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    main, before = threading.current_thread() is threading.main_thread(), signal.getsignal(signal.SIGTERM)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)
