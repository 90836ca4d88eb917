"""Processes that hold objects for this one, and call their methods at the same time, each when it is told to.

Each is a fresh interpreter and no fork: threads, locks and a GPU of this process are not copied, and its main module is
not imported. Messages are pickles over a pair of sockets that no other process has.
"""

import json
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from rlsparse.errors import EnvironmentFailure, RlsparseError
from rlsparse.sim.watchdog import LOOKS
from rlsparse.sim.worker import KEPT_FROM_WORKERS, Kind, packed

BEGIN = (
    "import json, sys; descriptor, parent, seconds, sys.path[:], sys.argv[:] = json.loads(sys.argv[1]); "
    "from rlsparse.sim.worker import serve; serve(descriptor, parent, seconds)"
)
"""What a process runs."""

POSSIBLE = hasattr(signal, "pthread_sigmask")
"""Whether this system has what is needed; Windows has not."""

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Environment variables: the processes share the cores already."""

PATIENCE = 2.0
"""Seconds that processes have to close what they hold, before they are killed."""


class ProcessLost(RlsparseError):
    """A process has ended or hangs, and what it held is gone: nothing goes on, as after EnvironmentFailure it may."""

    exit_code = EnvironmentFailure.exit_code


class Processes:
    """`count` processes that begin with the first call, and end with this object or with this process.

    `timeout` is the most seconds for a call of an environment, and `answer` gets what the processes ask.
    """

    def __init__(self, count: int, timeout: float | None, answer: Callable[[str], None]) -> None:
        self.count = count
        self._timeout, self._answer = timeout, answer
        self._running: list[subprocess.Popen] = []
        self._links: list[Connection] = []
        self._lost = ""
        self._keys = 0
        self._told: set[Any] = set()
        self.end = weakref.finalize(self, _end, self._running, self._links, os.getpid())

    def new_key(self) -> int:
        """Return a name for what the processes are to hold."""
        self._keys += 1
        return self._keys

    def call(
        self, key: int, method: str | Callable[..., Any], arguments: Mapping[int, tuple], whose: Callable[[int], str]
    ) -> list[Any]:
        """Call a method of what the processes hold under `key`, each with its arguments; return their answers.

        A function in place of a method gives what is to be held, and the answer. `whose(k)` names process k by what it
        holds. Raises what the first of them raised; ProcessLost if one has ended or hangs, and from then on always.
        """
        if self._lost or not self.end.alive:
            raise ProcessLost(self._lost or "the processes of the environments have ended")
        self._told.clear()
        doing = method if isinstance(method, str) else "make"
        self._lost = f"the processes of the environments were left in the midst of {doing}"  # unless all answer
        try:
            answers = self._exchange({k: packed((key, method, given)) for k, given in arguments.items()}, doing, whose)
        except BaseException as error:
            self._lost = str(error) if isinstance(error, RlsparseError) else self._lost
            self.end()
            raise
        self._lost = ""
        for kind, content in answers:
            if kind is Kind.FAILED:
                raise content
        return [content for _, content in answers]

    def _exchange(self, messages: dict[int, bytes], doing: str, whose: Callable[[int], str]) -> list[tuple[Kind, Any]]:
        """Send every message before the first answer is waited for; return the answers."""
        if not self._running:
            self._begin()
        k, answers = 0, []
        try:
            for k, message in messages.items():
                self._links[k].send_bytes(message)
            for k in messages:
                answers.append(self._receive(k))
        except (EOFError, ConnectionError) as error:
            raise ProcessLost(f"{whose(k)} {how_it_ended(self._running[k])} in {doing}") from error
        except TimeoutError as error:
            self._running[k].kill()
            raise ProcessLost(f"{whose(k)} hangs in {doing}: {error}") from error
        return answers

    def _receive(self, k: int) -> tuple[Kind, Any]:
        """Return the answer of process k; meanwhile, pass on what it tells, and answer what it asks."""
        while True:
            self._wait(k)
            kind, content = pickle.loads(self._links[k].recv_bytes())
            if kind in (Kind.DONE, Kind.FAILED):
                return kind, content
            if kind is Kind.HANGS:
                raise ProcessLost(content)
            if kind is Kind.ASKS:
                self._reply(k, content)
            elif kind is not Kind.BUSY and content not in self._told:  # several may say the same
                self._told.add(content)
                _pass_on(kind, content)

    def _wait(self, k: int) -> None:
        """Wait until process k says something: while it is busy it does several times within `timeout`."""
        if self._timeout is None:
            while not self._links[k].poll(PATIENCE):
                self._check_alive(k)
            return
        for _ in range(4 * LOOKS):  # waits are counted, for this process may have been stopped meanwhile
            if self._links[k].poll(self._timeout / LOOKS):
                return
            self._check_alive(k)
        raise TimeoutError(f"in compiled code, far longer than --env-timeout {self._timeout:g} s")

    def _check_alive(self, k: int) -> None:
        """Raise EOFError if process k has ended, though a fork of it may hold its end of the connection."""
        if self._running[k].poll() is not None and not self._links[k].poll():
            raise EOFError

    def _reply(self, k: int, question: str) -> None:
        try:
            self._answer(question)
            refusal = None
        except EnvironmentFailure as error:
            refusal = error
        self._links[k].send_bytes(packed(refusal))

    def _begin(self) -> None:
        if not POSSIBLE:
            raise EnvironmentFailure("environments in processes of their own need Linux or macOS; use --env-workers 1")
        main = threading.current_thread() is threading.main_thread()  # a parent, to Linux, is a thread
        ours, theirs = zip(*(socket.socketpair() for _ in range(self.count)), strict=True)
        try:
            for link in theirs:
                told = [link.fileno(), os.getpid() if main else 0, self._timeout, [*map(str, sys.path)], sys.argv]
                self._running.append(_start(json.dumps(told), link.fileno()))
        except OSError as error:
            raise EnvironmentFailure(
                f"{self.count} processes for environments cannot be started: {error}; --env-workers 1 needs none"
            ) from error
        finally:
            self._links += [Connection(link.detach()) for link in ours[: len(self._running)]]
            for link in (*ours[len(self._running) :], *theirs):
                link.close()
        for k, link in enumerate(self._links):
            try:
                link.recv_bytes()
            except (EOFError, ConnectionError) as error:
                how = how_it_ended(self._running[k])
                raise ProcessLost(f"a process for environments {how} before it began; use --env-workers 1") from error


def _start(told: str, descriptor: int) -> subprocess.Popen:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, KEPT_FROM_WORKERS)  # until it has set handlers of its own
    try:
        return subprocess.Popen(
            [sys.executable, *subprocess._args_from_interpreter_flags(), "-c", BEGIN, told],  # type: ignore[attr-defined]
            stdin=subprocess.DEVNULL,
            stdout=2,
            pass_fds=[descriptor],
            env=ONE_THREAD | os.environ,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def how_it_ended(process: subprocess.Popen) -> str:
    """Say how a process ended, or that it has not."""
    try:
        code = process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        return "has closed its connection"
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
    return f"was killed by {name}{', as for want of memory,' if -code == signal.SIGKILL else ''}"


_warned: dict[Any, Any] = {}
"""What Python remembers of warnings that have been shown."""


def _pass_on(kind: Kind, content: Any) -> None:
    if kind is Kind.LOGS:
        name, level, text = content
        logging.getLogger(name).log(level, "%s", text)
    else:
        text, category, file, line = content
        warnings.warn_explicit(text, category, file, line, registry=_warned)


def _end(running: list[subprocess.Popen], links: list[Connection], owner: int) -> None:
    """Let the processes close what they hold, and end; a fork of this process has none."""
    for link in links:
        link.close()
    if os.getpid() != owner:
        return
    end = time.monotonic() + PATIENCE
    for process in running:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, end - time.monotonic()))
        process.kill()
        process.wait()
