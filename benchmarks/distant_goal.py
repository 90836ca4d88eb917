"""A task whose success is rare: a point that is paid only at a distant goal."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box


class DistantGoal(gymnasium.Env):
    """A point mass with friction on a plane: it is paid 1 for coming within 0.1 of (2, 0), and nothing before."""

    observation_space = Box(-np.inf, np.inf, (4,), np.float64)
    action_space = Box(-1.0, 1.0, (2,), np.float32)
    goal = np.array([2.0, 0.0])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin near the origin, at rest."""
        super().reset(seed=seed)
        self.position, self.velocity = self.np_random.uniform(-0.05, 0.05, 2), np.zeros(2)
        return np.concatenate([self.position, self.velocity]), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Push."""
        self.velocity = 0.9 * self.velocity + 0.02 * action
        self.position = self.position + self.velocity
        reached = bool(np.linalg.norm(self.position - self.goal) < 0.1)
        return np.concatenate([self.position, self.velocity]), float(reached), reached, False, {}
