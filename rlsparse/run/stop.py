"""Signals that ask a run to save and stop."""

import os
import signal
import stat
import threading
from contextlib import suppress
from typing import Any, Self

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGXCPU")
ASKING = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))
"""Ctrl-C, the usual request, a closed terminal, and what schedulers of clusters send before time is over.

Windows has the first two alone."""

INSISTING = (signal.SIGINT, signal.SIGTERM)
"""Signals that stop at once if they come second; SIGXCPU comes every second once it has come."""


class Stop:
    """What asks a run to save and stop; of itself only whoever calls `ask`."""

    received = 0
    """Number of the signal that came, 0 if none did."""
    reason = ""
    """Who asked, if it was no signal."""

    def __call__(self) -> bool:
        """Whether to stop."""
        return bool(self.received or self.reason)

    def ask(self, reason: str) -> None:
        """Ask for it in code."""
        self.reason = self.reason or reason

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of what was taken."""


class StopSignal(Stop):
    """One of the signals ASKING asks to save and stop; Ctrl-C or SIGTERM after it stops at once."""

    def __init__(self) -> None:
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        # nohup means to outlive the terminal; a shell ignores Ctrl-C for what it starts with &
        asking = [x for x in ASKING if x in INSISTING or signal.getsignal(x) is not signal.SIG_IGN]
        self._handlers = {number: signal.signal(number, self._receive) for number in asking}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _: object) -> None:
        if self.received:
            if number in INSISTING:
                os._exit(128 + number)
            return
        self.received = number
        if number == getattr(signal, "SIGHUP", None):
            _leave_terminal()
        with suppress(OSError):
            os.write(2, b"\nstopping; once more to stop at once\n")


class StopInterrupt(Stop):
    """Ctrl-C asks to save and stop, in the main thread of a process that is not ours; the second stops at once.

    Nothing is taken from a process that has a handler of its own, and no other signal.
    """

    def __enter__(self) -> Self:
        ours = threading.current_thread() is threading.main_thread()
        self._taken = ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._taken:
            signal.signal(signal.SIGINT, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        if self._taken:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _receive(self, number: int, _: object) -> None:
        if self.received:
            raise KeyboardInterrupt
        self.received = number


def _leave_terminal() -> None:
    """Let what is still said to a terminal that has closed go nowhere instead of failing; files and pipes stay."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        if stat.S_ISCHR(os.fstat(descriptor).st_mode):
            os.dup2(nowhere, descriptor)
    os.close(nowhere)
