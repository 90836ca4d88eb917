"""Proposals that learn from the scores of their own candidates: an evolution strategy and a particle swarm."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from rlsparse.explore.anchors import PerMember, Unit, unit_length
from rlsparse.explore.directions import random_directions, span_basis, standardised, with_length, without_failures
from rlsparse.learner.bounds import Count, Fraction, NotNegative, Positive, Varying


@dataclass(frozen=True)
class GuidedEvolution(PerMember):
    """Antithetic pairs around the incumbent, guided by the anchors' span; then steps along the gradient they estimate.

    Source: Guided ES, Maheswaranathan et al. 2019, [arXiv 1806.10230](https://arxiv.org/abs/1806.10230).
    """

    pairs: Count = 5
    """Antithetic pairs of the first round; the second tries as many candidates."""
    isotropic: Varying[Fraction] = 0.5
    """Share of the perturbation's variance over all parameters; the rest lies in the anchors' span."""
    reach: Varying[Positive] = 1.0
    """Length of each perturbation, in units."""
    longest: Varying[Positive] = 2.0
    """Longest step along the gradient, in multiples of the reach; the others divide it evenly."""
    unit: Unit = "update"
    """What the reach is a multiple of: 1, the anchors' spread, or the length of the last update."""

    rounds = 2

    @property
    def fewest_anchors(self) -> int:
        """How many anchors it needs: one, if its perturbations do not depend on the others."""
        return 1 if self.unit == "absolute" and self.isotropic > 0 else 2

    def count(self, num_anchors: int) -> int:
        """Candidates per round."""
        return 2 * self.pairs

    def member(self, anchors: np.ndarray, points: np.ndarray, scores: np.ndarray, generator: Generator) -> np.ndarray:
        """One member's candidates [C, P]: all that go forth and then all that go back, or the steps, shortest first."""
        length = self.reach * float(unit_length(anchors, self.unit))
        pairs = self.pairs
        if len(points) < 2 * pairs:
            forth = with_length(self.perturbations(anchors, generator), length)
            return anchors[-1] + np.concatenate([forth, -forth])
        forth, back = points[-2 * pairs : -pairs], points[-pairs:]
        better = without_failures(scores[-2 * pairs :])
        gradient = (better[:pairs] - better[pairs:]) @ (forth - back)
        lengths = self.longest * length * np.arange(1, 2 * pairs + 1) / (2 * pairs)
        return anchors[-1] + lengths[:, None] * with_length(gradient, 1.0)

    def perturbations(self, anchors: np.ndarray, generator: Generator) -> np.ndarray:
        """Normal vectors [pairs, P] of covariance isotropic / P + (1 - isotropic) / R on the span of R dimensions."""
        basis, size = span_basis(anchors), anchors.shape[-1]
        everywhere = generator.standard_normal((self.pairs, size)) * np.sqrt(self.isotropic / size)
        within = generator.standard_normal((self.pairs, len(basis))) @ basis
        return everywhere + within * np.sqrt((1 - self.isotropic) / max(len(basis), 1))


@dataclass(frozen=True)
class Consensus(PerMember):
    """Particles that drift towards the mean weighted by their scores, with noise in proportion to what is left to go.

    Source: consensus-based optimisation, Pinnau et al. 2017, [arXiv 1604.05648](https://arxiv.org/abs/1604.05648),
    with the componentwise noise of Carrillo et al. 2021, [arXiv 1909.09249](https://arxiv.org/abs/1909.09249).
    """

    particles: Count = 10
    """Particles, each scored once a round."""
    rounds: Count = 2
    """Rounds within a cycle; the first scatters the particles around the incumbent, in the anchors' span."""
    drift: Varying[Positive] = 0.8
    """Share of the way to the consensus that a particle goes in a round."""
    noise: Varying[NotNegative] = 0.3
    """Deviation of each parameter's noise, as a share of its way to the consensus."""
    sharpness: Varying[Positive] = 3.0
    """Inverse temperature of the weights, per standard deviation of the scores."""
    reach: Varying[Positive] = 1.0
    """Distance of the first particles from the incumbent, in units."""
    unit: Unit = "update"
    """What the reach is a multiple of: 1, the anchors' spread, or the length of the last update."""

    def count(self, num_anchors: int) -> int:
        """Candidates per round."""
        return self.particles

    def member(self, anchors: np.ndarray, points: np.ndarray, scores: np.ndarray, generator: Generator) -> np.ndarray:
        """One member's particles [C, P]."""
        if len(points) < self.particles:
            length = self.reach * unit_length(anchors, self.unit)
            return anchors[-1] + length * random_directions(span_basis(anchors), self.particles, generator)
        x = points[-self.particles :] - anchors[-1]
        score = self.sharpness * standardised(without_failures(scores[-self.particles :]))
        weights = np.exp(score - score.max())
        to_consensus = weights / weights.sum() @ x - x
        return anchors[-1] + x + to_consensus * (self.drift + self.noise * generator.standard_normal(x.shape))
