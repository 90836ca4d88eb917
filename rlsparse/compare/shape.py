"""What a curve comes to: its end, its area, when it reaches a threshold; and curves on a common range."""

import math
from collections.abc import Sequence

import numpy as np

FINAL_SHARE = 0.1
"""The final score is the mean of this last share of a curve's points."""

MOST_POINTS = 200
"""Above so many points, or if they differ between seeds, curves are interpolated."""

Points = tuple[np.ndarray, np.ndarray]
"""x [P], rising, and y [P] of one seed."""


def final_score(x: np.ndarray, y: np.ndarray, end: float = math.inf) -> float:
    """Mean of the last ceil(10 %) of the points up to `end`, and of one at least."""
    points = max(1, int(np.searchsorted(x, end, "right")))
    last = math.ceil(FINAL_SHARE * points)
    return float(np.mean(y[points - last : points]))


def area(x: np.ndarray, y: np.ndarray, start: float, end: float) -> float:
    """Area under the curve from `start` to `end` over the length of that range: the mean return on the way."""
    inside = (x > start) & (x < end)
    at = np.concatenate([[start], x[inside], [end]])
    height = np.interp(at, x, y)
    if end <= start:
        return float(height[-1])
    return float(np.sum((height[1:] + height[:-1]) / 2 * np.diff(at)) / (end - start))


def first_reach(x: np.ndarray, y: np.ndarray, threshold: float, end: float = math.inf) -> float:
    """Where the curve first reaches `threshold`, on the straight line between two points; infinity if never."""
    reached = np.flatnonzero(y >= threshold)
    if not len(reached):
        return math.inf
    i = int(reached[0])
    at = float(x[i])
    if i > 0:
        at = float(x[i - 1] + (x[i] - x[i - 1]) * (threshold - y[i - 1]) / (y[i] - y[i - 1]))
    return at if at <= end else math.inf


def align(curves: Sequence[Points], start: float, end: float) -> tuple[np.ndarray, np.ndarray]:
    """Put the curves of several seeds on common points: x [P] from `start` to `end` and returns [seeds, P].

    Points that all seeds share are kept as they are; others are interpolated, on as many points as the curves
    have, 200 at most.
    """
    inside = [x[(x > start) & (x < end)] for x, _ in curves]
    shared = all(np.array_equal(x, inside[0]) for x in inside[1:]) and len(inside[0]) <= MOST_POINTS
    if shared:
        grid = np.unique([start, *inside[0], end])
    else:
        points = int(np.clip(np.median([len(x) for x in inside]), 2, MOST_POINTS))
        grid = np.unique(np.linspace(start, end, points))
    return grid, np.array([np.interp(grid, x, y) for x, y in curves])
