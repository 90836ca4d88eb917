"""Members that end an update early: all go on computing, and these get their own state back after."""

from typing import Any

import numpy as np

from rlsparse.learner.arrays import Array, known_empty, namespace
from rlsparse.learner.learner import Learner


class Stopped:
    """Who has stopped in one update.

    On a device nobody asks whether anyone has, for the answer would have to be waited for: the update goes on for all.
    """

    def __init__(self, learner: Learner) -> None:
        self._arrays = [learner.params, *learner.optimiser.state_dict().values(), *learner.sparsity.kept_state()]
        self._orders = learner.orders
        self._kept: list[Array] = []
        self._streams: dict[int, Any] = {}
        self.members: Array = namespace(learner.params).zeros_like(learner.params[:, 0], dtype=bool)
        """[S] bool."""

    def add(self, exceeded: Array) -> bool:
        """Keep the state of members that exceed their limit, [S] bool, for the first time; True if all have."""
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
        """Put the kept state back."""
        for kept, array in zip(self._kept, self._arrays, strict=bool(self._kept)):
            array[...] = namespace(array).where(_by_row(self.members, array), kept, array)
        for member, stream in self._streams.items():
            self._orders.load_state(member, stream)

    def all(self) -> bool:
        """Whether nobody is left to learn, as far as is known at once."""
        return isinstance(self.members, np.ndarray) and bool(self.members.all())


def _by_row(members: Array, array: Array) -> Array:
    return members.reshape(-1, *[1] * (array.ndim - 1))
