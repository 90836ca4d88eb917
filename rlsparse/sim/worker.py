"""What one of the processes does that `rlsparse.sim.processes` starts: it holds objects and calls their methods."""

import atexit
import ctypes
import logging
import os
import pickle
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext, suppress
from enum import Enum
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle

from rlsparse.errors import BROKEN, EnvironmentFailure, RlsparseError, in_one_line
from rlsparse.sim.watchdog import LOOKS, watching

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGXCPU")
KEPT_FROM_WORKERS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))
"""Terminals and schedulers send them to every process; the parent saves then, and ends its workers."""

PR_SET_PDEATHSIG = 1
"""Of Linux: names the signal that a process gets when its parent ends, however it does."""


class Kind(Enum):
    """What a message of a worker is."""

    DONE, FAILED, ASKS, LOGS, WARNS, BUSY, HANGS = range(7)


def packed(message: Any) -> bytes:
    """Return a message as bytes; classes that only one of the processes can import travel with their code."""
    try:
        return pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    except (pickle.PicklingError, AttributeError, TypeError):
        return cloudpickle.dumps(message)


class Parent:
    """The process that this one works for."""

    def __init__(self, link: Connection) -> None:
        self._link = link
        self._sending = threading.RLock()  # what is collected while something is sent may have something to tell
        self.waits = False
        """Whether it waits for an answer."""

    def next(self) -> bytes | None:
        """Return its next message, None when it has ended."""
        try:
            return self._link.recv_bytes()
        except (EOFError, ConnectionError):
            return None

    def tell(self, kind: Kind, content: Any = None) -> None:
        """Send it a message."""
        message = packed((kind, content))
        with self._sending:
            self._link.send_bytes(message)

    def ask(self, question: str) -> None:
        """Ask it for leave; raises EnvironmentFailure if it has none to give."""
        self.tell(Kind.ASKS, question)
        if (refusal := pickle.loads(self._link.recv_bytes())) is not None:
            raise refusal

    def end_of_a_call_that_hangs(self, reason: str) -> None:
        """Say why, and end."""
        self.tell(Kind.HANGS, reason)
        os._exit(EnvironmentFailure.exit_code)


def ask(question: str) -> None:
    """Ask the parent for leave, from wherever in a worker; raises EnvironmentFailure if it has none to give."""
    _parents[0].ask(question)


_parents: list[Parent] = []


class _Forward(logging.Handler):
    """Lets the parent log what is logged here."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):  # it may have ended
            _parents[0].tell(Kind.LOGS, (record.name, record.levelno, record.getMessage()))


def serve(descriptor: int, parent_id: int, seconds: float | None) -> None:
    """Do what the parent says, until it ends; `seconds` is the most for one call of an environment."""
    _follow(parent_id)
    for number in KEPT_FROM_WORKERS:  # handlers, unlike what is ignored, do not pass on to programs that are started
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, KEPT_FROM_WORKERS)
    parent = Parent(Connection(descriptor))
    _parents[:] = [parent]
    sys.stdout = sys.stderr
    logging.basicConfig(handlers=[_Forward()], level=logging.WARNING)
    warnings.showwarning = _forward_warning  # type: ignore[assignment]
    if seconds is not None:
        threading.Thread(target=_say_busy, args=(parent, seconds / LOOKS), daemon=True).start()
    with suppress(EOFError, ConnectionError):
        parent.tell(Kind.DONE)
        with nullcontext() if seconds is None else watching(seconds, parent.end_of_a_call_that_hangs):
            _work(parent, {})
    atexit._run_exitfuncs()  # environments may have said what ends with them
    ctypes.CDLL(None).fflush(None)  # what compiled code has printed and not yet written
    os._exit(0)


def _follow(parent_id: int) -> None:
    """End when the parent does, even if it is killed, and this process does not listen."""
    if parent_id and sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_id:
            os._exit(0)


def _work(parent: Parent, held: dict[int, Any]) -> None:
    while (message := parent.next()) is not None:
        parent.waits = True
        try:
            answer: tuple[Kind, Any] = Kind.DONE, _call(held, *pickle.loads(message))
        except RlsparseError as error:
            answer = Kind.FAILED, error
        except BaseException as error:
            failed = f"environments fail in a process of their own, with {in_one_line(error)}; use --env-workers 1"
            answer = Kind.FAILED, EnvironmentFailure(failed)
        parent.waits = False
        parent.tell(*answer)
    for envs in held.values():
        with suppress(*BROKEN):
            envs.close()


def _call(held: dict[int, Any], key: int, method: str | Callable[..., Any], arguments: tuple) -> Any:
    if callable(method):
        held[key], answer = method(*arguments)
        return answer
    return getattr(held.pop(key) if method == "close" else held[key], method)(*arguments)


def _say_busy(parent: Parent, pause: float) -> None:
    """Tell the parent, while it waits, that this process still runs its own code."""
    with suppress(OSError):
        while True:
            time.sleep(pause)
            if parent.waits:
                parent.tell(Kind.BUSY)


def _forward_warning(message: Warning | str, category: type[Warning], file: str, line: int, *_: Any) -> None:
    _parents[0].tell(Kind.WARNS, (str(message), category, file, line))
