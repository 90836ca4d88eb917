"""Monotone submodular set functions of the points that an episode visits, as components.

A point is a row of the unit cube [L, d]. What an episode has collected is one array, `empty` at first; `add` returns
the gains of points in the order of time, and the array after them. `alone` is the value of each point by itself.
"""

from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Annotated, Self

import numpy as np
from annotated_types import Ge, MultipleOf

from rlsparse.advantage.points import (
    Concave,
    concave_worth,
    footprint,
    fourier_features,
    gaussian_likeness,
    grid_cells,
    neighbours,
)
from rlsparse.advantage.projection import Projection
from rlsparse.errors import UsageError
from rlsparse.learner.bounds import Count, CountFromZero, Expected, Positive
from rlsparse.learner.streams import generator

if TYPE_CHECKING:
    from rlsparse.advantage.device_gains import DeviceGains

BLOCK = 64
"""Points whose determinants are computed by one factorisation."""


def count_gains(covered: np.ndarray, visits: np.ndarray, concave: Concave) -> tuple[np.ndarray, np.ndarray]:
    """Gains [L] of F = sum over cells of g(visits), and the visits afterwards, [C]; g is concave with g(0) = 0.

    `covered` [L, K]: the different flat cells that each point visits, -1 for none; `visits` [C] before.
    """
    flat = covered.ravel()
    # sorted by cell, then by time: the position within the cell's group is the number of the visit
    order = np.argsort(flat, kind="stable")
    order = order[np.searchsorted(flat[order], 0) :]
    cell = flat[order]
    visit = visits[cell] + np.arange(len(cell)) - np.searchsorted(cell, cell)
    worth = concave_worth(visit + 1, concave) - concave_worth(visit, concave)
    gains = np.bincount(order // covered.shape[1], weights=worth, minlength=len(covered))
    return gains, visits + np.bincount(cell, minlength=len(visits)).astype(visits.dtype)


def facility_gains(likeness: np.ndarray, best: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gains [L] of F = sum over references of the largest likeness, and the largest afterwards, [R].

    `likeness` [L, R], not negative, of each point to each reference; `best` [R] before, 0 for the empty set.
    """
    running = np.maximum.accumulate(np.concatenate([best[None], likeness]))
    return np.diff(running, axis=0).sum(1), running[-1]


def log_det_gains(features: np.ndarray, precision: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gains [L] of F = 1/2 log det(A) for A = precision + sum of features features^T, and A, [D, D].

    `features` [L, D]; `precision` [D, D] before, positive definite. A gain is 1/2 log(1 + f^T A^-1 f) with A before
    it; those of a block of points are the logarithms of the diagonal of a Cholesky factor.
    """
    gains = np.empty(len(features))
    for start in range(0, len(features), BLOCK):
        block = features[start : start + BLOCK]
        white = np.linalg.solve(np.linalg.cholesky(precision), block.T)
        factor = np.linalg.cholesky(np.eye(len(block)) + white.T @ white)
        gains[start : start + BLOCK] = np.log(np.diagonal(factor))
        precision = precision + block.T @ block
    return gains, precision


MOST_CELLS = 2**20
"""Largest number of cells, references or matrix entries of one environment."""

MOST_COVERED = 2**10
"""Largest number of cells that one point covers."""

Step = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Coverage:
    """Visited cells of a grid over the projection's box; points outside of it count nothing."""

    cells: tuple[Count, ...] = ()
    """Cells along each dimension; the projection's own if not given."""
    radius: CountFromZero = 0
    """A point also covers cells up to this many cells away, along every dimension."""
    count: Concave = "once"
    """A cell visited n times is worth min(n, 1), sqrt(n) or log(1 + n)."""

    def on(self, projection: Projection) -> Self:
        """Return the function of the points of a projection; raises UsageError where they do not fit."""
        cells = self.cells or projection.cells
        if len(cells) != len(projection.index):
            given = " ".join(map(str, cells))
            expected = f"expected one number for each of {len(projection.index)}: {projection.description}"
            raise UsageError(f"--advantage.set-function.cells {given}: {expected}")
        _limit("--advantage.set-function.cells " + " ".join(map(str, cells)), "cells", int(np.prod(cells)))
        covered = (2 * self.radius + 1) ** len(cells)
        if covered > MOST_COVERED:
            raise UsageError(
                f"--advantage.set-function.radius {self.radius} covers {covered:,} cells from a point of {len(cells)} "
                f"dimensions: expected at most {MOST_COVERED:,}"
            )
        return replace(self, cells=cells)

    def empty(self, dims: int) -> np.ndarray:
        """Visits of each cell."""
        return np.zeros(int(np.prod(self.cells)), np.int32)

    def add(self, visits: np.ndarray, points: np.ndarray) -> Step:
        """Gains, and visits afterwards."""
        return count_gains(self._covered(points), visits, self.count)

    def alone(self, points: np.ndarray) -> np.ndarray:
        """The value of each point by itself."""
        return (self._covered(points) >= 0).sum(1) * concave_worth(np.ones(1), self.count)

    def on_device(self, dims: int, device: str) -> "DeviceGains":
        """Return it for many episodes on a device."""
        from rlsparse.advantage.device_gains import coverage

        return coverage(self.cells, self.radius, self.count, device)

    def _covered(self, points: np.ndarray) -> np.ndarray:
        return footprint(grid_cells(points, self.cells), self.cells, neighbours(self.radius, points.shape[1]))


@dataclass(frozen=True)
class FacilityLocation:
    """Sum over the reference points of a grid of exp(-distance^2 / (2 reach^2)) of the nearest visited point."""

    references: Count = 10
    """Reference points along each dimension of the projection's box."""
    reach: Positive = 0.1
    """Length at which closeness decays, in sides of the box."""

    def on(self, projection: Projection) -> Self:
        """Return the function of the points of a projection; raises UsageError where there are too many."""
        dims = len(projection.index)
        given = f"--advantage.set-function.references {self.references}"
        _limit(f"{given} along {dims} dimensions", "references", self.references**dims)
        return self

    def empty(self, dims: int) -> np.ndarray:
        """Largest closeness to each reference."""
        return np.zeros(self.references**dims)

    def add(self, closest: np.ndarray, points: np.ndarray) -> Step:
        """Gains, and closeness afterwards."""
        return facility_gains(self._closeness(points), closest)

    def alone(self, points: np.ndarray) -> np.ndarray:
        """The value of each point by itself."""
        return self._closeness(points).sum(1)

    def on_device(self, dims: int, device: str) -> "DeviceGains":
        """Return it for many episodes on a device."""
        from rlsparse.advantage.device_gains import facility_location

        return facility_location(_reference_grid(self.references, dims), self.reach, device)

    def _closeness(self, points: np.ndarray) -> np.ndarray:
        return gaussian_likeness(points, _reference_grid(self.references, points.shape[1]), self.reach)


@dataclass(frozen=True)
class LogDet:
    """Information of noisy measurements at the points about a Gaussian process: 1/2 log det(I + K / noise), in nats.

    K is made of random Fourier features of the kernel exp(-distance^2 / (2 reach^2)), the same in every run.
    """

    reach: Positive = 0.1
    """Length scale of the kernel, in sides of the projection's box."""
    noise: Positive = 0.1
    """Variance of a measurement's noise; that of the process is 1."""
    features: Annotated[int, Ge(2), MultipleOf(2), Expected("a positive even number")] = 64
    """Fourier features, an even number; more are closer to the kernel and slower."""

    def on(self, projection: Projection) -> Self:
        """Return the function of the points of a projection; raises UsageError if it is too large."""
        _limit(f"--advantage.set-function.features {self.features}", "numbers", self.features**2)
        return self

    def empty(self, dims: int) -> np.ndarray:
        """Precision matrix of the process's weights, times the noise."""
        return self.noise * np.eye(self.features)

    def add(self, precision: np.ndarray, points: np.ndarray) -> Step:
        """Gains, and precision afterwards."""
        return log_det_gains(self._features(points), precision)

    def alone(self, points: np.ndarray) -> np.ndarray:
        """The value of each point by itself; all are equal, because the kernel is stationary."""
        return np.full(len(points), 0.5 * np.log1p(1 / self.noise))

    def on_device(self, dims: int, device: str) -> "DeviceGains":
        """Return it for many episodes on a device."""
        from rlsparse.advantage.device_gains import log_det

        return log_det(_frequencies(self.features // 2, dims) / self.reach, self.noise, device)

    def _features(self, points: np.ndarray) -> np.ndarray:
        return fourier_features(points, _frequencies(self.features // 2, points.shape[1]) / self.reach)


SetFunction = Coverage | FacilityLocation | LogDet


def _limit(given: str, what: str, count: int) -> None:
    if count > MOST_CELLS:
        raise UsageError(f"{given} makes {count:,} {what} for each environment: expected at most {MOST_CELLS:,}")


@cache
def _reference_grid(count: int, dims: int) -> np.ndarray:
    """The centres of count^dims equal cells of the unit cube, [count^dims, dims]."""
    return np.array(list(product((np.arange(count) + 0.5) / count, repeat=dims)))


@cache
def _frequencies(count: int, dims: int) -> np.ndarray:
    return generator(0, "features").standard_normal((count, dims))
