"""Gains of set functions on a device: each of E episodes gets one point at a time, and none waits for another.

The same functions as in `set_functions`, whose numpy forms take the points of one episode at once.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rlsparse.advantage.points import (
    Concave,
    concave_worth,
    footprint,
    fourier_features,
    gaussian_likeness,
    grid_cells,
    neighbours,
)
from rlsparse.learner.arrays import to_device


@dataclass(frozen=True)
class DeviceGains:
    """A set function of the points of many episodes."""

    empty: Tensor
    """What an episode has collected at first, [...]."""
    add: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    """Takes what E episodes have collected, [E, ...], and a point of each, [E, d]; returns gains [E], and the former
    with the points in it."""


def coverage(shape: tuple[int, ...], radius: int, concave: Concave, device: str) -> DeviceGains:
    """Sum over the cells of a grid in the unit cube of g(visits); a point visits those up to `radius` cells away."""
    offsets = to_device(neighbours(radius, len(shape)), device)

    def add(visits: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        covered = footprint(grid_cells(points, shape), shape, offsets)
        counts, index = covered >= 0, covered.clip(0)
        before = visits.gather(1, index)
        gains = torch.where(counts, concave_worth(before + 1, concave) - concave_worth(before, concave), 0.0).sum(1)
        return gains, visits.scatter_add(1, index, counts.to(visits.dtype))

    return DeviceGains(to_device(np.zeros(math.prod(shape), np.int32), device), add)


def facility_location(references: np.ndarray, reach: float, device: str) -> DeviceGains:
    """Sum over `references` [R, d] of the largest exp(-distance^2 / (2 reach^2)) of a point."""
    places = to_device(references, device)

    def add(closest: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        after = torch.maximum(closest, gaussian_likeness(points, places, reach))
        return (after - closest).sum(1), after

    return DeviceGains(to_device(np.zeros(len(references)), device), add)


def log_det(frequencies: np.ndarray, noise: float, device: str) -> DeviceGains:
    """Return 1/2 log det of `noise` I plus the sum of f f^T, over Fourier features f of `frequencies` [m, d].

    What is collected is the inverse of that matrix, which points change by the formula of Sherman and Morrison (1950).
    """
    spectrum, width = to_device(frequencies, device), 2 * len(frequencies)

    def add(inverse: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        features = fourier_features(points, spectrum)
        change = (inverse @ features[..., None])[..., 0]
        informed = (features * change).sum(1)
        after = inverse - change[:, :, None] * (change / (1.0 + informed)[:, None])[:, None]
        return 0.5 * informed.log1p(), after

    return DeviceGains(to_device(np.eye(width) / noise, device), add)
