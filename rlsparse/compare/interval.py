"""Confidence intervals over seeds, the unit of replication."""

import numpy as np
from scipy.special import stdtrit

FEWEST = 3
"""With fewer seeds an interval says nothing and is left out."""


def mean_interval(x: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the first axis and half the width of its Student-t interval, NaN for fewer than 3 seeds."""
    x = np.asarray(x, float)
    n = len(x)
    if n < FEWEST:
        return x.mean(0), np.full(x.shape[1:], np.nan)
    return x.mean(0), stdtrit(n - 1, 0.5 + level / 2) * x.std(0, ddof=1) / np.sqrt(n)
