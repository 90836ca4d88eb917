"""Schedules over the spent share of the budget, [S]."""

from typing import Literal

import numpy as np

Schedule = Literal["cosine", "constant"]


def drop_fraction(first: float, schedule: Schedule, progress: np.ndarray, end: float) -> np.ndarray:
    """Share of active weights to exchange: `first`, or falling from it along half a cosine; none from `end` on."""
    if schedule == "constant":
        return np.where(progress < end, first, 0.0)
    return first / 2 * (1 + np.cos(np.pi * np.minimum(progress, end) / end))


def gradual_sparsity(final: float, progress: np.ndarray, start: float, end: float) -> np.ndarray:
    """Share of weights pruned, rising from none at `start` to `final` at `end`, fast at first.

    Source: Zhu and Gupta, arXiv 1710.01878, equation 1.
    """
    return final * (1 - (1 - np.clip((progress - start) / (end - start), 0.0, 1.0)) ** 3)
