"""Numbers of a task that change while training: a curriculum.

E environments have each their own, K numbers of a field (2 of a range). What is NaN is as it was in the beginning.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from rlsparse.errors import UsageError, nearest

Present = Mapping[str, Any]
"""The numbers that a task has, or tuples of them, by name."""


def is_number(x: Any) -> bool:
    """Whether it is a number that has a size."""
    return isinstance(x, int | float | np.integer | np.floating) and not isinstance(x, bool)


def numbers_of(x: object) -> dict[str, Any]:
    """Return the attributes of an object and its classes that are numbers, or tuples or lists of them."""
    every = {name: value for cls in reversed(type(x).__mro__) for name, value in vars(cls).items()} | vars(x)
    return {
        name: value
        for name, value in every.items()
        if is_number(value) or (isinstance(value, tuple | list) and value and all(map(is_number, value)))
    }


def for_each(fields: Mapping[str, Any], present: Present, members: int, num_envs: int) -> dict[str, np.ndarray]:
    """Return new values of fields, [E, K]: one for all, or one for each of the members, whose parts of E are equal.

    Raises UsageError for a field that the task does not have, and a value that is not like the present one.
    """
    return {
        name: np.repeat(_of_members(name, given, present, members), num_envs // members, 0)
        for name, given in fields.items()
    }


def _of_members(name: str, given: Any, present: Present, members: int) -> np.ndarray:
    if name not in present:
        near = nearest(name, present)
        known = ", ".join(x for x in present if not x.startswith("_"))
        hint = f"did you mean {near}?" if near else f"it has {known or 'none'}"
        raise UsageError(f"set_task: the task has no number {name}: {hint}")
    shape, whole = np.shape(present[name]), np.asarray(present[name]).dtype.kind != "f"
    try:
        values = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        values = np.full(shape, np.nan)
    fits = values.shape in (shape, (members, *shape)) and not np.isnan(values).any()
    if not fits or (whole and (values % 1 != 0).any()):
        kind = "whole number" if whole else "number"
        one = f"a {kind}" if shape == () else f"{shape[0]} {kind}s"
        raise UsageError(f"set_task: {name} is {str(given)[:100]}: expected {one}, or so for each of {members} members")
    return np.broadcast_to(values, (members, *shape)).reshape(members, -1)


def like(present: Any, numbers: np.ndarray) -> Any:
    """Return numbers [K] as the value that a field has: a number, tuple or list, of the same types."""
    if isinstance(present, tuple | list):
        return type(present)(type(x)(number) for x, number in zip(present, numbers.tolist(), strict=True))
    return type(present)(numbers[0])


class Changes:
    """What has been changed in E environments, for their running episodes and for their next ones."""

    def __init__(self, num_envs: int) -> None:
        self.names: list[str] = []
        """Of every column; of a field of several numbers, so many times."""
        self.running = np.zeros((num_envs, 0))
        self.next = np.zeros((num_envs, 0))

    def set(self, values: Mapping[str, np.ndarray]) -> None:
        """Take new values, [E, K] each, for the next episodes."""
        for name, numbers in values.items():
            if name not in self.names:
                self.names += [name] * numbers.shape[1]
                unset = np.full(numbers.shape, np.nan)
                self.running, self.next = np.hstack([self.running, unset]), np.hstack([self.next, unset])
            self.next[:, [x == name for x in self.names]] = numbers

    def begin(self, i: int | slice) -> None:
        """The next episode of environment i, or of several, begins."""
        self.running[i] = self.next[i]

    def by_name(self) -> dict[str, np.ndarray]:
        """Return the numbers of the running episodes, [E, K] each."""
        return {name: self.running[:, [x == name for x in self.names]] for name in self.names}

    def of(self, i: int) -> dict[str, np.ndarray]:
        """Return what is changed in the running episode of environment i, [K] each."""
        return {name: x[i] for name, x in self.by_name().items() if not np.isnan(x[i]).any()}

    def state(self) -> dict[str, np.ndarray]:
        """Return all of it as arrays whose leading axis is E."""
        text = np.frombuffer("\n".join(self.names).encode(), np.uint8)
        names = np.repeat(text[None], len(self.running), 0)
        return {"task_names": names, "task": np.stack([self.running, self.next], 1)}

    def load(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what `state` returned."""
        names, numbers = state["task_names"], state["task"]
        self.names = bytes(names[0]).decode().split("\n") if names.size else []
        self.running, self.next = numbers[:, 0].copy(), numbers[:, 1].copy()
        if numbers.shape[2] != len(self.names):
            raise ValueError(f"{numbers.shape[2]} numbers of a task have {len(self.names)} names")
