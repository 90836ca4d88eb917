"""Small environments that behave, or misbehave on purpose; `--env fake_envs:Point-v0` imports this module.

Environments are counted as they are made. A training run makes one to look at it, then those it trains in, then
those it evaluates in: with two to train in, numbers 1 and 2 are training's, those from 3 on evaluation's.
"""

import atexit
import ctypes
import logging
import os
import signal
import sys
import threading
import warnings
from pathlib import Path

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete

made = 0
"""Environments made so far in this process."""

steps = 0
"""Steps taken so far in this process, in all environments."""


class Point(gymnasium.Env):
    """A point on a line is pushed towards the origin; `number` says which environment of the process it is."""

    observation_space = Box(-np.inf, np.inf, (2,), np.float64)
    action_space = Box(-2.0, 2.0, (1,), np.float32)

    def __init__(self):
        global made
        self.number, made = made, made + 1
        self.lived = 0  # steps, over all episodes

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position, self.speed = self.np_random.uniform(-1, 1, 2)
        return self._observation(), {}

    def step(self, action):
        global steps
        steps += 1
        self.lived += 1
        self.speed += 0.1 * float(action[0]) + 0.01 * self.np_random.standard_normal()
        self.position += 0.1 * self.speed
        terminated = abs(self.position) > 1.2
        return self._observation(), -(self.position**2), terminated, False, {}

    def _observation(self):
        return np.array([self.position, self.speed])


class Steady(Point):
    """Episodes are always five steps long."""

    def step(self, action):
        observation, reward, _, truncated, info = super().step(action)
        return observation, reward, False, truncated, info


class Bad(Point):
    """Step `at` of environment `number` goes wrong: `bad` is put in the place of the observation or the reward."""

    def __init__(self, what, bad, number=2, at=37):
        super().__init__()
        self.what, self.bad, self.where = what, bad, (number, at)

    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        if (self.number, self.lived) == self.where:
            if self.what == "observation":
                observation[1] = self.bad
            elif self.what == "last observation":
                observation[1], truncated = self.bad, True
            else:
                reward = self.bad
        return observation, reward, terminated, truncated, info


class Raises(Point):
    def step(self, action):
        if (self.number, self.lived) == (2, 37):
            raise RuntimeError("the motor burned out")
        return super().step(action)


class Unbuildable(Point):
    def __init__(self):
        raise FileNotFoundError("meshes/leg.stl is missing")


class Signalled(Point):
    """Sends this process the signals of the variable SIGNALS, such as "SIGTERM@30", at their steps of the process."""

    def step(self, action):
        for each in os.environ["SIGNALS"].split(","):
            name, _, at = each.partition("@")
            if steps == int(at):
                os.kill(os.getpid(), signal.Signals[name])
        return super().step(action)


class Flaky(Point):
    """Sometimes raises where an action is as large as noise makes it, and as an evaluation's are not."""

    def step(self, action):
        if abs(action[0]) > 1 and self.np_random.random() < 0.2:
            raise RuntimeError("the link was lost")
        return super().step(action)


class Windy(Point):
    """Is blown to one side, and observes its speed and on which side it is."""

    observation_space = Dict({"side": Discrete(2), "speed": Box(-np.inf, np.inf, (1,), np.float64)})

    def __init__(self, wind=0.0):
        super().__init__()
        self.wind = wind

    def step(self, action):
        self.speed += self.wind
        return super().step(action)

    def _observation(self):
        return {"side": int(self.position > 0), "speed": np.array([self.speed])}


class Doubled(gymnasium.RewardWrapper):
    """Twice the reward."""

    def reward(self, reward):
        return 2 * reward


class Unruly(Point):
    """Prints in every way there is, works in a folder of its own, and cannot be closed."""

    def reset(self, *, seed=None, options=None):
        os.chdir("/")
        print("printed by Python")
        os.write(1, b"printed by its descriptor\n")
        return super().reset(seed=seed)

    def close(self):
        raise OSError("no such device")


class Hanging(Point):
    """Never comes back from a step of an evaluation."""

    def step(self, action):
        if (self.number, self.lived) == (3, 2):
            threading.Event().wait()
        return super().step(action)


class Panics(Point):
    """Raises what no handler of exceptions sees, as compiled code of Rust does."""

    def step(self, action):
        class Panic(BaseException):
            def __str__(self):
                raise ValueError

        raise Panic


class Forking(Point):
    """Is killed in its first step, and leaves a process, named in the file LEFT, that holds all that it held."""

    def step(self, action):
        if (child := os.fork()) == 0:
            threading.Event().wait(60)
            os._exit(0)
        Path(os.environ["LEFT"]).write_text(str(child))
        os.kill(os.getpid(), signal.SIGKILL)


class Leaving(Point):
    """Says at its end, in the file that the variable LEFT names, that its interpreter ends."""

    def __init__(self):
        super().__init__()
        atexit.register(Path(os.environ["LEFT"]).touch)


class Talking(Point):
    """Logs and warns at every reset."""

    def reset(self, *, seed=None, options=None):
        logging.getLogger("a.robot").warning("the battery is low")
        warnings.warn("the arm is old", UserWarning, stacklevel=1)
        return super().reset(seed=seed)


class Frozen(Point):
    """Waits at a step in compiled code, which keeps the interpreter."""

    def step(self, action):
        ctypes.PyDLL(None).sleep(1000)


class ResetNan(Point):
    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed)
        return observation * np.nan, info


class Endless(Steady):
    """Registered without a time limit."""


class Discrete(Point):
    action_space = gymnasium.spaces.Discrete(2)


class Unbounded(Point):
    action_space = Box(-np.inf, np.inf, (1,), np.float32)


class Picture(Point):
    observation_space = Box(0, 255, (8, 8, 3), np.uint8)


def surroundings():
    """What a process has: nothing to be held, and an answer."""
    return None, {"modules": list(sys.modules), "threads": os.environ["OMP_NUM_THREADS"], "flags": tuple(sys.flags)}


def signalled(*signals):
    """Send signals to this process."""
    for number in signals:
        os.kill(os.getpid(), number)
    return None, [signal.getsignal(number) is signal.SIG_IGN for number in signals]


def _register(name, cls, **kwargs):
    gymnasium.register(name, cls, max_episode_steps=5, kwargs=kwargs, disable_env_checker=True)


gymnasium.register("Endless-v0", Endless, disable_env_checker=True)
for cls in (Point, Steady, Raises, Unbuildable, Signalled, Discrete, Unbounded, Picture):
    _register(f"{cls.__name__}-v0", cls)
for cls in (Flaky, Unruly, Hanging, Talking, Frozen, ResetNan, Panics, Forking, Leaving):
    _register(f"{cls.__name__}-v0", cls)
for what in ("observation", "last observation", "reward"):
    for bad in (np.nan, np.inf, -np.inf, 1e200):
        _register(f"Bad{what.title().replace(' ', '')}-{bad}-v0".replace("+", ""), Bad, what=what, bad=bad)
_register("BadInEvaluation-v0", Bad, what="reward", bad=np.nan, number=4, at=13)
