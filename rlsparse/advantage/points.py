"""What set functions make of points: cells, likenesses, features; formulas on numpy arrays and on tensors."""

import math
from itertools import product
from typing import Literal

import numpy as np

from rlsparse.learner.arrays import Array, as_float64, namespace

Concave = Literal["once", "sqrt", "log1p"]
"""How a cell's worth grows with visits: min(n, 1), sqrt(n) or log(1 + n)."""

ON_A_LINE = 1e-9
"""A point this close below a cell's edge, in cells, counts as on the edge: 0.4 / 0.4 must be cell 1."""


def concave_worth(visits: Array, concave: Concave) -> Array:
    """g(n) of the numbers of visits."""
    visits, xp = as_float64(visits), namespace(visits)
    if concave == "once":
        return visits.clip(None, 1.0)
    return xp.sqrt(visits) if concave == "sqrt" else xp.log1p(visits)


def grid_cells(points: Array, shape: tuple[int, ...]) -> Array:
    """Cells of points [L, d] in a grid that divides the unit cube, [L, d]; -1 in all of them outside the cube."""
    xp = namespace(points)
    along = [xp.floor((points[:, i] * n + ON_A_LINE).clip(-1.0, n)) for i, n in enumerate(shape)]
    cells = xp.asarray(xp.stack(along, 1), dtype=xp.int64)
    return xp.where(inside(cells, shape)[:, None], cells, -1)


def footprint(cells: Array, shape: tuple[int, ...], offsets: Array) -> Array:
    """Flat indices of the cells at `offsets` [K, d] of `cells` [L, d], [L, K]; -1 where they leave the grid."""
    covered = cells[:, None] + offsets
    flat = sum(covered[..., i] * math.prod(shape[i + 1 :]) for i in range(len(shape)))
    return namespace(cells).where(inside(covered, shape) & inside(cells, shape)[:, None], flat, -1)


def inside(cells: Array, shape: tuple[int, ...]) -> Array:
    """Whether cells [..., d] are in the grid, [...] bool."""
    return math.prod((cells[..., i] >= 0) & (cells[..., i] < n) for i, n in enumerate(shape)) > 0


def neighbours(radius: int, dims: int) -> np.ndarray:
    """Offsets of all cells up to `radius` away along every dimension, [(2 radius + 1)^dims, dims]."""
    return np.array(list(product(range(-radius, radius + 1), repeat=dims)))


def gaussian_likeness(points: Array, references: Array, reach: float) -> Array:
    """exp(-|a - b|^2 / (2 reach^2)) of points [L, d] and references [R, d], [L, R]."""
    squares: Array = sum((points[:, None, i] - references[None, :, i]) ** 2 for i in range(points.shape[1]))
    return namespace(points).exp(-squares / (2 * reach**2))


def fourier_features(points: Array, frequencies: Array) -> Array:
    """Unit features [L, 2 m] of points [L, d] whose products approximate a stationary kernel.

    `frequencies` [m, d] are drawn from its spectrum. Source: Rahimi and Recht, NeurIPS 2007, section 3.
    """
    xp, phase = namespace(points), points @ frequencies.T
    return xp.concatenate([xp.cos(phase), xp.sin(phase)], 1) / len(frequencies) ** 0.5
