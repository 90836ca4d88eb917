"""The sparse networks of a learner: masks that hide gradients, and their exchange between iterations."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from rlsparse.learner.adam import Optimiser
from rlsparse.learner.arrays import Array, to_device, to_numpy
from rlsparse.learner.layout import Layout
from rlsparse.learner.network import action_mean
from rlsparse.learner.records import Batch, EpochStats
from rlsparse.learner.sparsity import Dense, Updates
from rlsparse.sparse.masks import METRICS, Masks
from rlsparse.sparse.packed_update import Packing, slow_without
from rlsparse.sparse.saliency import saliency

if TYPE_CHECKING:
    from rlsparse.learner.learner import Learner
    from rlsparse.sparse.config import Sparse


class Topology(Dense):
    """Networks whose rule exchanges weights: a weight that grows starts at zero, and Adam forgets a dropped one."""

    columns: ClassVar[tuple[str, ...]] = METRICS
    records: ClassVar[bool] = False

    def __init__(self, config: "Sparse", layout: Layout, seeds: Sequence[int], device: str) -> None:
        self.masks = Masks(config, layout, seeds, device)
        self._packing = Packing(self.masks)

    @classmethod
    def slow(cls) -> str | None:
        """Return a hint what would make updates faster; None if nothing would."""
        return slow_without()

    @property
    def regrows(self) -> bool:
        """Whether absent weights may grow again, so that some are younger than others."""
        return self.masks.regrows

    def initial(self, params: np.ndarray) -> np.ndarray:
        """Return the parameters to begin with, given those of dense networks, [S, D]."""
        return self.masks.initial(params)

    def adopt(self, params: np.ndarray) -> np.ndarray:
        """Return the parameters to begin with: the largest of trained ones [S, D], unless the rule begins dense."""
        self.masks.keep_largest(params)
        return self.initial(np.where(self.masks.active, params, np.float32(0.0)))

    def begin(self, progress: np.ndarray) -> None:
        """Begin an iteration with this share of each member's budget spent, [S]."""
        self.masks.begin(progress)

    def update(self, algorithm: Updates, learner: "Learner", batch: Batch) -> Iterator[EpochStats]:
        """Improve the learner on the batch; with present weights only, where that is faster."""
        return self._packing.update(algorithm, learner, batch)

    def step(
        self, optimiser: Optimiser, params: Array, gradient: Array, rate: Array, epsilon: float, max_norm: float | None
    ) -> None:
        """Step params [S, D] down the gradient, in sparse layers by longer steps."""
        optimiser.step(params, gradient, self.masks.learning_rate(rate), epsilon)

    def hide(self, gradient: Array) -> None:
        """Set the gradient [S, D] of absent weights to zero, in place; growth scores use it before that."""
        self.masks.hide(gradient)

    def clear(self, vectors: Array, part: slice) -> None:
        """Set absent numbers of vectors [S, ..., P] to zero, in place; P is the `part` of the flat vector."""
        self.masks.clear(vectors, part)

    def project(self, points: np.ndarray, members: np.ndarray | slice, part: slice) -> np.ndarray:
        """Return points [S, K, P] of these members with zeros for absent numbers; P is the `part`."""
        return self.masks.project(points, members, part)

    def evolve(self, learner: "Learner", obs: Array) -> None:
        """Exchange weights if it is time; normalised `obs` [S, B, O] measure how far policies move."""
        if self.masks.due.any():
            self.exchange(learner, obs)

    def exchange(self, learner: "Learner", obs: Array) -> None:
        """Exchange weights of the members whose turn it is."""
        changed = to_device(self.choose(learner, learner.params, obs), learner.device)
        learner.params[changed] = 0.0
        learner.optimiser.restart(changed)

    def choose(self, learner: "Learner", params: Array, obs: Array) -> np.ndarray:
        """Choose new masks by params [S, D], those of learning absent weights too; return what changed, [S, D]."""
        by_kl = self.masks.config.drop_by == "kl"
        worth = saliency(learner.layout, learner.params, obs) if by_kl else params
        return self.masks.evolve(to_numpy(params), to_numpy(worth), lambda others: policy_kl(learner, others, obs))

    def kept_state(self) -> list[Array]:
        """Return the live arrays that an update changes beside parameters and optimiser, member axis first."""
        return [] if self.masks.growth is None else [self.masks.growth]

    def metrics(self, optimiser: Optimiser) -> dict[str, np.ndarray]:
        """Return the METRICS of each member's networks, [S] each."""
        return self.masks.metrics(to_numpy(optimiser.first))

    def state_dict(self) -> dict[str, Array]:
        """Return all arrays from which the masks continue."""
        return {**self.masks.state_dict()}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Restore the state that `state_dict` returned."""
        self.masks.load_state_dict(state)


def policy_kl(learner: "Learner", params: np.ndarray, obs: Array) -> np.ndarray:
    """Mean KL divergence between the policies and those of other params [S, D] with the same action noise, [S]."""
    before = action_mean(learner.layout, learner.params, obs)
    after = action_mean(learner.layout, to_device(params, learner.device), obs)
    std = np.exp(to_numpy(learner.layout.log_std(learner.params)))[:, None, :]
    return 0.5 * np.square((to_numpy(after) - to_numpy(before)) / std).sum(-1).mean(-1)
