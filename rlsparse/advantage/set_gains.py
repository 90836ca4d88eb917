"""What points add to monotone submodular set functions, in the order in which they come: pure functions.

Each function takes L points of one episode at once and what the episode had collected before them, and returns every
point's marginal gain F(s | before) = F(before + {s}) - F(before) with what is collected after them. So points may
come one by one or all together. Source: Prajapat et al., arXiv 2307.13372.
"""

from typing import Literal

import numpy as np

Concave = Literal["once", "sqrt", "log1p"]
"""How a cell's worth grows with visits: min(n, 1), sqrt(n) or log(1 + n)."""

BLOCK = 64
"""Points whose determinants are factored together."""

ON_A_LINE = 1e-9
"""Points so little below a cell's edge, in cells, count as on it: 0.4 / 0.4 must be cell 1."""


def concave_worth(visits: np.ndarray, concave: Concave) -> np.ndarray:
    """g(n) of the numbers of visits."""
    if concave == "once":
        return np.minimum(visits, 1).astype(float)
    return np.sqrt(visits) if concave == "sqrt" else np.log1p(visits)


def grid_cells(points: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Cells of points [L, d] in a grid that divides the unit cube, [L, d]; -1 in all of them outside the cube."""
    size = np.array(shape)
    cells = np.floor(np.clip(points * size + ON_A_LINE, -1, size)).astype(np.int64)
    cells[np.any((cells < 0) | (cells >= size), axis=1)] = -1
    return cells


def footprint(cells: np.ndarray, shape: tuple[int, ...], offsets: np.ndarray) -> np.ndarray:
    """Flat indices of the cells at `offsets` [K, d] of `cells` [L, d], [L, K]; -1 where they leave the grid."""
    covered = cells[:, None] + offsets
    outside = np.any((covered < 0) | (covered >= shape), axis=2) | np.any(cells < 0, axis=1)[:, None]
    strides = np.cumprod((1, *shape[:0:-1]))[::-1]
    return np.where(outside, -1, covered @ strides)


def count_gains(covered: np.ndarray, visits: np.ndarray, concave: Concave) -> tuple[np.ndarray, np.ndarray]:
    """Gains [L] of F = sum over cells of g(visits), and the visits after, [C]; g is concave with g(0) = 0.

    `covered` [L, K]: the different flat cells that each point visits, -1 for none; `visits` [C] before.
    """
    flat = covered.ravel()
    # sorted by cell, in time order within it: the place in its group says which visit it is
    order = np.argsort(flat, kind="stable")
    order = order[np.searchsorted(flat[order], 0) :]
    cell = flat[order]
    visit = visits[cell] + np.arange(len(cell)) - np.searchsorted(cell, cell)
    worth = concave_worth(visit + 1, concave) - concave_worth(visit, concave)
    gains = np.bincount(order // covered.shape[1], weights=worth, minlength=len(covered))
    return gains, visits + np.bincount(cell, minlength=len(visits)).astype(visits.dtype)


def facility_gains(likeness: np.ndarray, best: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gains [L] of F = sum over references of the largest likeness, and the largest after, [R].

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


def gaussian_likeness(points: np.ndarray, references: np.ndarray, reach: float) -> np.ndarray:
    """exp(-|a - b|^2 / (2 reach^2)) of points [L, d] and references [R, d], [L, R]."""
    squares = sum((points[:, None, i] - references[None, :, i]) ** 2 for i in range(points.shape[1]))
    return np.exp(-squares / (2 * reach**2))


def fourier_features(points: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    """Unit features [L, 2 m] of points [L, d] whose products approximate a stationary kernel.

    `frequencies` [m, d] are drawn from its spectrum. Source: Rahimi and Recht, NeurIPS 2007, section 3.
    """
    phase = points @ frequencies.T
    return np.concatenate([np.cos(phase), np.sin(phase)], 1) / np.sqrt(len(frequencies))
