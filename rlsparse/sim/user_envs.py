"""Environments that a user makes, single ones or vectors of them, for whole episodes: one in each, and no more."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv, VectorWrapper

from rlsparse.errors import EnvironmentFailure, UsageError
from rlsparse.sim.episodes import STEP_CAP
from rlsparse.sim.gym import episode_seed

Obs = Any
"""An array [n, ...], or a dict of them."""

OWN_STATISTICS = ("NormalizeObservation", "NormalizeReward")
"""Gymnasium's wrappers whose copies would normalise by statistics of their own."""

MOST_AT_ONCE = 64
"""The user's environments that exist at once, at most: they may be large."""


def on_each(function: Callable[[Any], Any], obs: Obs) -> Any:
    """Return a function of an array, or of each array of a dict."""
    return {name: function(x) for name, x in obs.items()} if isinstance(obs, dict) else function(obs)


@dataclass(frozen=True)
class EpisodeEnvironments:
    """Where whole episodes are run."""

    make: Callable[[int], Any]
    """Gives that many environments, which do not restart by themselves and can be halted."""
    most: int
    """How many may be asked for."""
    horizon: int
    """Most steps of an episode."""
    action_space: gymnasium.Space
    """Of one environment."""


def from_maker(make_env: Callable[..., Any]) -> EpisodeEnvironments:
    """Return the environments that a user's function makes.

    `make_env` makes a single Gymnasium environment, or a vector of n if it takes a number. Raises UsageError if it
    makes anything else, or what normalises by statistics of its own; EnvironmentFailure if it raises.
    """
    try:
        signature(make_env).bind()
    except TypeError:
        return _from_vector_maker(make_env)
    first = guarded("make", make_env)
    if isinstance(first, VectorEnv):
        raise UsageError(
            "env makes a vector of environments: let it take their number, as lambda n: "
            'gymnasium.make_vec("HalfCheetah-v5", num_envs=n)'
        )
    if not isinstance(first, gymnasium.Env):
        raise UsageError(f"env() gave {first!r}: expected a Gymnasium environment")
    _refuse_own_statistics(first)
    return single_ones(make_env, first)


def single_ones(make_env: Callable[[], gymnasium.Env], first: gymnasium.Env) -> EpisodeEnvironments:
    """Return the single environments that a function makes, of which the first is made already."""
    make = partial(made_anew, make_env, [first])
    return EpisodeEnvironments(make, MOST_AT_ONCE, longest_episode(first), first.action_space)


def _from_vector_maker(make_env: Callable[[int], Any]) -> EpisodeEnvironments:
    held: dict[int, Any] = {}

    def vector(n: int) -> VectorEnv:
        env = guarded("make", make_env, n)
        if not isinstance(env, VectorEnv) or env.num_envs != n:
            raise UsageError(f"env({n}) gave {env!r}: expected a vector environment of {n}")
        return env

    def make(n: int) -> Any:
        if n not in held or getattr(held[n], "failed", False):
            held[n] = standing_still(vector(n))
        return held[n]

    first = vector(1)
    held[1] = standing_still(first)
    base: Any = first.unwrapped
    inner = base.envs[0] if isinstance(base, SyncVectorEnv) else base
    for env in (first, inner):
        _refuse_own_statistics(env)
    return EpisodeEnvironments(make, MOST_AT_ONCE, longest_episode(inner), first.single_action_space)


def standing_still(env: VectorEnv) -> Any:
    """Return a vector environment for one episode in each: its single ones step by step, where it has them."""
    if type(env) is SyncVectorEnv:
        return GymEnvironments(list(env.envs))
    if hasattr(env, "halt") and env.metadata.get("autoreset_mode") is AutoresetMode.DISABLED:
        return env
    return Lockstep(env)


def _refuse_own_statistics(env: Any) -> None:
    """Raise UsageError for a wrapper that normalises by what it has seen itself: training has seen other things."""
    while isinstance(env, gymnasium.Wrapper | VectorWrapper):
        if type(env).__name__ in OWN_STATISTICS and getattr(env, "update_running_mean", True):
            raise UsageError(
                f"env wraps environments in {type(env).__name__}, whose statistics would be its own: make them without "
                "it, and normalise observations in act= by the statistics of training"
            )
        env = env.env


def longest_episode(env: Any) -> int:
    """Return the most steps of an episode."""
    spec = getattr(env, "spec", None)
    limits = [STEP_CAP, (spec.max_episode_steps if spec else None) or STEP_CAP]
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, gymnasium.wrappers.TimeLimit):
            limits.append(env._max_episode_steps)
        env = env.env
    return min(limits)


def made_anew(make_env: Callable[[], gymnasium.Env], made: list[gymnasium.Env], num_envs: int) -> "GymEnvironments":
    """Return so many environments: those that are `made` are used again, and further ones are added to them."""
    while len(made) < num_envs:
        new = guarded("make", make_env)
        if any(new.unwrapped is env.unwrapped for env in made):
            raise UsageError("what makes environments gave the same environment twice: make a new one at each call")
        made.append(new)
    return GymEnvironments(made[:num_envs])


class GymEnvironments:
    """Gymnasium environments one after the other, without autoreset; those that are halted stand still."""

    def __init__(self, envs: list[gymnasium.Env]) -> None:
        self._envs = envs
        self._obs: list[Any] = []
        self._over = np.zeros(len(envs), bool)

    def reset(self, *, seed: Sequence[int]) -> tuple[Obs, dict[str, Any]]:
        """Start an episode everywhere."""
        self._obs = [
            guarded("reset", env.reset, seed=episode_seed(own, 0))[0] for env, own in zip(self._envs, seed, strict=True)
        ]
        self._over[:] = False
        return self._stacked(), {}

    def step(self, actions: np.ndarray) -> tuple[Obs, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Advance the environments whose episode is not over."""
        reward = np.zeros(len(self._envs))
        terminated, truncated = np.zeros((2, len(self._envs)), bool)
        for i in np.flatnonzero(~self._over).tolist():
            result = guarded("step", self._envs[i].step, actions[i])
            self._obs[i], reward[i], terminated[i], truncated[i], _ = result
        self._over |= terminated | truncated
        return self._stacked(), reward, terminated, truncated, {}

    def halt(self, where: np.ndarray) -> None:
        """Let the environments `where` [n] stand still until `reset`."""
        self._over |= where

    def _stacked(self) -> Obs:
        if isinstance(self._obs[0], dict):
            return {key: np.stack([obs[key] for obs in self._obs]) for key in self._obs[0]}
        return np.stack(self._obs)


class Lockstep:
    """A vector environment whose episodes restart: what it does after the end of an episode is not looked at."""

    def __init__(self, env: VectorEnv) -> None:
        self._env = env
        self._asks = env.metadata.get("autoreset_mode") is AutoresetMode.DISABLED
        self._over = np.zeros(env.num_envs, bool)
        self.failed = False
        """It has raised, and may not be of use any more: processes may have ended."""

    def reset(self, *, seed: Sequence[int]) -> tuple[Obs, dict[str, Any]]:
        """Start an episode everywhere."""
        self._over[:] = False
        return self._call("reset", self._env.reset, seed=[episode_seed(own, 0) for own in seed])

    def step(self, actions: np.ndarray) -> tuple[Obs, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Advance all environments."""
        if self._asks and self._over.any():
            self._call("reset", self._env.reset, options={"reset_mask": self._over})
        result = self._call("step", self._env.step, actions)
        self._over = result[2] | result[3]
        return result

    def halt(self, where: np.ndarray) -> None:
        """Nothing can stand still here."""

    def _call(self, doing: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        self.failed = True
        result = guarded(doing, call, *arguments, **options)
        self.failed = False
        return result


def guarded(doing: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call what a user wrote; raises EnvironmentFailure, whatever it raises."""
    try:
        return call(*arguments, **options)
    except Exception as error:
        raise EnvironmentFailure(
            f"an environment to probe in failed in {doing} with {type(error).__name__}: {error}"
        ) from error
