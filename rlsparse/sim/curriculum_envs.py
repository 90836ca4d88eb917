"""Vector environments whose task changes while they run; `curriculum` keeps the numbers."""

import dataclasses
from collections.abc import Mapping
from typing import Any, get_type_hints

import numpy as np

from rlsparse.sim.cpu import MujocoVectorEnv
from rlsparse.sim.curriculum import Changes, like, numbers_of
from rlsparse.sim.gym import GymVectorEnv
from rlsparse.sim.task import Fields, Range, Task
from rlsparse.sim.tasks import check_task


class MujocoCurriculumEnv(MujocoVectorEnv):
    """As MujocoVectorEnv; its task changes at once."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._changes = Changes(self.num_envs)

    def task_numbers(self) -> dict[str, Any]:
        """The numbers and ranges of the recipe's task that `set_task` changes."""
        return numbers_of_task(self.task)

    def set_task(self, values: Mapping[str, np.ndarray]) -> None:
        """Change numbers of the task at once, `[num_envs, K]` each; raises UsageError for what is out of bounds."""
        check_numbers(self._env_id, values)
        self._changes.set(values)
        self._share_tasks()

    def _share_tasks(self) -> None:
        """Put neighbours with the same task together."""
        self._changes.begin(slice(None))
        present, numbers, each = self.task_numbers(), self._changes.running, ("qpos", "qvel", "ctrl")
        differs = (numbers[1:] != numbers[:-1]) & ~np.isnan(numbers[1:] + numbers[:-1])
        bounds = [0, *np.flatnonzero(differs.any(1)) + 1, self.num_envs]
        self._parts = []
        for rows in map(slice, bounds, bounds[1:]):
            changes = {name: like(present[name], x) for name, x in self._changes.of(rows.start).items()}
            own = {name: getattr(self._fields, name)[rows] for name in (*each, *self._derived)}
            fields = Fields(**vars(self._fields) | own)
            self._parts.append((rows, dataclasses.replace(self.task, **changes) if changes else self.task, fields))

    def get_state(self) -> dict[str, np.ndarray]:
        """The whole state, as numeric arrays with leading axis num_envs; call after reset."""
        return super().get_state() | self._changes.state()

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Continue exactly from a `get_state` of the same task and num_envs, else raise UsageError."""
        super().set_state(state)
        self._changes.load(state)
        check_numbers(self._env_id, self._changes.by_name())
        self._share_tasks()


class GymCurriculumEnv(GymVectorEnv):
    """As GymVectorEnv; the task of an environment changes with its next episode."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._changes = Changes(self.num_envs)

    def task_numbers(self) -> dict[str, Any]:
        """The attributes of the environments within their wrappers that `set_task` changes, as they are now."""
        return numbers_of(self._envs[0].unwrapped)

    def set_task(self, values: Mapping[str, np.ndarray]) -> None:
        """Change numbers of the task, `[num_envs, K]` each, from the next episode of every environment on."""
        self._changes.set(values)

    def _start_episode(self, i: int) -> None:
        self._changes.begin(i)
        super()._start_episode(i)

    def _reset_one(self, i: int, seed: int) -> None:
        for name, numbers in self._changes.of(i).items():
            task = self._envs[i].unwrapped
            setattr(task, name, like(numbers_of(task)[name], numbers))
        super()._reset_one(i, seed)

    def get_state(self) -> dict[str, np.ndarray]:
        """As that of GymVectorEnv, and what has changed."""
        return super().get_state() | self._changes.state()

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Replay the running episodes of a `get_state`, each with its own task."""
        self._changes.load(state)
        super().set_state(state)


def check_numbers(env_id: str, values: Mapping[str, np.ndarray]) -> None:
    """Raise UsageError for the first of numbers, `[num_envs, K]` each, that a MuJoCo task does not take."""
    for name, numbers in values.items():
        for row in np.unique(numbers, axis=0).tolist():
            check_task(env_id, {name: row if len(row) > 1 else row[0]})


def numbers_of_task(task: Task) -> dict[str, Any]:
    """Return the fields of a MuJoCo task that are real numbers, or ranges of them."""
    hints = get_type_hints(type(task))
    found = {name: getattr(task, name) for name, hint in hints.items() if hint in (float, Range)}
    return {name: tuple(map(float, x)) if isinstance(x, tuple) else float(x) for name, x in found.items()}
