"""MuJoCo tasks on the CPU whose model is another in every environment and at every start."""

from typing import Any

import numpy as np

from rlsparse.errors import UsageError
from rlsparse.sim.counter_numbers import uniform
from rlsparse.sim.curriculum_envs import MujocoCurriculumEnv
from rlsparse.sim.varied import CHANGE_CONSTANTS, CHANGES, PUSHED, factors_of, model_fields
from rlsparse.sim.vector import StepResult


class VariedEnv(MujocoCurriculumEnv):
    """As MujocoCurriculumEnv; every episode has factors of its own, which its environment's generator draws."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._names = factors_of(type(self.task))
        if "cfrc_ext" in self._derived:
            raise UsageError(
                f"{self._env_id} reads d.cfrc_ext, which is the same model's in all environments: leave it out"
            )
        model = self._batch.model
        self._usual = {field: getattr(model, field).copy() for field in model_fields(self._names)}
        self._own = {field: self._batch.expand(field) for field in self._usual}
        self._force = self._batch.bind("xfrc_applied")
        self._factors = np.ones((self.num_envs, len(self._names)))
        self._keys = np.zeros(self.num_envs, np.uint64)

    def _start_episodes(self, ids: np.ndarray) -> None:
        for rows, task, _ in self._parts:
            for i in ids[(ids >= rows.start) & (ids < rows.stop)]:
                rng = self._generators[i]
                self._factors[i] = [rng.uniform(*getattr(task, name)) for name in self._names]
                self._keys[i] = rng.integers(2**63)
        self._vary(ids)
        super()._start_episodes(ids)

    def _vary(self, ids: np.ndarray) -> None:
        """Give environments the models of their factors."""
        for name, factor in zip(self._names, self._factors.T, strict=True):
            for field in CHANGES[name]:
                usual = self._usual[field]
                self._own[field][ids] = factor[ids].reshape(-1, *[1] * usual.ndim) * usual
        if set(CHANGE_CONSTANTS) & set(self._names):
            self._run(self._batch.set_const, ids)

    def step(self, actions: np.ndarray) -> StepResult:
        """Advance every environment, as MujocoVectorEnv does; some robots are pushed."""
        if "push" in self._names:
            self._push(self._factors[:, self._names.index("push")])
        return super().step(actions)

    def _push(self, newtons: np.ndarray) -> None:
        """Push a robot or not, by its episode's key and the number of the step."""
        chance, turn = uniform(np.stack([self._keys, self._elapsed.astype(np.uint64)], 1), 2).T
        strength, angle = newtons * (chance < PUSHED), 2 * np.pi * turn
        self._force[:, 1, 0], self._force[:, 1, 1] = strength * np.cos(angle), strength * np.sin(angle)

    @property
    def factors(self) -> dict[str, np.ndarray]:
        """Factors of the running episodes, [num_envs] each, by their names."""
        return {name: self._factors[:, k].copy() for k, name in enumerate(self._names)}

    def snapshots(self) -> np.ndarray:
        """As that of MujocoVectorEnv, and the factors."""
        return np.concatenate([self._factors, self._keys.view(np.float64)[:, None], super().snapshots()], 1)

    def restore(self, i: int, snapshot: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, int]:
        """As that of MujocoVectorEnv, with the snapshot's model."""
        width = len(self._names)
        self._factors[i], self._keys[i] = snapshot[:width], snapshot[width : width + 1].view(np.uint64)[0]
        self._vary(np.array([i]))
        return super().restore(i, snapshot[width + 1 :], actions)

    def get_state(self) -> dict[str, np.ndarray]:
        """As that of MujocoVectorEnv, and the factors."""
        return super().get_state() | {"factors": self._factors.copy(), "keys": self._keys.copy()}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Continue exactly from a `get_state` of the same task and num_envs, else raise UsageError."""
        super().set_state(state)
        self._factors[:], self._keys[:] = state["factors"], state["keys"]
        self._vary(np.arange(self.num_envs))
