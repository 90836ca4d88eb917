"""Sees that an environment hangs: a thread looks from time to time whether the same call still runs."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from rlsparse.errors import EnvironmentFailure
from rlsparse.sim.gym import GymVectorEnv

LOOKS = 4
"""How often the thread looks while a call takes as long as it may."""


@contextmanager
def watching(seconds: float, fail: Callable[[str], object]) -> Iterator[None]:
    """Meanwhile, end the process as soon as a call of an environment takes more than `seconds`: there is no other way.

    Before, `fail` is called with the reason, in another thread, for the calling one hangs. Environments do nothing for
    it, and pay nothing. A call that keeps the interpreter to itself, in compiled code, is not seen before it is over.
    """
    over, watched = threading.Event(), threading.get_ident()
    thread = threading.Thread(target=_watch, args=(watched, seconds, fail, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _watch(watched: int, seconds: float, fail: Callable[[str], object], over: threading.Event) -> None:
    call, seen = None, 0
    while not over.wait(min(seconds / LOOKS, threading.TIMEOUT_MAX)):
        before, call = call, _running_call(watched)
        # a frame that is kept is not used again; looks are counted, for a process may have been stopped meanwhile
        seen = seen + 1 if call is not None and call is before else 0
        if call is not None and seen >= LOOKS:
            env, i, doing = (call.f_locals[name] for name in ("self", "i", "doing"))
            reason = f"{env.where(i)} hangs in {env.told(i, doing)}: longer than --env-timeout {seconds:g} s"
            with suppress(Exception):  # the process must end, whatever it can still say
                fail(reason)
                os.write(2, f"rlsparse: {reason}\n".encode())
            os._exit(EnvironmentFailure.exit_code)


def _running_call(thread: int) -> FrameType | None:
    """Return the frame of the call of an environment that this thread is in, None if it is in none."""
    frame = sys._current_frames().get(thread)
    while frame is not None and frame.f_code is not GymVectorEnv._guard.__code__:
        frame = frame.f_back
    return frame
