"""Update sparse networks by the weights that are there alone: fewer operations, smaller vectors, the same steps."""

from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np

from rlsparse.algorithms.kinds import Algorithm
from rlsparse.learner.adam import Adam
from rlsparse.learner.arrays import Array
from rlsparse.learner.learner import Learner
from rlsparse.learner.records import EpochStats
from rlsparse.sparse.packed_layout import PackedLayout
from rlsparse.sparse.packed_matrix import can_multiply


class NothingAbsent:
    """What takes the place of masks where absent weights are left out, so that there is nothing to hide."""

    def __init__(self, rate_scale: np.ndarray, growth: np.ndarray | None) -> None:
        self._rate_scale, self.growth = rate_scale, growth

    def learning_rate(self, rate: Array) -> Array:
        """Return Adam's step size of every number, [S, K]."""
        return rate * self._rate_scale

    def hide(self, gradient: Array) -> None:
        """Leave the gradient as it is."""

    def clear(self, vector: Array, part: slice) -> None:
        """Leave the vector as it is."""


def update(algorithm: Algorithm, learner: Learner, batch: Any, *beside: Any) -> Iterator[EpochStats]:
    """Improve the learner on the batch as the algorithm does, yielding as it does; packed if that can be."""
    layout = packing(learner)
    if layout is None:
        yield from algorithm.update(learner, batch, *beside)
        return
    packed = pack(learner, layout)
    for stats in algorithm.update(packed, batch, *beside):
        unpack(packed, layout, learner)
        yield stats


def packing(learner: Learner) -> PackedLayout | None:
    """Return the layout to pack the learner in, or None where absent weights matter or that would not be faster."""
    masks = learner.masks
    if masks is None or learner.dense_path is not None or learner.sub_networks is not None:
        return None
    if learner.device != "cpu" or type(learner.optimiser) is not Adam or not can_multiply():
        return None
    layout = masks.packed_layout()
    if layout is None or masks.growth is None:
        return layout
    whole = {slot.name: slot for slot in learner.layout.slots}
    return replace(layout, totals={name: learner.layout.view(masks.growth, whole[name]) for name in layout.patterns})


def pack(learner: Learner, layout: PackedLayout) -> Learner:
    """Return a learner of what is there of another, whose random streams and counters it shares."""
    assert learner.masks is not None
    packed = copy(learner)
    packed.layout, packed.params = layout, layout.pack(learner.params)
    steps = learner.masks.learning_rate(np.ones((learner.members, 1), np.float32))
    packed.masks = NothingAbsent(layout.pack(steps), learner.masks.growth)  # type: ignore[assignment]
    state = learner.optimiser.state_dict()
    packed.optimiser = Adam(packed.params, own_steps="age1" in state)
    packed.optimiser.load_state_dict({name: layout.pack(x) for name, x in state.items()})
    return packed


def unpack(packed: Learner, layout: PackedLayout, learner: Learner) -> None:
    """Write what has been learned back to where it was packed from."""
    layout.unpack(packed.params, learner.params)
    state = packed.optimiser.state_dict()
    for name, whole in learner.optimiser.state_dict().items():
        layout.unpack(state[name], whole)
