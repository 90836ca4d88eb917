"""The masks of S members that learn sparse networks: the only owner of which weights exist."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from rlsparse.learner.arrays import Array, to_device, to_numpy
from rlsparse.learner.layout import Layout
from rlsparse.learner.streams import generator
from rlsparse.sparse.budgets import NETWORKS, weight_slots

if TYPE_CHECKING:
    from rlsparse.sparse.config import Sparse


MOST_TRIES = 6
"""An exchange is halved this many times at most; if it still moves the policy too far, it is skipped."""

METRICS = (
    *("density", "actor_weights", "critic_weights", "regrown", "explored"),
    *("dead_units", "inference_flops", "train_flops", "gradient_flow"),
)
"""The columns of sparse networks at every evaluation; docs/sparse.md explains them."""


class Masks:
    """Which parameters are present; a member's mask depends on its own seed, weights and gradients alone.

    `begin` an iteration, `hide` gradients while it learns, then `evolve`. An absent parameter is zero, and so are
    its gradient and its moments.
    """

    def __init__(self, config: "Sparse", layout: Layout, seeds: Sequence[int], device: str = "cpu") -> None:
        self.config, self.layout, self.seeds, self.device = config, layout, tuple(seeds), device
        self._budgets = config.budgets(layout)
        self.weights = np.zeros(layout.size, bool)
        """[D] bool; the other numbers are biases and log-stds."""
        for slot, _ in self._budgets:
            self.weights[slot.start : slot.stop] = True
        self.active = np.ones((len(seeds), layout.size), bool)
        """[S, D] bool; biases and log-stds are always present."""
        if not config.rule.starts_dense:
            self._draw()
        self.explored = self.active.copy()
        self.regrown = np.zeros(len(seeds), np.int64)
        self.iterations = np.zeros(len(seeds), np.int64)
        self.growth: Array | None = None
        """Sum of this iteration's whole gradients [S, D], if growth depends on it."""
        self._flops = np.zeros(len(seeds))
        self._progress = np.zeros(len(seeds))
        self.due = np.zeros(len(seeds), bool)
        """Members whose masks may change at the end of this iteration, [S] bool."""
        self._refresh()

    def _draw(self) -> None:
        streams = [generator(seed, "topology") for seed in self.seeds]
        for slot, final in self._budgets:
            self.active[:, slot.start : slot.stop] = random_mask(slot.stop - slot.start, final, streams)

    def keep_largest(self, params: np.ndarray) -> None:
        """Let the largest weights of trained params [S, D] be the first ones, in place of random ones if any."""
        if not self.config.rule.starts_dense:
            for slot, final in self._budgets:
                part = slice(slot.start, slot.stop)
                self.active[:, part] = top(np.abs(params[:, part]), np.full(len(self.seeds), final))
            self.explored = self.active.copy()
            self._refresh()

    def _refresh(self) -> None:
        self._factor = self._rate_scale = None
        if not self.active.all():
            self._factor = to_device(self.active.astype(np.float32), self.device)
            self._rate_scale = to_device(self._step_sizes(), self.device)

    def _step_sizes(self) -> np.ndarray:
        """Factor of the length of Adam's steps over that in a dense layer, [S, D] float32."""
        scale = np.ones(self.active.shape, np.float32)
        for slot, _ in self._budgets:
            part = slice(slot.start, slot.stop)
            scale[:, part] = self.active[:, part].mean(1, keepdims=True) ** -self.config.rate_power
        return scale

    def learning_rate(self, rate: Array) -> Array:
        """Return Adam's step size of every number, [S, D], given the one for dense networks, [S, 1].

        A unit that has lost inputs moves less with each step. If the steps of n inputs are equally long, its
        input moves by n of them if they agree and by sqrt(n) if they do not; powers 1 and 0.5 keep that as in dense
        networks. Source of the first: Dey, Bergsma and Hestness, arXiv 2405.15743.
        """
        return rate if self._rate_scale is None else rate * self._rate_scale

    @property
    def regrows(self) -> bool:
        """Whether absent weights may grow again, so that some are younger than others."""
        return self.config.rule.grows and not self.active.all()

    def initial(self, params: np.ndarray) -> np.ndarray:
        """Return the initial parameters [S, D] of the sparse networks, given dense ones."""
        sparse = np.where(self.active, params, np.float32(0.0))
        if self.config.init == "rescaled":
            for slot, _ in self._budgets:
                dense, active = self.layout.view(params, slot), self.layout.view(self.active, slot)
                self.layout.view(sparse, slot)[...] = keep_norms(dense, active)
        return sparse

    def begin(
        self, progress: np.ndarray, in_use: np.ndarray | None = None, more_flops: np.ndarray | float = 0.0
    ) -> None:
        """Begin an iteration, with this share of each member's budget spent, [S]; from 1 on a mask does not change.

        `in_use` is the number of weights that a minibatch uses, [S], if not all; `more_flops` [S] are added.
        """
        rule, learns = self.config.rule, progress < 1
        self.iterations += learns
        self._progress = progress
        self.due = rule.due(self.iterations, progress) & learns & (self.regrows or not rule.grows)
        wants_gradient = self.due & rule.by_gradient
        self.growth = to_device(np.zeros(self.active.shape, np.float32), self.device) if wants_gradient.any() else None
        self._flops += learns * (self._flops_now(wants_gradient, in_use) + more_flops)

    def _flops_now(self, wants_gradient: np.ndarray, in_use: np.ndarray | None = None) -> np.ndarray:
        forward = forward_flops(self.active[:, self.weights].sum(1) if in_use is None else in_use)
        dense = forward_flops(self.weights.sum())
        return training_flops(forward, dense, wants_gradient)

    def hide(self, gradient: Array) -> None:
        """Set the gradient [S, D] of absent parameters to zero, in place; growth scores use it before that."""
        if self.growth is not None:
            self.growth += gradient
        self.clear(gradient, slice(None))

    def clear(self, vector: Array, part: slice) -> None:
        """Set absent numbers of vectors [S, ..., P] to zero, in place; P is the `part` of the flat vector."""
        if self._factor is not None:
            factor = self._factor[:, part]
            vector *= factor.reshape(len(factor), *[1] * (vector.ndim - 2), -1)

    def project(self, points: np.ndarray, members: np.ndarray | slice, part: slice) -> np.ndarray:
        """Return points [S, K, P] of these members, P the `part` of the flat vector, with zeros for absent numbers."""
        return np.where(self.active[members, part][:, None], points, 0.0).astype(points.dtype, copy=False)

    def evolve(self, params: np.ndarray, worth: np.ndarray, kl: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Exchange weights of the members whose turn it is; return the changed weights (dropped or grown), [S, D] bool.

        `params` [S, D] include the values of absent weights that learn; the weights of smallest absolute `worth` [S, D]
        are dropped first; `kl` maps changed params [S, D] to how far each policy moves, [S].
        """
        share, limit = self.due.astype(float), self.config.max_kl
        active = self._exchanged(worth, share)
        for tries_left in reversed(range(MOST_TRIES)) if limit is not None else ():
            far = kl(np.where(active, params, np.float32(0.0))) > limit
            if not far.any():
                break
            share[far] *= 0.5 if tries_left else 0.0
            active = self._exchanged(worth, share)
        changed = active ^ self.active
        self.regrown += (active & changed).sum(1)
        self.active = active
        self.explored |= active
        self._refresh()
        return changed

    def _exchanged(self, worth: np.ndarray, share: np.ndarray) -> np.ndarray:
        """Return the masks after this share [S] of the exchange that the rule asks for."""
        rule, active = self.config.rule, self.active.copy()
        growth = None if self.growth is None else to_numpy(self.growth)
        streams = [generator(seed, "topology", int(i)) for seed, i in zip(self.seeds, self.iterations, strict=True)]
        for slot, final in self._budgets:
            part, size = slice(slot.start, slot.stop), slot.stop - slot.start
            old = self.active[:, part]
            counts = (rule.drops(old.sum(1), final, size, self._progress) * share).astype(np.int64)
            scores = rule.growth(None if growth is None else growth[:, part], size, streams)
            active[:, part] = rule.choose(worth[:, part], old, scores, counts, share, self._progress)
        return active

    def metrics(self, first_moment: np.ndarray) -> dict[str, np.ndarray]:
        """Return the METRICS of each member's networks, [S] each; `first_moment` [S, D] is the optimiser's."""
        begun = self.iterations
        slots = {group: weight_slots(self.layout, group) for group in NETWORKS}
        layers = {group: [self.layout.view(self.active, slot) for slot in slots[group]] for group in NETWORKS}
        none = np.zeros(len(self.seeds), np.int64)  # a network may be missing: the critic
        count = {group: sum((x.sum((1, 2)) for x in layers[group]), none) for group in NETWORKS}
        moments = [self.layout.view(first_moment, slot) for group in NETWORKS for slot in slots[group]]
        return {
            "density": share_of_weights(self.active, self.weights),
            "actor_weights": count["actor"],
            "critic_weights": count["critic"],
            "regrown": self.regrown,
            "explored": share_of_weights(self.explored, self.weights),
            "dead_units": sum((dead_units(x) for x in layers.values() if x), none),
            "inference_flops": forward_flops(count["actor"]),
            "train_flops": np.where(begun, self._flops / np.maximum(begun, 1), self._flops_now(begun < 0)),
            "gradient_flow": effective_gradient_flow(moments, [*layers["actor"], *layers["critic"]], 2),
        }

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return all arrays from which the masks continue."""
        return {
            "active": self.active,
            "explored": self.explored,
            "regrown": self.regrown,
            "flops": self._flops,
            "iterations": self.iterations,
        }

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Restore the state that `state_dict` returned."""
        self.active, self.explored = state["active"].copy(), state["explored"].copy()
        self.regrown, self._flops = state["regrown"].copy(), state["flops"].copy()
        self.iterations = state["iterations"].copy()
        self._refresh()


def top(scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mark the `counts` [S] highest of the scores [S, n] of each member; of equal ones, the first. [S, n] bool."""
    order = np.argsort(-scores, axis=1, kind="stable")
    marked = np.zeros(scores.shape, bool)
    np.put_along_axis(marked, order, np.arange(scores.shape[1]) < counts[:, None], 1)
    return marked


def exchange(worth: np.ndarray, active: np.ndarray, growth: np.ndarray | None, counts: np.ndarray) -> np.ndarray:
    """Drop the `counts` [S] active weights of the smallest worth, then grow as many where `growth` scores are highest.

    `worth` is the weights themselves or their saliency, by absolute size. A weight just dropped may grow again; then it
    is as if it had never been dropped. Without `growth` none grow. Returns the new active weights. Source: Evci et al.,
    arXiv 1911.11134, algorithm 1.
    """
    stay = top(np.where(active, np.abs(worth), -1.0), active.sum(1) - counts)
    return stay if growth is None else stay | top(np.where(stay, -np.inf, growth), counts)


def random_mask(size: int, count: int, generators: Sequence[np.random.Generator]) -> np.ndarray:
    """Draw exactly `count` active weights of `size` for each generator; [S, size] bool."""
    return np.stack([generator.permutation(size) < count for generator in generators])


def keep_norms(weight: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Scale each unit's active weights to the norm that all of its incoming weights [..., in, out] had.

    So the mask does not change the gains of a dense initialisation, the policy head's small gain included. A unit
    without active weights keeps none, and one that lost none is not changed.
    """
    masked = np.where(active, weight, 0.0)
    before, after = np.square(weight).sum(-2, keepdims=True), np.square(masked).sum(-2, keepdims=True)
    scale = np.sqrt(np.divide(before, after, out=np.ones_like(before), where=after > 0))
    return masked * scale


def share_of_weights(marked: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Share of the `weights` [D] bool that are marked in [S, D] bool; [S].

    For weights active now it is the density, for those ever active the in-time over-parameterisation rate (Liu et
    al., arXiv 2102.02887).
    """
    return marked[:, weights].mean(1)


def dead_units(layers: Sequence[np.ndarray]) -> np.ndarray:
    """Count hidden units without any incoming or any outgoing weight, by the masks [S, in, out] of each layer; [S]."""
    dead = [~(before.any(1) & after.any(2)) for before, after in zip(layers, layers[1:], strict=False)]
    return sum((x.sum(1) for x in dead), np.zeros(len(layers[0]), np.int64))


def forward_flops(active: np.ndarray) -> np.ndarray:
    """Operations of one forward pass with this number of weights: a product and a sum each."""
    return 2.0 * active


def training_flops(forward: np.ndarray, dense_forward: np.ndarray, dense_gradient: np.ndarray) -> np.ndarray:
    """Operations of a forward and a backward pass, if absent weights cost nothing, [S].

    The gradient of absent weights, where it is needed, costs that of a dense network. Source: Evci et al.,
    arXiv 1911.11134.
    """
    return 2 * forward + np.where(dense_gradient, dense_forward, forward)


def effective_gradient_flow(gradients: Sequence[np.ndarray], masks: Sequence[np.ndarray], order: int) -> np.ndarray:
    """Mean over layers of the norm of order 1 or 2 of the active weights' gradient; of arrays [S, ...], [S].

    After Tessera et al., arXiv 2102.01670.
    """
    rows = [np.where(mask, x, 0.0).reshape(len(x), -1) for x, mask in zip(gradients, masks, strict=True)]
    return np.mean([np.linalg.norm(row, order, axis=1) for row in rows], 0)
