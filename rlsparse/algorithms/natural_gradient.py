"""The natural gradient of an update: the linear system of every member, and two ways to solve it."""

from dataclasses import dataclass
from typing import Any

from rlsparse.algorithms.solve import conjugate_gradient, woodbury
from rlsparse.algorithms.trust_region import TrustRegion
from rlsparse.errors import require
from rlsparse.learner.arrays import Array
from rlsparse.learner.bounds import Count, FractionBelowOne
from rlsparse.learner.learner import Learner
from rlsparse.learner.minibatch import reorder
from rlsparse.learner.records import Batch


class System:
    """(F + damping I) x = g on the weights that are there, [S, P]; F is the Fisher information around a policy."""

    def __init__(self, learner: Learner, batch: Batch, region: TrustRegion, damping: float, subsample: int) -> None:
        """Take F on all samples of the batch, or on a random one of `subsample`."""
        self.damping = damping
        self._learner, self._batch, self._region = learner, batch, region
        self._fisher = region.fisher(self._draw(batch.obs.shape[1] // subsample) if subsample > 1 else None)

    def _draw(self, count: int) -> Batch:
        order = self._learner.permutations(self._batch.obs.shape[1])[:, :count]
        return reorder(self._batch, order)

    def product(self, vector: Array) -> Array:
        """Return (F + damping I) v for v [S, P]."""
        image = self._fisher(vector)
        self._clear(image)
        image += self.damping * vector
        return image

    def scores(self, count: int) -> Array:
        """Return so many vectors [S, count, P], from samples drawn at random, whose mean outer product estimates F."""
        vectors = self._region.scores(self._draw(count))
        self._clear(vectors)
        return vectors

    def _clear(self, vectors: Array) -> None:
        if self._learner.masks is not None:
            self._learner.masks.clear(vectors, self._learner.layout.policy)


@dataclass(frozen=True)
class CG:
    """Conjugate gradient: products with the Fisher information, never the matrix."""

    iterations: Count = 10
    """Most products for one step."""
    tolerance: FractionBelowOne = 1e-5
    """A member's system is solved once its residual is at most so many times as long as the gradient."""

    def __call__(self, system: System, gradient: Array) -> Array:
        """Return (F + damping I)^-1 g approximately, [S, P]."""
        return conjugate_gradient(system.product, gradient, self.iterations, self.tolerance)


@dataclass(frozen=True)
class MFAC:
    """Solve directly with F estimated from score vectors of single samples. After Frantar et al., arXiv 2107.03356."""

    samples: Count = 256
    """Score vectors, of samples drawn at random."""

    def check(self, recipe: Any) -> None:
        """Raise UsageError unless a rollout has so many samples, and the system is damped."""
        batch, damping = recipe.batch_size, recipe.algorithm.damping
        expected = f"at most the {batch} samples of a rollout"
        require(self.samples <= batch, "algorithm.solver.samples", self.samples, expected)
        require(damping > 0, "algorithm.damping", damping, "a positive number, which mfac divides by")

    def __call__(self, system: System, gradient: Array) -> Array:
        """Return (F + damping I)^-1 g for the estimated F, [S, P]."""
        return woodbury(system.scores(self.samples), system.damping, gradient)


Solver = CG | MFAC
