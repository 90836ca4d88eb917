"""What scores of scattered points say: a smooth surface through them, and whether they differ more than their noise.

Axes: M points of R coordinates, E episodes, the same ones for all points.
"""

from dataclasses import dataclass
from itertools import product
from typing import Self

import numpy as np

LENGTHS = np.geomspace(0.4, 4.0, 10)
"""Correlation lengths that are tried, in root-mean-square distances of the points to their mean."""

NOISE_SHARES = np.array([0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0])
"""Shares of the scores' variance that are tried as noise; 1 makes a flat surface."""


@dataclass(frozen=True)
class Surface:
    """A Gaussian process with squared-exponential kernel, given noisy scores at points."""

    points: np.ndarray
    """[M, R]."""
    scores: np.ndarray
    """[M]."""
    length: float
    """Correlation length, in the points' unit."""
    noise_share: float
    """Share of the scores' variance that is noise to the surface."""
    level: float
    """What it returns to far from all points."""
    variance: float
    """Of scores far apart."""

    @classmethod
    def fit(cls, points: np.ndarray, scores: np.ndarray) -> Self:
        """Fit to scores [M] at points [M, R]; length, noise, level and variance by maximum likelihood.

        Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, section 5.4.1.
        """
        radius = np.sqrt(((points - points.mean(0)) ** 2).sum(1).mean()) or 1.0
        best, ones = (-np.inf, 0.0, 0.0, 0.0, 0.0), np.ones_like(scores)
        for length, share in product(radius * LENGTHS, NOISE_SHARES):
            covariance = _covariance(points, length, share)
            of_scores, of_ones = np.linalg.solve(covariance, np.stack([scores, ones], 1)).T
            level = of_scores.sum() / of_ones.sum()
            misfit = (scores - level) @ (of_scores - level * of_ones)
            variance = max(misfit / len(scores), np.finfo(float).tiny)
            likelihood = -0.5 * (len(scores) * np.log(variance) + np.linalg.slogdet(covariance)[1])
            best = max(best, (likelihood, length, share, level, variance))
        return cls(points, scores, *best[1:])

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Posterior mean and deviation [N] of the surface's height at x [N, R]."""
        covariance = _covariance(self.points, self.length, self.noise_share)
        to_points = (1.0 - self.noise_share) * _kernel(x, self.points, self.length)
        pull = np.linalg.solve(covariance, to_points.T).T
        unknown = np.maximum(1.0 - self.noise_share - (pull * to_points).sum(1), 0.0)
        return self.level + pull @ (self.scores - self.level), np.sqrt(self.variance * unknown)


def _kernel(x: np.ndarray, y: np.ndarray, length: float) -> np.ndarray:
    apart = (x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T
    return np.exp(-np.maximum(apart, 0.0) / (2 * length**2))


def _covariance(points: np.ndarray, length: float, noise_share: float) -> np.ndarray:
    return (1.0 - noise_share) * _kernel(points, points, length) + noise_share * np.eye(len(points))


@dataclass(frozen=True)
class Spread:
    """How far apart the scores of points lie, and how much of that the luck of their episodes explains."""

    observed: float
    """Standard deviation of the points' mean returns."""
    explained: float
    """What it would be on average if all points were equally good."""
    p_value: float
    """Probability of a spread as large as the observed one if all points were equally good."""

    @classmethod
    def of(cls, returns: np.ndarray) -> Self:
        """Compare the means of returns [M, E], all finite, M and E at least 2.

        What an episode's start does to all points alike is no noise in the comparison: two-way analysis of variance,
        tested against the interaction of points and episodes. Source: Scheffé, The Analysis of Variance, 1959,
        chapter 8.
        """
        from scipy.special import fdtrc  # slow to import

        points, episodes = returns.shape
        means, starts = returns.mean(1), returns.mean(0)
        residual = returns - means[:, None] - starts + returns.mean()
        freedom = (points - 1) * (episodes - 1)
        noise = float((residual**2).sum() / freedom / episodes)
        between = float(means.var(ddof=1))
        tiny = np.finfo(float).eps * max(float((returns**2).mean()), np.finfo(float).tiny)
        if noise <= tiny:  # nothing but rounding
            p_value = 0.0 if between > tiny else 1.0
        else:
            p_value = float(fdtrc(points - 1, freedom, between / noise))
        return cls(between**0.5, noise**0.5, p_value)
