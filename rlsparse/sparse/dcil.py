"""DCIL: absent weights continue to learn in the dense network, and may come back with their learned values."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from rlsparse.learner.adam import Adam, Optimiser
from rlsparse.learner.arrays import Array, namespace, to_device
from rlsparse.learner.bounds import FractionAboveZero, FractionBelowOne, Varying
from rlsparse.learner.layout import Layout, Views
from rlsparse.learner.records import Batch, EpochStats
from rlsparse.learner.sparsity import Loss, Terms, Updates
from rlsparse.sparse.masks import exchange, forward_flops
from rlsparse.sparse.rules import Magnitude
from rlsparse.sparse.topology import Topology

if TYPE_CHECKING:
    from rlsparse.learner.learner import Learner
    from rlsparse.sparse.config import Sparse


@dataclass(frozen=True)
class DCIL(Magnitude):
    """Keep the largest weights; absent ones continue to learn in the dense network. After Kim et al., 2109.04660."""

    start: Varying[FractionBelowOne] = 0.2
    """Share of the budget before which all weights are kept."""
    end: Varying[FractionAboveZero] = 0.8
    """Share of the budget from which on masks do not change."""
    schedule: Literal["cubic", "constant"] = "cubic"
    """Whether networks begin dense and are pruned step by step, or have their final size from the first step on."""

    own_loop: ClassVar[bool] = True
    needs: ClassVar = {
        "minibatches": "works minibatch by minibatch, and needs a policy that learns from minibatches",
        "adam": "trains absent weights by Adam too, and needs the moments of Adam to exchange",
    }
    gives: ClassVar = frozenset()

    @property
    def starts_dense(self) -> bool:
        """True unless the number of weights is constant."""
        return self.schedule == "cubic"

    def due(self, iteration: np.ndarray, progress: np.ndarray) -> np.ndarray:
        """Return when pruning is due; with a constant number of weights, every `every` iterations before `end`."""
        if self.schedule == "cubic":
            return super().due(iteration, progress)
        return (progress < self.end) & (iteration % self.every == 0)

    def chooses(self, progress: np.ndarray) -> np.ndarray:
        """Whether absent weights learn, because they may still come back before `end`, [S] bool."""
        return (progress < self.end) & (progress < 1)

    def choose(
        self,
        worth: np.ndarray,
        active: np.ndarray,
        growth: np.ndarray | None,
        counts: np.ndarray,
        share: np.ndarray,
        progress: np.ndarray,
    ) -> np.ndarray:
        """Return which weights of a layer exist next, [S, n] bool: the largest of all, including absent ones."""
        swaps = (self.chooses(progress) * share * (active.sum(1) - counts)).astype(np.int64)
        return rechoose(worth, active, counts, swaps)

    def build(self, config: "Sparse", layout: Layout, seeds: Sequence[int], device: str) -> "DualPath":
        """Return the sparse networks of a learner with these seeds, and the dense path beside them."""
        return DualPath(config, layout, seeds, device)


class DensePath:
    """The latent values [S, D] of absent weights, zero where a weight is present, and Adam's moments of them.

    Together with the sparse network's weights they make one dense network with one Adam: a weight that changes sides
    keeps its value and its moments. Source: Kim et al., arXiv 2109.04660.
    """

    def __init__(self, layout: Layout, values: Array) -> None:
        xp = namespace(values)
        self.values = values
        self.optimiser = Adam(values)
        self.gradient: Views = layout.views(xp.empty_like(values))
        """Gradient of the dense network's loss; code that writes it must call `step` next."""
        self._whole = layout.views(xp.empty_like(values))
        self._learning: Array | None = None

    @property
    def is_open(self) -> bool:
        """Whether any absent weight learns in this iteration."""
        return self._learning is not None

    def begin(self, learning: np.ndarray, device: str) -> None:
        """Begin an iteration in which these absent weights [S, D] bool learn; others are forgotten."""
        factor = to_device(learning.astype(np.float32), device)
        for array in self._arrays():
            array[...] = namespace(array).where(factor > 0, array, 0.0)  # a product would leave zeros of either sign
        self._learning = factor if learning.any() else None

    def whole(self, params: Array) -> Views:
        """Return the dense network of present `params` [S, D] and absent weights, until the next call."""
        self._whole.flat[...] = params
        self._whole.flat[...] += self.values
        return self._whole

    def step(self, optimiser: Optimiser, rate: float | Array, epsilon: float, max_norm: float) -> None:
        """Move the absent weights down `gradient`, which is overwritten; call it before the step of `optimiser`.

        Their gradient is clipped by its own norm, [S], so that it does not shrink the step of present weights.
        """
        xp, gradient = namespace(self.values), self.gradient.flat
        gradient *= self._learning
        norm = (gradient * gradient).sum(-1) ** 0.5
        gradient *= xp.clip(max_norm / (norm + 1e-6), 0.0, 1.0)[:, None]
        self.optimiser.steps[...] = optimiser.steps
        self.optimiser.step(self.values, gradient, rate, epsilon)

    def exchange(self, params: Array, optimiser: Adam, active: Array) -> None:
        """Let weights change sides: present are those in `active`, [S, D] bool."""
        xp = namespace(params)
        for absent, present in zip(self._arrays(), (params, optimiser.first, optimiser.second), strict=True):
            both = absent + present
            present[...] = xp.where(active, both, 0.0)
            absent[...] = xp.where(active, 0.0, both)

    def _arrays(self) -> tuple[Array, Array, Array]:
        return self.values, self.optimiser.first, self.optimiser.second

    def state_dict(self) -> dict[str, Array]:
        """Return the live arrays of the dense path; its step count is that of the sparse network's Adam."""
        return dict(zip(("values", "first", "second"), self._arrays(), strict=True))

    def load_state_dict(self, state: dict[str, Array]) -> None:
        """Copy in what `state_dict` gave."""
        for name, array in self.state_dict().items():
            array[...] = state[name]


def rechoose(weight: np.ndarray, active: np.ndarray, counts: np.ndarray, swaps: np.ndarray) -> np.ndarray:
    """Drop the `counts` [S] smallest active weights, then replace up to `swaps` [S] of them by larger absent ones.

    With as many swaps as active weights, the active ones are the largest of all. Returns the new active weights.
    """
    left = exchange(weight, active, None, counts)
    return exchange(weight, left, np.abs(weight), swaps)


def dense_path_flops(forward: np.ndarray, dense_forward: np.ndarray) -> np.ndarray:
    """Operations of a second, dense forward and backward pass for the gradient of absent weights only, [S]."""
    return 3 * dense_forward - forward


class DualPath(Topology):
    """Sparse networks beside a dense path, in which their absent weights learn."""

    path: DensePath

    def initial(self, params: np.ndarray) -> np.ndarray:
        """Return the parameters to begin with, given those of dense networks, [S, D]; the path keeps the others."""
        absent = np.where(self.masks.active, np.float32(0.0), params)
        self.path = DensePath(self.masks.layout, to_device(absent, self.masks.device))
        return super().initial(params)

    def begin(self, progress: np.ndarray) -> None:
        """Begin an iteration with this share of each member's budget spent, [S]."""
        masks, rule = self.masks, self.masks.config.rule
        assert isinstance(rule, DCIL)
        learning = ~masks.active & rule.chooses(progress)[:, None]
        forward, dense = (forward_flops(x) for x in (masks.active[:, masks.weights].sum(1), masks.weights.sum()))
        masks.begin(progress, more_flops=np.where(learning.any(1), dense_path_flops(forward, dense), 0.0))
        self.path.begin(learning, masks.device)

    def update(self, algorithm: Updates, learner: "Learner", batch: Batch) -> Iterator[EpochStats]:
        """Improve the learner on the batch; absent weights take part."""
        return algorithm.update(learner, batch)

    def gradient(self, loss: Loss, params: Views, batch: Batch, gradient: Views) -> Terms:
        """Write the gradient of present weights, and in the path that of absent ones in the dense network."""
        terms = super().gradient(loss, params, batch, gradient)
        if self.path.is_open:
            loss(self.path.whole(params.flat), batch, self.path.gradient)
        return terms

    def step(
        self, optimiser: Optimiser, params: Array, gradient: Array, rate: Array, epsilon: float, max_norm: float | None
    ) -> None:
        """Step absent weights, then the present ones."""
        if self.path.is_open:
            assert max_norm is not None, "the gradient of absent weights is clipped too"
            self.path.step(optimiser, rate, epsilon, max_norm)
        super().step(optimiser, params, gradient, rate, epsilon, max_norm)

    def exchange(self, learner: "Learner", obs: Array) -> None:
        """Let weights change sides, with their learned values."""
        self.choose(learner, self.path.whole(learner.params).flat, obs)
        assert isinstance(learner.optimiser, Adam)
        self.path.exchange(learner.params, learner.optimiser, to_device(self.masks.active, learner.device))

    def kept_state(self) -> list[Array]:
        """Return the live arrays that an update changes beside parameters and optimiser, member axis first."""
        return [*super().kept_state(), *self.path.state_dict().values()]

    def state_dict(self) -> dict[str, Array]:
        """Return all arrays from which masks and path continue."""
        return super().state_dict() | {f"path.{name}": x for name, x in self.path.state_dict().items()}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Restore the state that `state_dict` returned."""
        super().load_state_dict(state)
        names = self.path.state_dict()
        self.path.load_state_dict({name: to_device(state[f"path.{name}"], self.masks.device) for name in names})
