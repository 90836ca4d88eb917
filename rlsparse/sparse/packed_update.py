"""Update sparse networks with present weights only: fewer operations, shorter vectors, the same steps."""

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from rlsparse.learner.adam import Adam, Optimiser
from rlsparse.learner.arrays import Array
from rlsparse.learner.layout import Layout, Slot, Views
from rlsparse.learner.network import NETWORK
from rlsparse.learner.records import Batch, EpochStats
from rlsparse.learner.sparsity import Dense, Updates
from rlsparse.sparse.packed_matrix import PackedMatrix, Pattern, can_multiply

if TYPE_CHECKING:
    from rlsparse.learner.learner import Learner
    from rlsparse.sparse.masks import Masks


DENSEST_PACKED = 0.3
"""Networks with a larger density than this learn as fast or faster with dense matrices."""


@dataclass(frozen=True)
class PackedLayout(Layout):
    """Where the present weights, biases and log-stds lie in the packed vector [S, K]."""

    patterns: dict[str, Pattern]
    """Pattern of each weight matrix, by its slot's name."""
    whole: np.ndarray
    """Index of each packed number in the whole vector, [S, K]."""
    totals: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Live sums [S, in, out] of whole gradients, by the name of the weight's slot, if growth needs them."""

    def view(self, params: Array, slot: Slot) -> Array:
        """Return one slot of params [..., K] as a live view: weights as a packed matrix."""
        if slot.name in self.patterns:
            return PackedMatrix(self.patterns[slot.name], params[..., slot.start : slot.stop])
        return super().view(params, slot)

    def views(self, params: Array) -> Views:
        """Return all parts of params [S, K] as live views; written gradients are also summed whole."""
        views = super().views(params)
        for (weight, _), name in zip([*views.actor, *views.critic], self.patterns, strict=True):
            weight.total = self.totals.get(name)
        return views

    def pack(self, vector: np.ndarray) -> np.ndarray:
        """Return the packed part [S, K] of the whole vector [S, D]; one number per member, [S, 1], is unchanged."""
        return vector + 0 if vector.shape[1] == 1 else np.take_along_axis(vector, self.whole, 1)

    def unpack(self, packed: np.ndarray, vector: np.ndarray) -> None:
        """Write the packed numbers into the whole vector."""
        if vector.shape[1] == 1:
            vector[...] = packed
        else:
            np.put_along_axis(vector, self.whole, packed, 1)


def packed_layout(layout: Layout, active: np.ndarray) -> PackedLayout | None:
    """Lay out the active weights [S, D] bool; None if members differ in the number of weights of a layer."""
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
    return PackedLayout(
        *(layout.obs_size, layout.action_size, tuple(slots), patterns, np.concatenate(whole, 1)),
        **{name: getattr(layout, name) for name in NETWORK},
    )


class Packed(Dense):
    """The sparsity of a packed learner: there are no absent weights to hide, and steps keep their lengths."""

    records = False

    def __init__(self, rate_scale: np.ndarray, growth: np.ndarray | None) -> None:
        self._rate_scale, self._growth = rate_scale, growth

    def step(
        self, optimiser: Optimiser, params: Array, gradient: Array, rate: Array, epsilon: float, max_norm: float | None
    ) -> None:
        """Step params [S, K] down the gradient, in sparse layers by longer steps."""
        optimiser.step(params, gradient, rate * self._rate_scale, epsilon)

    def kept_state(self) -> list[Array]:
        """Return the sums of whole gradients, if growth needs them."""
        return [] if self._growth is None else [self._growth]


class Packing:
    """Updates of sparse networks, packed where that is faster; keeps the layout until the masks change."""

    def __init__(self, masks: "Masks") -> None:
        self._masks = masks
        self._laid_out: np.ndarray | None = None
        self._layout: PackedLayout | None = None

    def update(self, algorithm: Updates, learner: "Learner", batch: Batch) -> Iterator[EpochStats]:
        """Improve the learner on the batch by the algorithm, yielding when it yields."""
        layout = self.layout(learner)
        if layout is None:
            yield from algorithm.update(learner, batch)
            return
        packed = pack(self._masks, learner, layout)
        for stats in algorithm.update(packed, batch):
            unpack(packed, layout, learner)
            yield stats

    def layout(self, learner: "Learner") -> PackedLayout | None:
        """Return the layout for packing the learner, or None if packing would not be faster."""
        masks = self._masks
        if learner.device != "cpu" or type(learner.optimiser) is not Adam or not can_multiply():
            return None
        if masks.config.max_kl is not None and not masks.config.rule.grows:  # members come to differ in size
            return None
        if self._laid_out is not masks.active:
            few = masks.active[:, masks.weights].mean(1).max() <= DENSEST_PACKED
            self._layout, self._laid_out = packed_layout(masks.layout, masks.active) if few else None, masks.active
        if self._layout is None or masks.growth is None:
            return self._layout
        slots = {slot.name: slot for slot in learner.layout.slots}
        totals = {name: learner.layout.view(masks.growth, slots[name]) for name in self._layout.patterns}
        return replace(self._layout, totals=totals)


def slow_without() -> str | None:
    """Return a hint that a package would make updates faster; None if it is installed."""
    if can_multiply():
        return None
    return "absent weights are multiplied too: pip install 'rlsparse[sparse]' trains sparse networks faster on the CPU"


def pack(masks: "Masks", learner: "Learner", layout: PackedLayout) -> "Learner":
    """Return a learner with present weights only, which shares random streams and counters with the whole one."""
    packed = copy(learner)
    packed.layout, packed.params = layout, layout.pack(learner.params)
    steps = masks.learning_rate(np.ones((learner.members, 1), np.float32))
    packed.sparsity = Packed(layout.pack(steps), masks.growth)
    state = learner.optimiser.state_dict()
    packed.optimiser = Adam(packed.params, own_steps="age1" in state)
    packed.optimiser.load_state_dict({name: layout.pack(x) for name, x in state.items()})
    return packed


def unpack(packed: "Learner", layout: PackedLayout, learner: "Learner") -> None:
    """Write the learned numbers back into the whole learner."""
    layout.unpack(packed.params, learner.params)
    state = packed.optimiser.state_dict()
    for name, whole in learner.optimiser.state_dict().items():
        layout.unpack(state[name], whole)
