"""Environments for an advantage estimator: `WrappedEnvs` changes nothing, estimators override methods."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rlsparse.advantage.projection import Projection
from rlsparse.learner.arrays import Array

if TYPE_CHECKING:  # checks of a command line must not load environments
    from gymnasium.vector import VectorEnv


@dataclass(frozen=True)
class About:
    """Facts about an environment that are known before it is made."""

    env_id: str
    projections: Mapping[str, Projection]
    """Projections that set functions may see, by name; the first is the default."""


class WrappedEnvs:
    """E environments, unchanged; beside Gymnasium's methods, those that a collector calls."""

    def __init__(self, env: "VectorEnv") -> None:
        self.env = env

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the environments themselves."""
        return getattr(self.env, name)

    def reset(self, *, seed: list[int]) -> tuple[Array, dict[str, Any]]:
        """Begin episodes with these seeds, one for each environment."""
        return self.env.reset(seed=seed)  # type: ignore[arg-type]

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """Step all environments by native actions [E, A].

        `info` may hold, [E] bool each: `valid`, False where no step happened; `replayed`, True where another action was
        taken; `helped`, True where the episode does not count as the policy's own.
        """
        return self.env.step(actions)

    def restart(self) -> Array:
        """End all episodes early and begin new ones; return their first observations [E, O]."""
        return self.env.reset(options={"reset_mask": np.ones(self.env.num_envs, bool)})[0]

    def learned_reward(self, reward: Array) -> Array:
        """Return the rewards [T, S, N] to learn from, given the environment's own of the steps since the last call."""
        return reward

    def metrics(self) -> dict[str, np.ndarray]:
        """Return numbers about the environments, [S] each."""
        return getattr(self.env, "metrics", dict)()

    def get_state(self) -> dict[str, np.ndarray]:
        """Return all arrays from which the environments continue, by name."""
        return self.env.get_state()  # type: ignore[attr-defined]

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore the state that `get_state` returned."""
        self.env.set_state(state)  # type: ignore[attr-defined]


class EvaluationWatch:
    """Watches the observations of evaluation episodes; by default it ignores them."""

    def __call__(self, obs: Array) -> None:
        """Take the observations [E, O] at the start and after each step."""

    def metrics(self, lengths: np.ndarray) -> dict[str, np.ndarray]:
        """Return numbers about the watched episodes, whose lengths are [S, n]; [S] each."""
        return {}
