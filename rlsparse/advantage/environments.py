"""Environments as an advantage estimator wants them: `WrappedEnvs` changes nothing, estimators override methods."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rlsparse.advantage.projection import Projection
from rlsparse.learner.arrays import Array

if TYPE_CHECKING:  # a command line is refused without loading environments
    from gymnasium.vector import VectorEnv


@dataclass(frozen=True)
class About:
    """What is known of an environment before it is made."""

    env_id: str
    projections: Mapping[str, Projection]
    """What set functions may see, by name; the first is the usual one."""


class WrappedEnvs:
    """E environments as they are; beside Gymnasium's methods, what a collector asks."""

    def __init__(self, env: "VectorEnv") -> None:
        self.env = env

    def __getattr__(self, name: str) -> Any:
        """Return what the environments have themselves."""
        return getattr(self.env, name)

    def reset(self, *, seed: list[int]) -> tuple[Array, dict[str, Any]]:
        """Begin episodes with these seeds, one for each environment."""
        return self.env.reset(seed=seed)  # type: ignore[arg-type]

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """Step all environments by native actions [E, A].

        `info` may say, [E] bool each: `valid`, False where no step happened; `replayed`, where another action was
        taken; `helped`, whose episodes do not count as the policy's own.
        """
        return self.env.step(actions)

    def restart(self) -> Array:
        """Break all episodes off and begin new ones; returns their first observations [E, O]."""
        return self.env.reset(options={"reset_mask": np.ones(self.env.num_envs, bool)})[0]

    def learned_reward(self, reward: Array) -> Array:
        """Return what is learned from in place of the rewards [T, S, N] of the steps since the last call."""
        return reward

    def metrics(self) -> dict[str, np.ndarray]:
        """Describe the environments in numbers, [S] each."""
        return {}

    def get_state(self) -> dict[str, np.ndarray]:
        """Return all arrays that the environments go on from, by name."""
        return self.env.get_state()  # type: ignore[attr-defined]

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Put back what `get_state` gave."""
        self.env.set_state(state)  # type: ignore[attr-defined]


class EvaluationWatch:
    """Sees the observations of evaluation episodes, and by default makes nothing of them."""

    def __call__(self, obs: Array) -> None:
        """See the observations [E, O] at the start and after each step."""

    def metrics(self, lengths: np.ndarray) -> dict[str, np.ndarray]:
        """Describe the episodes of lengths [S, n] that were seen in numbers, [S] each."""
        return {}
