"""Members that end an update early: all go on computing, these get their own state back after."""

from typing import Any, Protocol

import numpy as np

from rlsparse.learner.arrays import Array, namespace
from rlsparse.learner.learner import Learner


class Stopped(Protocol):
    """Who has stopped in one update."""

    members: Array
    """[S] bool."""

    def add(self, exceeded: Array) -> bool:
        """Keep the state of members that exceed their limit, [S] bool, for the first time; True if all have."""

    def restore(self) -> None:
        """Put the kept state back."""

    def all(self) -> bool:
        """Whether nobody is left to learn."""


def stopped_members(learner: Learner) -> Stopped:
    """Begin an update that nobody has stopped yet."""
    return StoppedOnHost(learner) if learner.device == "cpu" else StoppedOnDevice(learner)


def _state(learner: Learner) -> list[Array]:
    """All that an update changes, member axis first, live."""
    arrays = [learner.params, *learner.optimiser.state_dict().values()]
    if learner.masks is not None and learner.masks.growth is not None:
        arrays.append(learner.masks.growth)
    if learner.dense_path is not None:
        arrays += learner.dense_path.state_dict().values()
    return arrays


class StoppedOnHost:
    """Copies what a member had when it stopped, and stops all when none is left."""

    def __init__(self, learner: Learner) -> None:
        self._arrays, self._orders = _state(learner), learner.orders
        self._kept: dict[int, tuple[list[Array], Any]] = {}
        self.members = np.zeros(learner.members, bool)

    def add(self, exceeded: Array) -> bool:
        """Keep the state of members that exceed their limit, [S] bool, for the first time; True if all have."""
        for member in np.flatnonzero(exceeded & ~self.members).tolist():
            self._kept[member] = [x[member] + 0 for x in self._arrays], self._orders.state(member)
        self.members = self.members | exceeded
        return self.all()

    def restore(self) -> None:
        """Put the kept state back."""
        for member, (kept, stream) in self._kept.items():
            for array, row in zip(self._arrays, kept, strict=True):
                array[member] = row
            self._orders.load_state(member, stream)

    def all(self) -> bool:
        """Whether nobody is left to learn."""
        return bool(self.members.all())


class StoppedOnDevice:
    """Never asks who has stopped, for the answer would have to be waited for: the update goes on for all."""

    def __init__(self, learner: Learner) -> None:
        xp = namespace(learner.params)
        self._arrays = _state(learner)
        self._kept: list[Array] = []
        self.members = xp.zeros_like(learner.params[:, 0], dtype=bool)

    def add(self, exceeded: Array) -> bool:
        """Keep the state of members that exceed their limit, [S] bool, for the first time."""
        first = exceeded & ~self.members
        self._kept = self._kept or [namespace(x).zeros_like(x) for x in self._arrays]
        for kept, array in zip(self._kept, self._arrays, strict=True):
            kept[...] = namespace(array).where(_by_row(first, array), array, kept)
        self.members = self.members | exceeded
        return False

    def restore(self) -> None:
        """Put the kept state back."""
        for kept, array in zip(self._kept, self._arrays, strict=bool(self._kept)):
            array[...] = namespace(array).where(_by_row(self.members, array), kept, array)

    def all(self) -> bool:
        """Whether nobody is left to learn, which is not asked."""
        return False


def _by_row(members: Array, array: Array) -> Array:
    return members.reshape(-1, *[1] * (array.ndim - 1))
