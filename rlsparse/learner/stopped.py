"""Members that end an update early: all continue to compute, and these get their own state back afterwards."""

from typing import Any

import numpy as np

from rlsparse.learner.arrays import Array, known_empty, namespace
from rlsparse.learner.learner import Learner


class Stopped:
    """The members that have stopped in one update.

    On a device the update always continues for all: to know whether all have stopped, the host would have to wait.
    """

    def __init__(self, learner: Learner) -> None:
        self._arrays = [learner.params, *learner.optimiser.state_dict().values(), *learner.sparsity.kept_state()]
        self._orders = learner.orders
        self._kept: list[Array] = []
        self._streams: dict[int, Any] = {}
        self.members: Array = namespace(learner.params).zeros_like(learner.params[:, 0], dtype=bool)
        """[S] bool."""

    def add(self, exceeded: Array) -> bool:
        """Save the state of members that first exceed their limit, [S] bool; return whether all have stopped."""
        first = exceeded & ~self.members
        self.members = self.members | exceeded
        if known_empty(first):
            return self.all()
        self._kept = self._kept or [namespace(x).zeros_like(x) for x in self._arrays]
        for kept, array in zip(self._kept, self._arrays, strict=True):
            kept[...] = namespace(array).where(_by_row(first, array), array, kept)
        if isinstance(first, np.ndarray):
            self._streams |= {member: self._orders.state(member) for member in np.flatnonzero(first).tolist()}
        return self.all()

    def restore(self) -> None:
        """Restore the saved state."""
        for kept, array in zip(self._kept, self._arrays, strict=bool(self._kept)):
            array[...] = namespace(array).where(_by_row(self.members, array), kept, array)
        for member, stream in self._streams.items():
            self._orders.load_state(member, stream)

    def all(self) -> bool:
        """Whether surely every member has stopped; False on a device, where the answer would have to be waited for."""
        return isinstance(self.members, np.ndarray) and bool(self.members.all())


def _by_row(members: Array, array: Array) -> Array:
    return members.reshape(-1, *[1] * (array.ndim - 1))
