"""An environment that hangs is seen and named; one that is slow, but not so slow, is let be."""

import re
import threading

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box

from rlsparse import sim
from rlsparse.sim import watchdog

PATIENCE = 0.04


class Stuck(gymnasium.Env):
    """Does not come back from what `where` says until the test lets it."""

    observation_space, action_space = Box(-1, 1, (1,)), Box(-1, 1, (1,))
    released: threading.Event

    def __init__(self, where):
        self.where = where
        self._wait("make")

    def _wait(self, doing):
        if self.where == doing:
            Stuck.released.wait(10)

    def reset(self, *, seed=None, options=None):
        self._wait("reset")
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self._wait("step")
        return np.zeros(1, np.float32), 0.0, False, False, {}


@pytest.fixture
def ended(monkeypatch):
    """The exit codes that the watchdog ended the process with, which then goes on instead."""
    codes = []

    def end(code):
        codes.append(code)
        Stuck.released.set()

    monkeypatch.setattr(watchdog.os, "_exit", end)
    monkeypatch.setattr(Stuck, "released", threading.Event(), raising=False)
    return codes


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("make", "environment 0 hangs in make"),
        ("reset", r"seed 7, environment 0 hangs in reset\(seed=\d+\)"),
        ("step", r"seed 7, environment 0 hangs in step 1 after reset\(seed=\d+\)"),
    ],
)
def test_a_call_that_takes_too_long_is_told_and_ends_the_process(where, told, ended, register, capfd):
    env_id, reasons = register(Stuck, where=where), []
    with watchdog.watching(PATIENCE, reasons.append):
        env = sim.make(env_id, 2, seeds=() if where == "make" else (7, 8))
        env.reset(seed=0)
        env.step(np.zeros((2, 1)))
    assert ended == [3]
    assert re.fullmatch(rf"{env_id}: {told}: longer than --env-timeout 0.04 s", *reasons)
    assert capfd.readouterr().err == f"rlsparse: {reasons[0]}\n"


def test_many_short_calls_are_not_one_long_call(ended, register):
    """They take longer than the timeout together, under a watch that never finds the same call twice."""
    env = sim.make(register(Stuck, where="nowhere"), 2)
    looks = []
    look = watchdog._running_call
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watchdog, "_running_call", lambda thread: looks.append(1) or look(thread))
        with watchdog.watching(PATIENCE, lambda reason: None):
            env.reset(seed=0)
            while len(looks) < 3 * watchdog.LOOKS:
                env.step(np.zeros((2, 1)))
    assert ended == []


def test_what_is_no_call_of_an_environment_may_take_long(ended):
    looked = threading.Semaphore(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watchdog, "_running_call", lambda thread: looked.release())
        with watchdog.watching(PATIENCE, lambda reason: None):
            for _ in range(2 * watchdog.LOOKS):
                looked.acquire()
    assert ended == []


def test_the_process_ends_even_if_the_reason_cannot_be_written(ended, register):
    def fail(reason):
        raise OSError("disk full")

    with watchdog.watching(PATIENCE, fail):
        sim.make(register(Stuck, where="make"), 1)
    assert ended == [3]


def test_the_thread_ends_with_the_watch():
    before = threading.active_count()
    with watchdog.watching(1e300, lambda reason: None):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
