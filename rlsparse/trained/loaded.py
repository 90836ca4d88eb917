"""A trained policy in Python: called with observations, it gives actions of its environment."""

import operator
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from gymnasium.spaces import Box, Tuple
from gymnasium.wrappers import FlattenObservation

from rlsparse import sim
from rlsparse.errors import UsageError, in_one_line
from rlsparse.learner.actors import Actors
from rlsparse.learner.streams import env_seeds
from rlsparse.run.from_python import class_name, class_names, text
from rlsparse.run.named_policy import find_policy
from rlsparse.sim.collect import ActionBox
from rlsparse.sim.episodes import evaluate
from rlsparse.sim.spaces import as_vectors
from rlsparse.trained.policy import Member, PolicyFlags, closing, load_member, make_environment


@dataclass(frozen=True)
class Evaluation:
    """Undiscounted returns and lengths of whole episodes, [episodes] each, and the seeds of their resets."""

    returns: np.ndarray
    lengths: np.ndarray
    seeds: tuple[int, ...]

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(self.returns.mean())

    @property
    def std(self) -> float:
        """Standard deviation of the returns over the episodes."""
        return float(self.returns.std())

    def __repr__(self) -> str:
        return f"Evaluation(mean={self.mean:,.2f}, std={self.std:,.2f}, episodes={len(self.returns)})"


class Policy:
    """The policy of one member, which takes the environment's own observations and gives its own actions."""

    def __init__(self, member: Member) -> None:
        self._member = member
        with closing(make_environment(member)) as env:
            observation, action = cast(Box, env.observation_space), cast(Box, env.action_space)
            self._space = env.env.observation_space if isinstance(env, FlattenObservation) else observation
        self._obs_shape, self._action_shape, self._dtype = observation.shape, action.shape, action.low.dtype
        self._to_native = ActionBox(action.low.ravel(), action.high.ravel())
        self._generator = np.random.default_rng(self.seed)

    @property
    def env(self) -> str:
        """Id of the environment that it acts in."""
        return self._member.env_id

    @property
    def seed(self) -> int:
        """The seed that it was trained with."""
        return self._member.seed

    @property
    def path(self) -> Path:
        """The file that it was read from."""
        return self._member.path

    @property
    def actors(self) -> Actors:
        """Network, parameters and observation normaliser, with S = 1."""
        return self._member.actors

    def __call__(self, obs: Any) -> np.ndarray:
        """Return the mean action for an observation of the environment, such as [O], or for several, as [N, O].

        Of observations of several parts, several are one dict or tuple of arrays [N, ...]. Raises ValueError for
        other shapes.
        """
        return self._act(obs, deterministic=True)

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[np.ndarray, Any]:
        """Return actions and `state`, as Stable-Baselines3's `evaluate_policy` expects; it keeps no memory."""
        return self._act(observation, deterministic), state

    def _act(self, obs: Any, deterministic: bool) -> np.ndarray:
        obs, width = self._numbers(obs), len(self._obs_shape)
        if obs.shape[obs.ndim - width :] != self._obs_shape or obs.ndim not in (width, width + 1):
            one = f"{self._obs_shape} or (N, {', '.join(map(str, self._obs_shape))})"
            raise ValueError(f"observations have shape {obs.shape}, expected {one} as {self.env} has")
        batch = obs.reshape(1, -1, self.actors.layout.obs_size)
        (action,), (log_std,) = self.actors.distribution(batch)
        if not deterministic:
            action = action + np.exp(log_std) * self._generator.standard_normal(action.shape, np.float32)
        return self._to_native(action).astype(self._dtype).reshape(*obs.shape[: obs.ndim - width], *self._action_shape)

    def _numbers(self, obs: Any) -> np.ndarray:
        """Return observations as the array that the network gets; vectors of several parts are taken too."""
        if isinstance(obs, tuple) and len(obs) == 2 and isinstance(obs[1], dict) and not isinstance(self._space, Tuple):
            raise ValueError("expected an observation, not what env.reset() gives: obs, info = env.reset()")
        parts = isinstance(obs, Mapping | tuple)
        if isinstance(self._space, Box) or not (parts or np.shape(obs)[-1:] != self._obs_shape):
            return np.asarray(obs)
        try:
            return as_vectors(self._space, obs)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ValueError(f"expected an observation of {self._space}: {in_one_line(error)}") from error

    def evaluate(self, episodes: int = 10, seed: int = 0) -> Evaluation:
        """Run deterministic episodes, begun from seeds that neither training nor its evaluations use."""
        if _whole("episodes", episodes) < 1:
            raise UsageError(f"episodes is {episodes}: expected 1 or more")
        seeds = env_seeds(seed, "play", episodes)
        env = sim.make(self._member.environment, episodes, autoreset=False, seeds=(self.seed,))
        try:
            scores = evaluate(env, self.actors, seeds)
        finally:
            env.close()
        return Evaluation(scores.returns[0], scores.lengths[0], tuple(seeds))

    def __repr__(self) -> str:
        return f"Policy({self.env!r}, seed={self.seed}, {str(self.path)!r})"


def load(
    name: str | os.PathLike[str],
    env: str | Callable[..., Any] | None = None,
    member: int = 0,
    *,
    env_kwargs: Mapping[str, Any] | None = None,
    wrappers: Iterable[str | Callable[..., Any]] | None = None,
    density: float | None = None,
    best: bool = False,
    trust: bool = False,
) -> Policy:
    """Return the policy of a run directory, a policy file or an agent card, of one `member` (counted from 0).

    `env` is needed for a card with policies for several environments, and to name an environment whose code is neither
    rlsparse's nor Gymnasium's, unless `trust` says to run it; `env_kwargs` and `wrappers` change those of the run.
    `density` chooses among those that --sparse ast trains at once, and `best` the policy of a run's best evaluation,
    which selected it. Raises UsageError or RunDirectoryError.
    """
    kwargs, around = dict(env_kwargs or {}), class_names(wrappers)
    flags = PolicyFlags(text("name", name), class_name(env), kwargs, around, density=density, best=best, trust=trust)
    return Policy(load_member(*find_policy(flags.policy, flags.env, best), flags, _whole("member", member)))


def _whole(name: str, given: Any) -> int:
    try:
        return operator.index(given)
    except TypeError:
        raise UsageError(f"{name} is {given!r}: expected a whole number") from None
