"""What environments have visited in their running episodes, and what each step added to it."""

from typing import TYPE_CHECKING, Any

import numpy as np

from rlsparse.advantage.environments import EvaluationWatch, WrappedEnvs
from rlsparse.advantage.submodular import Objective

if TYPE_CHECKING:  # a command line is refused without loading environments
    from gymnasium.vector import VectorEnv


class GainsWatch(EvaluationWatch):
    """Sees where evaluation episodes lead."""

    def __init__(self, objective: Objective, env: "VectorEnv") -> None:
        self._objective, self._env = objective, env
        self._points: list[np.ndarray] = []

    def __call__(self, obs: np.ndarray) -> None:
        """See the observations [E, O] at the start and after each step."""
        self._points.append(self._objective.points(self._env, obs))

    def metrics(self, lengths: np.ndarray) -> dict[str, np.ndarray]:
        """Return the mean value of the set function over each member's episodes of lengths [S, n]."""
        return {"coverage": self._objective.values(np.stack(self._points), lengths).mean(1)}


class GainsEnvs(WrappedEnvs):
    """Environments with what each has collected since its episode began; what is learned from is what steps add."""

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
        """Step all environments, and note where the step led."""
        obs, reward, terminated, truncated, info = self.env.step(actions)
        self.see(obs, np.flatnonzero(terminated | truncated), info)
        return obs, reward, terminated, truncated, info

    def see(self, obs: np.ndarray, ended: np.ndarray, info: dict[str, Any]) -> None:
        """Note where a step led; `obs`, `info` are as the step gave them, `ended` [n] lists whose episode is over."""
        projection = self.objective.projection
        points = self.objective.points(self.env, obs)
        for e in ended.tolist():
            self._begun.append((len(self._points), e, points[e].copy()))
            last = info["final_qpos" if projection.source == "qpos" else "final_obs"][e]
            points[e] = projection(last)
        self._points.append(points)

    def gains(self) -> np.ndarray:
        """What each step seen since the last call gave, [T, E]: F(s_{t+1} | s_0 .. s_t); first states are given."""
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
        """Return what is learned from instead of the rewards of the steps seen, [T, S, N]."""
        return self.objective.advantage.learned_reward(reward, self.gains().reshape(reward.shape))

    def _begin(self, first: np.ndarray) -> np.ndarray:
        return self.objective.function.add(self._empty, first[None])[1]

    def _collect(self, e: int, points: np.ndarray) -> np.ndarray:
        gains, self.collected[e] = self.objective.function.add(self.collected[e], points)
        return self.objective.function.alone(points) if self.objective.advantage.gain == "modular" else gains

    def get_state(self) -> dict[str, np.ndarray]:
        """Return all arrays that the environments go on from, by name."""
        return super().get_state() | {"collected": self.collected}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Put back what `get_state` gave."""
        super().set_state(state)
        self.collected = state["collected"].copy()
