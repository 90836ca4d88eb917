"""Environments that raise are made anew, so often as a run allows, instead of ending it.

In training the episode ends with the step that failed: without a reward, and nothing is expected after it, as after a
terminated one. The next episode has the next number, hence a seed of its own. Where episodes are scored, which must not
be cut, and where a saved state is put back, the episode is begun again with its seed and the same actions.
"""

import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from rlsparse.errors import EnvironmentFailure
from rlsparse.sim.curriculum_envs import GymCurriculumEnv
from rlsparse.sim.environment import Environment

log = logging.getLogger("rlsparse.sim")


@dataclass
class Restarts:
    """How often the environments of a run may be, and have been, made anew."""

    most: int
    used: int = 0

    def spend(self, error: object) -> None:
        """Count and tell that an environment is made anew; raises EnvironmentFailure if that was done too often."""
        if self.used >= self.most:
            raise EnvironmentFailure(f"{error}; --env-restarts {self.most} are used up")
        self.used += 1
        log.warning("%s; it is made anew (%d of at most %d)", error, self.used, self.most)

    def metrics(self, seeds: Sequence[int]) -> dict[str, np.ndarray]:
        """Return how often environments of the run have been made anew, for each member the same, [S]."""
        return {"env_restarts": np.full(max(1, len(seeds)), self.used)}

    def get_state(self) -> dict[str, np.ndarray]:
        """Return the count, by name."""
        return {"restarts": np.array([self.used])}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore the count that `get_state` returned."""
        self.used = int(state["restarts"][0])


class RestartingEnvs(GymCurriculumEnv):
    """As GymVectorEnv; all that share `restarts` are made anew so often together."""

    def __init__(self, restarts: Restarts, environment: Environment | str, num_envs: int, **options: Any) -> None:
        self._restarts = restarts
        super().__init__(environment, num_envs, **options)

    def _advance(self, i: int, action: np.ndarray) -> tuple[float, bool, bool]:
        try:
            return super()._advance(i, action)
        except EnvironmentFailure as error:
            self._renew(i, error)
        if self._autoreset:
            return 0.0, True, False
        self._replay(i, int(self._episode_seeds[i]), self._actions[i])
        return self._step_one(i, action)

    def _start_episode(self, i: int) -> None:
        try:
            super()._start_episode(i)
        except EnvironmentFailure as error:
            self._renew(i, error)
            self._episode[i] += self._autoreset
            self._start_episode(i)

    def _replay(self, i: int, seed: int, actions: Iterable[np.ndarray]) -> None:
        try:
            super()._replay(i, seed, actions)
        except EnvironmentFailure as error:
            self._renew(i, error)
            super()._replay(i, seed, actions)

    def _renew(self, i: int, error: EnvironmentFailure) -> None:
        """Make environment i anew; raises the error that it failed with if no restart is left."""
        self._restarts.spend(error)
        with suppress(EnvironmentFailure):
            self._guard(i, "close", self._envs[i].close)
        self._envs[i] = self._make(i)

    def metrics(self) -> dict[str, np.ndarray]:
        """Return how often environments of the run have been made anew, for each member the same, [S]."""
        return self._restarts.metrics(self._members)

    def get_state(self) -> dict[str, np.ndarray]:
        """Return all arrays from which the environments continue, by name."""
        return super().get_state() | self._restarts.get_state()

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore the state that `get_state` returned."""
        self._restarts.set_state(state)
        super().set_state(state)
