"""Code of others in this process: it may fail while it is imported, print, or change the working directory."""

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout, suppress
from contextvars import ContextVar
from pathlib import Path

from rlsparse.errors import BROKEN, UsageError, in_one_line

COMMAND: ContextVar[bool] = ContextVar("command", default=False)
"""Whether this process runs a command of ours; in others' processes streams and working directory are theirs."""


def import_named(place: str) -> str:
    """Import a module, or a file, that the command line names; return its name, a file's with its whole path.

    The working directory is searched first for a module that it holds. Raises UsageError, in one line, with whatever
    the import raises.
    """
    from rlsparse.sim.user_classes import load_module

    here, top = Path.cwd(), place.partition(".")[0]
    if place.endswith(".py"):  # which is not searched for
        place, top = str(Path(place).expanduser().resolve()), ""
    if top and ((here / top).is_dir() or (here / f"{top}.py").is_file()) and str(here) not in sys.path:
        sys.path.insert(0, str(here))
    try:
        with contained():
            load_module(place)
    except BROKEN as error:
        words = " ".join(str(error).split()) if isinstance(error, ImportError) else in_one_line(error)
        raise UsageError(f"cannot import {place or 'a module without a name'}: {words}") from error
    return place


def class_named(name: str) -> str:
    """Import what the command line names as "package.module.Class", "module:Class" or "file.py:Class"; return its name.

    A file is then named with its whole path. Raises UsageError.
    """
    from rlsparse.sim.user_classes import given_classes, load_object, split_name

    if name in given_classes:
        return name
    place, mark, attribute = split_name(name)
    if not place or not attribute or name.endswith(".py"):
        raise UsageError(f"'{name}' names no class: expected package.module.Class, module:Class or file.py:Class")
    name = f"{import_named(place)}{mark}{attribute}"
    with contained():
        load_object(name)
    return name


@contextmanager
def contained(timeout: float | None = None, fail: Callable[[str], object] = lambda reason: None) -> Iterator[None]:
    """Send what anybody writes to stdout meanwhile to stderr, and then go back to the working directory.

    So an environment that prints does not spoil what we print, nor does one that changes the directory move our files.
    One that takes more than `timeout` seconds for a call ends the process, after `fail` was called with the reason.
    Only commands do any of this.
    """
    if not COMMAND.get():
        yield
        return
    folder, stdout = None, None
    with suppress(OSError):  # the directory may be gone, and streams may be closed
        folder = os.getcwd()
    with suppress(OSError):
        stdout = os.dup(1)
        os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr), _watched(timeout, fail):
            yield
    finally:
        if stdout is not None:
            with suppress(TypeError):  # of Windows, where the C library has a name
                ctypes.CDLL(None).fflush(None)  # what compiled code has printed and not yet written
            os.dup2(stdout, 1)
            os.close(stdout)
        with suppress(OSError):
            os.chdir(folder or ".")


def left_to_workers(timeout: float | None, workers: int) -> float | None:
    """Return the `timeout` where it is for `workers` to see to: a command in one process is ended by `contained`."""
    return None if COMMAND.get() and workers == 1 else timeout


def _watched(timeout: float | None, fail: Callable[[str], object]) -> AbstractContextManager[None]:
    if timeout is None:
        return nullcontext()
    from rlsparse.sim.watchdog import watching

    return watching(timeout, fail)
