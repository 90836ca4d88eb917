"""What environments have visited in their running episodes, and what each step added to it."""

from typing import TYPE_CHECKING, Any

import numpy as np

from rlsparse.advantage.submodular import Objective

if TYPE_CHECKING:  # a command line is refused without loading environments
    from gymnasium.vector import VectorEnv


class Visits:
    """What each of E environments has collected since its episode began; a row of its own for each."""

    def __init__(self, objective: Objective, env: "VectorEnv", obs: np.ndarray) -> None:
        self.objective = objective
        first = objective.points(env, obs)
        self._empty = objective.function.empty(first.shape[1])
        self.collected = np.stack([self._begin(point) for point in first])
        self._points: list[np.ndarray] = []
        self._begun: list[tuple[int, int, np.ndarray]] = []

    def see(self, env: "VectorEnv", obs: np.ndarray, ended: np.ndarray, info: dict[str, Any]) -> None:
        """Note where a step led; `obs`, `info` are as the step gave them, `ended` [n] lists whose episode is over."""
        projection = self.objective.projection
        points = self.objective.points(env, obs)
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
