"""Flat vectors without the numbers that are absent."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from rlsparse.learner.arrays import Array
from rlsparse.learner.layout import Layout, Slot, Views
from rlsparse.sparse.packed_matrix import PackedMatrix, Pattern


@dataclass(frozen=True)
class PackedLayout(Layout):
    """Where what is left of each weight, and each bias and log-std, lies in the packed vector [S, K]."""

    patterns: dict[str, Pattern]
    """Of each weight, by its slot's name."""
    whole: np.ndarray
    """Where each number of the packed vector lies in the whole one, [S, K]."""
    totals: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Live sums [S, in, out] of whole gradients, by the weight's slot's name, if they are wanted."""

    def view(self, params: Array, slot: Slot) -> Array:
        """Return one slot of params [..., K] as a live view: weights as a packed matrix."""
        if slot.name in self.patterns:
            return PackedMatrix(self.patterns[slot.name], params[..., slot.start : slot.stop])
        return super().view(params, slot)

    def views(self, params: Array) -> Views:
        """Return all parts of params [S, K] as live views; gradients that are written to them are summed whole."""
        views = super().views(params)
        for (weight, _), name in zip([*views.actor, *views.critic], self.patterns, strict=True):
            weight.total = self.totals.get(name)
        return views

    def pack(self, vector: np.ndarray) -> np.ndarray:
        """Return what the whole vector [S, D] has here, [S, K]; of one number for each member, [S, 1], that number."""
        return vector + 0 if vector.shape[1] == 1 else np.take_along_axis(vector, self.whole, 1)

    def unpack(self, packed: np.ndarray, vector: np.ndarray) -> None:
        """Write what is packed into the whole vector."""
        if vector.shape[1] == 1:
            vector[...] = packed
        else:
            np.put_along_axis(vector, self.whole, packed, 1)


def packed_layout(layout: Layout, active: np.ndarray) -> PackedLayout | None:
    """Lay out what is there, active [S, D] bool; None if one member has more weights in some layer than another."""
    slots: list[Slot] = []
    patterns: dict[str, Pattern] = {}
    whole: list[np.ndarray] = []
    start = 0
    for slot in layout.slots:
        there = layout.view(active, slot)
        counts = there.reshape(len(active), -1).sum(1)
        if (counts != counts[0]).any():
            return None
        places = np.arange(slot.start, slot.stop).reshape(slot.shape)
        if len(slot.shape) == 2:
            patterns[slot.name] = Pattern.of(there)
            there, places = there.mT, places.T
        whole.append(np.broadcast_to(places, there.shape)[there].reshape(len(active), -1))
        slots.append(replace(slot, start=start, stop=start + int(counts[0])))
        start = slots[-1].stop
    return PackedLayout(layout.obs_size, layout.action_size, tuple(slots), patterns, np.concatenate(whole, 1))
