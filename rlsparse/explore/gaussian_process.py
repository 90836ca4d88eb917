"""Ascent on a Gaussian process fitted to the scores of the cycle, in coordinates of the anchors' span."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from rlsparse.explore.anchors import PerMember, Unit, unit_length
from rlsparse.explore.directions import span_basis, standardised, with_length
from rlsparse.learner.bounds import Count, NotNegative, Positive, Varying


@dataclass(frozen=True)
class SurrogateGradient(PerMember):
    """Gradient ascent from the incumbent on the posterior mean of a Gaussian process, given all scores of the cycle.

    Source: surrogate gradients of FZooS, Shu et al. 2023, [arXiv 2308.04077](https://arxiv.org/abs/2308.04077).
    """

    candidates: Count = 10
    """Candidates per round."""
    rounds: Count = 2
    """Rounds within a cycle; the first surrounds the incumbent by pairs of opposite points, the others climb."""
    reach: Varying[Positive] = 1.0
    """Distance of the first candidates from the incumbent, in units."""
    longest: Varying[Positive] = 2.0
    """Length of the path along which the later candidates lie, in multiples of the reach."""
    length_scale: Varying[Positive] = 2.0
    """Length scale of the squared-exponential kernel, in multiples of the reach."""
    noise: Varying[NotNegative] = 0.1
    """Variance of the scores' noise, as a share of their variance."""
    unit: Unit = "update"
    """What the reach is a multiple of: 1, the anchors' spread, or the length of the last update."""

    def count(self, num_anchors: int) -> int:
        """Candidates per round."""
        return self.candidates

    def member(self, anchors: np.ndarray, points: np.ndarray, scores: np.ndarray, generator: Generator) -> np.ndarray:
        """One member's candidates [C, P]."""
        length = self.reach * float(unit_length(anchors, self.unit))
        basis = span_basis(anchors)
        scored = np.isfinite(scores)
        if not length > 0 or len(points) < self.candidates or scored.sum() < 2:
            coordinates = design(self.candidates, len(basis), generator)
        else:
            probed = (points[scored] - anchors[-1]) @ basis.T / length
            coordinates = self.ascend(Posterior.fit(probed, scores[scored], self.length_scale, self.noise))
        return anchors[-1] + length * coordinates @ basis

    def ascend(self, posterior: "Posterior") -> np.ndarray:
        """Coordinates [C, R], in multiples of the reach, of the points on the path uphill from the incumbent."""
        step, path = self.longest / self.candidates, [np.zeros((1, posterior.points.shape[1]))]
        for _ in range(self.candidates):
            path.append(path[-1] + step * with_length(posterior.gradient(path[-1]), 1.0))
            if posterior.mean(path[-1]) <= posterior.mean(path[-2]):
                step /= 2  # past the top: come closer
        return np.concatenate(path[1:])


class Posterior(NamedTuple):
    """A Gaussian process with squared-exponential kernel, given noisy scores at points [M, R]."""

    points: np.ndarray
    weights: np.ndarray
    """(kernel + noise I)^-1 scores, [M]."""
    length_scale: float

    @classmethod
    def fit(cls, points: np.ndarray, scores: np.ndarray, length_scale: float, noise: float) -> "Posterior":
        """Condition on the standardised scores [M]."""
        kernel = cls(points, scores, length_scale).kernel(points)
        # repeated points are likely, and noise may be 0
        kernel[np.diag_indices(len(points))] += max(noise, 1e-9)
        return cls(points, np.linalg.solve(kernel, standardised(scores)), length_scale)

    def kernel(self, x: np.ndarray) -> np.ndarray:
        """Covariance [N, M] of the values at x [N, R] and at the points."""
        apart = ((x[:, None] - self.points) ** 2).sum(-1)
        return np.exp(-apart / (2 * self.length_scale**2))

    def mean(self, x: np.ndarray) -> np.ndarray:
        """Posterior mean [N] at x [N, R]."""
        return self.kernel(x) @ self.weights

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """Gradient [N, R] of the posterior mean at x [N, R]."""
        pull = self.kernel(x) * self.weights
        return (pull @ self.points - pull.sum(1, keepdims=True) * x) / self.length_scale**2


def design(count: int, dimensions: int, generator: Generator) -> np.ndarray:
    """Points [count, R] around the origin: opposite pairs on randomly turned axes, at distance 1.

    Once all axes are used, on axes turned anew and at distance 1/2, then 1/3 and so on.
    """
    blocks = []
    for block in range(-(-count // max(2 * dimensions, 1))):
        axes = np.linalg.qr(generator.standard_normal((dimensions, dimensions)))[0] / (block + 1)
        blocks.append(np.stack([axes, -axes], axis=1).reshape(2 * dimensions, dimensions))
    return np.concatenate(blocks)[:count] if dimensions else np.zeros((count, 0))
