"""Marginal gains of a submodular set function as reward, as a component."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rlsparse.advantage.environments import About, EvaluationWatch, WrappedEnvs
from rlsparse.advantage.estimator import AdvantageEstimator
from rlsparse.advantage.estimators import GAE
from rlsparse.advantage.kinds import WithCritic
from rlsparse.advantage.projection import Projection
from rlsparse.advantage.set_functions import Coverage, SetFunction
from rlsparse.errors import UsageError, nearest
from rlsparse.learner.arrays import Array, namespace, to_numpy
from rlsparse.learner.bounds import Finite, NotNegative, Varying
from rlsparse.learner.records import Advantages, Rollout

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv

    from rlsparse.learner.learner import Learner


CELLS = 20
"""Cells along each dimension of a projection without a card."""

MOST_NUMBERS = 2**28
"""Largest size of the collected arrays of all environments and seeds together, in numbers."""


@dataclass(frozen=True)
class Submodular(AdvantageEstimator):
    """SubPO: learn from what each step adds to a set function of the episode's states, by any estimator with a critic.

    Source: Prajapat, Mutny, Zeilinger and Krause, arXiv 2307.13372, theorem 2.
    """

    set_function: SetFunction = field(default_factory=Coverage)
    """The set function of the visited states."""
    projection: str | None = None
    """Coordinates that it sees: a projection of the environment card, by default the first, or obs:0,2."""
    low: tuple[Finite, ...] = ()
    """Lower corner of the box that matters, in the projection's units; the card's if not given."""
    high: tuple[Finite, ...] = ()
    """Upper corner of the box; the card's if not given."""
    gain: Literal["marginal", "modular"] = "marginal"
    """Gain of a step: what its state adds to those before it, or, for comparison, its value alone."""
    gain_weight: Varying[NotNegative] = 1.0
    """Factor of the gains."""
    reward_weight: Varying[NotNegative] = 0.0
    """Factor of the environment's rewards, to which the gains are added."""
    inner: WithCritic = field(default_factory=GAE)
    """Advantage estimator for these rewards, one with a critic."""

    @property
    def gives(self) -> frozenset[str]:
        """What the inner estimator gives; the environment's return only if it is learned from."""
        return self.inner.gives - (set() if self.reward_weight > 0 else {"environment-return"})

    def check(self, recipe: Any) -> None:
        """Raise UsageError if there is nothing to learn from."""
        if self.gain_weight == self.reward_weight == 0:
            raise UsageError(
                "--advantage.gain-weight and --advantage.reward-weight are both 0: nothing is learned from"
            )

    def check_horizon(self, rollout_length: int, horizon: int) -> None:
        """Raise UsageError if the inner estimator sees too little of an episode."""
        self.inner.check_horizon(rollout_length, horizon)

    @property
    def gamma(self) -> float:
        """Discount per environment step."""
        return self.inner.gamma

    def learned_reward(self, reward: Array, gain: Array) -> Array:
        """The reward to learn from, [...]; the sum of a modular and a submodular function is submodular."""
        return self.reward_weight * reward + self.gain_weight * gain

    def __call__(self, rollout: Rollout) -> Advantages:
        """Estimate advantages and value targets, [T, S, N], of a rollout whose rewards hold the gains."""
        return self.inner(rollout)

    def check_environment(self, about: About, obs_size: int | None, environments: int) -> None:
        """Raise UsageError if the projection does not exist, or the set function is too large for it."""
        self.objective(about, obs_size, environments)

    def wrap(self, env: "VectorEnv", learner: "Learner", about: About) -> WrappedEnvs:
        """Return the environments, which keep what each episode has collected."""
        objective = self.objective(about, learner.layout.obs_size, env.num_envs)
        if learner.simulated_on == "cpu":
            return GainsEnvs(env, objective)
        from rlsparse.advantage.device_gains_envs import DeviceGainsEnvs

        return DeviceGainsEnvs(env, objective, learner.simulated_on)

    def watch(self, env: "VectorEnv", about: About) -> EvaluationWatch:
        """Return the watch that evaluates the set function over evaluation episodes."""
        # evaluated one episode after the other, so that memory for one is enough
        return GainsWatch(self.objective(about, None, environments=1), env)

    def objective(self, about: About, obs_size: int | None, environments: int) -> "Objective":
        """Return the set function and its view of the environment.

        Raises UsageError if the projection does not exist, or takes too much memory in this many `environments`.
        Indices of observations are checked against `obs_size` if that is known.
        """
        env_id = about.env_id
        projection = self._in_box(self._named_projection(env_id, about.projections))
        if projection.source == "observation" and obs_size is not None and max(projection.index) >= obs_size:
            raise UsageError(
                f"--advantage.projection {self.projection}: {env_id} has observations of {obs_size} numbers, so "
                f"expected numbers from 0 to {obs_size - 1}"
            )
        function = self.set_function.on(projection)
        kept = environments * function.empty(len(projection.index)).size
        if kept > MOST_NUMBERS:
            raise UsageError(
                f"{environments:,} environments (--num-seeds x --num-envs) with this --advantage.set-function keep "
                f"{kept:,} numbers: expected at most {MOST_NUMBERS:,}"
            )
        return Objective(self, function, projection)

    def _named_projection(self, env_id: str, known: Mapping[str, Projection]) -> Projection:
        name = self.projection
        if name is not None and re.fullmatch(r"obs:\d+(,\d+)*", name):
            index = tuple(int(number) for number in name[4:].split(","))
            if not self.low or not self.high:
                raise UsageError(
                    f"--advantage.projection {name} needs a box: give --advantage.low and --advantage.high"
                )
            many = len(index)
            return Projection(
                f"observation {name[4:]}", "observation", index, (0,) * many, (1,) * many, (CELLS,) * many
            )
        if name is None and known:
            return next(iter(known.values()))
        if name is not None and name in known:
            return known[name]
        asked = "--advantage submodular" if name is None else f"--advantage.projection {name}"
        if near := nearest(name or "", known):
            raise UsageError(f"{asked}: did you mean {near}?")
        has = f"{env_id} has the projections {', '.join(known)}" if known else f"{env_id} has no projections"
        raise UsageError(f"{asked}: {has}; or name observations by number, as in --advantage.projection obs:0,2")

    def _in_box(self, projection: Projection) -> Projection:
        """Replace the projection's box by the one that was given."""
        low, high = self.low or projection.low, self.high or projection.high
        for side, given in (("low", low), ("high", high)):
            if len(given) != len(projection.index):
                raise UsageError(
                    f"--advantage.{side} {' '.join(f'{x:g}' for x in given)}: expected one number for each of "
                    f"{len(projection.index)}: {projection.description}"
                )
        if not all(a < b for a, b in zip(low, high, strict=True)):
            raise UsageError(
                f"--advantage.low {' '.join(f'{x:g}' for x in low)} must lie below "
                f"--advantage.high {' '.join(f'{x:g}' for x in high)}"
            )
        return replace(projection, low=low, high=high)


@dataclass(frozen=True)
class Objective:
    """A set function of points, and how to see the points in an environment."""

    advantage: Submodular
    function: SetFunction
    projection: Projection

    def points(self, env: "VectorEnv", obs: Array) -> Array:
        """The environments' present points, [E, d]; `obs` [E, O] are their last observations."""
        qpos = self.projection.source == "qpos"
        return self.projection(env.qpos if qpos else obs)  # type: ignore[attr-defined]

    def values(self, points: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """F of whole episodes of lengths [...], E in all; those of `points` [L + 1, E, d] after an end do not count."""
        empty = self.function.empty(points.shape[2])
        episodes = (points[: length + 1, e] for e, length in enumerate(lengths.ravel()))
        values = [self.function.add(empty, episode)[0].sum() for episode in episodes]
        return np.reshape(values, lengths.shape)


class GainsWatch(EvaluationWatch):
    """Watches the points of evaluation episodes."""

    def __init__(self, objective: Objective, env: "VectorEnv") -> None:
        self._objective, self._env = objective, env
        self._points: list[Array] = []

    def __call__(self, obs: Array) -> None:
        """Take the observations [E, O] at the start and after each step."""
        self._points.append(self._objective.points(self._env, obs))

    def metrics(self, lengths: np.ndarray) -> dict[str, np.ndarray]:
        """Return the mean value of the set function over each member's episodes of lengths [S, n]."""
        points = to_numpy(namespace(self._points[0]).stack(self._points))
        return {"coverage": self._objective.values(points, lengths).mean(1)}


class GainsEnvs(WrappedEnvs):
    """Environments that keep what each has collected in its episode; the reward is what a step adds."""

    def __init__(self, env: "VectorEnv", objective: Objective) -> None:
        super().__init__(env)
        self.objective = objective
        self._points: list[np.ndarray] = []
        self._begun: list[tuple[int, int, np.ndarray]] = []

    def reset(self, *, seed: list[int]) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin episodes with these seeds; first states are given, and add nothing."""
        obs, info = super().reset(seed=seed)
        first = self.objective.points(self.env, obs)
        self._empty = self.objective.function.empty(first.shape[1])
        self.collected = np.stack([self._begin(point) for point in first])
        return obs, info

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step all environments, and record the points after the step."""
        obs, reward, terminated, truncated, info = self.env.step(actions)
        self.see(obs, np.flatnonzero(terminated | truncated), info)
        return obs, reward, terminated, truncated, info

    def see(self, obs: np.ndarray, ended: np.ndarray, info: dict[str, Any]) -> None:
        """Record the points after a step with this `obs` and `info`; `ended` [n] lists ended environments."""
        projection = self.objective.projection
        points = self.objective.points(self.env, obs)
        for e in ended.tolist():
            self._begun.append((len(self._points), e, points[e].copy()))
            last = info["final_qpos" if projection.source == "qpos" else "final_obs"][e]
            points[e] = projection(last)
        self._points.append(points)

    def gains(self) -> np.ndarray:
        """Gain of each step since the last call, [T, E]: F(s_{t+1} | s_0 .. s_t); first states are given."""
        points = np.stack(self._points)
        gains = np.empty(points.shape[:2])
        for e in range(points.shape[1]):
            begin = 0
            for end, first in [(t + 1, first) for t, i, first in self._begun if i == e]:
                gains[begin:end, e] = self._collect(e, points[begin:end, e])
                self.collected[e] = self._begin(first)
                begin = end
            gains[begin:, e] = self._collect(e, points[begin:, e])
        self._points, self._begun = [], []
        return gains

    def learned_reward(self, reward: np.ndarray) -> np.ndarray:
        """Return the rewards to learn from, given the environment's own of the steps since the last call, [T, S, N]."""
        return self.objective.advantage.learned_reward(reward, self.gains().reshape(reward.shape))

    def _begin(self, first: np.ndarray) -> np.ndarray:
        return self.objective.function.add(self._empty, first[None])[1]

    def _collect(self, e: int, points: np.ndarray) -> np.ndarray:
        gains, self.collected[e] = self.objective.function.add(self.collected[e], points)
        return self.objective.function.alone(points) if self.objective.advantage.gain == "modular" else gains

    def get_state(self) -> dict[str, np.ndarray]:
        """Return all arrays from which the environments continue, by name."""
        return super().get_state() | {"collected": self.collected}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore the state that `get_state` returned."""
        super().set_state(state)
        self.collected = state["collected"].copy()
