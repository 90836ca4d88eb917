"""A plane through parameter space: along an update and, across it, where points extend most.

Axes: M points, P parameters.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from rlsparse.explore.directions import RANK_TOLERANCE, with_length


@dataclass(frozen=True)
class Plane:
    """Coordinates in it are distances in parameter space."""

    origin: np.ndarray
    """Mean of the points it was laid through, [P]."""
    axes: np.ndarray
    """Orthonormal rows [2, P]; a row is zero where there is no direction."""

    @classmethod
    def through(cls, points: np.ndarray, direction: np.ndarray) -> Self:
        """Lay it along a `direction` [P], and along the principal component of points [M, P] orthogonal to it.

        The second axis is turned so that the farthest point along it has a positive coordinate.
        """
        points = np.asarray(points, np.float64)
        from_last = points - points[-1]  # exact where the points are close together
        mean = from_last.mean(0)
        first = with_length(np.asarray(direction, np.float64), 1.0)
        across = from_last - mean
        across = across - np.outer(across @ first, first)
        _, extents, rows = np.linalg.svd(across, full_matrices=False)
        second = rows[0] if extents[0] > RANK_TOLERANCE * np.linalg.norm(from_last) else np.zeros_like(first)
        farthest = across[np.abs(across @ second).argmax()]
        return cls(points[-1] + mean, np.stack([first, second if farthest @ second >= 0 else -second]))

    def coordinates(self, points: np.ndarray) -> np.ndarray:
        """Coordinates [M, 2 + R] of points [M, P]: in the plane, then in the R dimensions in which they leave it.

        Distances between points, and to (x, y, 0, ..., 0) in the plane, are those in parameter space.
        """
        centred = np.asarray(points, np.float64) - self.origin
        inside = centred @ self.axes.T
        outside = centred - inside @ self.axes
        rows, extents, _ = np.linalg.svd(outside, full_matrices=False)
        kept = extents > RANK_TOLERANCE * np.linalg.norm(centred)
        return np.concatenate([inside, (rows * extents)[:, kept]], 1)

    def grid(self, bounds: np.ndarray, count: int) -> np.ndarray:
        """Points [count * count, P] in the plane on a grid within bounds [2, 2] of x and y; x changes fastest."""
        x, y = (np.linspace(low, high, count) for low, high in bounds)
        places = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
        return self.origin + places @ self.axes


def limits(coordinates: np.ndarray) -> np.ndarray:
    """Bounds of x and y with room around all points [M, 2 + R]; [2, 2]."""
    place = coordinates[:, :2]
    low, high = place.min(0), place.max(0)
    extent = 1.12 * np.maximum(high - low, 0.05 * (high - low).max())
    return np.stack([low + high - extent, low + high + extent], 1) / 2


def share_in_plane(coordinates: np.ndarray) -> float:
    """Share of the variance of points that their first two coordinates, of [M, 2 + R], hold; 1 if all are equal."""
    variance = coordinates.var(0)
    return float(variance[:2].sum() / variance.sum()) if variance.sum() > 0 else 1.0
