"""Whole episodes of many candidates at once, in the form in which `rlsparse.explore` asks for them (one member)."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.policies import BasePolicy

from rlsparse.sb3.actor import Actor, Obs
from rlsparse.sb3.environments import Environments
from rlsparse.sim.episodes import STEP_CAP, host_noise
from rlsparse.sim.finite import LARGEST


class CandidateEpisodes:
    """Scores points of the actor's parameters; counts the steps, and keeps to the allowance.

    `seeds` and `noise_seeds` are of each episode, the latter None for mean actions.
    """

    def __init__(
        self,
        actor: Actor,
        environments: Environments,
        seeds: list[int],
        allowance: int,
        noise_seeds: list[int] | None = None,
    ) -> None:
        self._actor, self._environments, self._allowance = actor, environments, allowance
        self._seeds, self._noise_seeds = seeds, noise_seeds
        self.steps = np.zeros(1, np.int64)
        self.longest = 0
        self.exhausted = np.zeros(1, bool)

    def __call__(self, points: np.ndarray, first: int, count: int, wanted: np.ndarray | None = None) -> np.ndarray:
        """Return of episodes `first` to `first + count` of every point [1, C, P]; [1, C, count].

        NaN: not run to its end, because the allowance was used up or nothing is `wanted` [1]; -inf: parameters, an
        action, an observation or a reward were not finite. Raises EnvironmentFailure.
        """
        if wanted is not None and not wanted[0]:
            return np.full((1, points.shape[1], count), np.nan)
        at_once = max(1, self._environments.most // count)
        parts = [
            self._run(points[0, start : start + at_once], slice(first, first + count))
            for start in range(0, points.shape[1], at_once)
        ]
        return np.concatenate(parts)[None]

    def _run(self, points: np.ndarray, episodes: slice) -> np.ndarray:
        """Return of the episodes of points [C, P]; [C, E]."""
        seeds = self._seeds[episodes]
        rows = len(points) * len(seeds)
        env = self._environments.make(rows)
        mean, noise = self._actor.candidates(points), self._noise(points, episodes)
        obs, _ = env.reset(seed=seeds * len(points))
        failed = np.repeat(~np.isfinite(points.astype(np.float32)).all(1), len(seeds))
        returns, done, alive = np.zeros(rows), np.zeros(rows, bool), ~failed
        steps = 0
        while alive.any() and steps < STEP_CAP:
            action = mean(self._environments.seen(obs)) + noise()
            failed |= alive & ~np.isfinite(action).all(1)
            alive &= ~failed
            self.exhausted[0] |= self.steps[0] + alive.sum() > self._allowance
            if self.exhausted[0] or not alive.any():
                break
            env.halt(~alive)
            self.steps += alive.sum()
            steps += 1
            obs, reward, terminated, truncated, _ = env.step(self._actor.native(np.where(alive[:, None], action, 0.0)))
            failed |= alive & ~((np.abs(reward) <= LARGEST) & _finite(obs))
            returns[alive] += reward[alive]
            done |= alive & (terminated | truncated)
            alive &= ~(done | failed)
        done |= alive & (steps >= STEP_CAP)
        self.longest = max(self.longest, steps)
        return np.where(failed, -np.inf, np.where(done, returns, np.nan)).reshape(len(points), -1)

    def _noise(self, points: np.ndarray, episodes: slice) -> Callable[[], Any]:
        """Return what draws the action noise of all rows, alike for all candidates."""
        if self._noise_seeds is None:
            return lambda: 0.0
        std = self._actor.std(points)[:, None]
        size = std.shape[-1]
        draw = host_noise([self._noise_seeds[episodes]], size)
        return lambda: (std * draw()).reshape(-1, size)


def _finite(obs: Obs) -> np.ndarray:
    """Whether each observation of [n, ...], or of a dict of such, is finite; [n] bool."""
    parts = obs.values() if isinstance(obs, dict) else [obs]
    return np.all([(np.abs(x.reshape(len(x), -1)) <= LARGEST).all(1) for x in parts], axis=0)


@contextmanager
def undisturbed(policy: BasePolicy) -> Iterator[None]:
    """Put the global random states back as they were, which a user's environments and networks may draw from.

    Meanwhile the policy is in evaluation mode.
    """
    python, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 - of the user's code
    devices = [policy.device] if policy.device.type == "cuda" else []
    training = policy.training
    policy.set_training_mode(False)
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        policy.set_training_mode(training)
        random.setstate(python)
        np.random.set_state(numpy_state)  # noqa: NPY002
