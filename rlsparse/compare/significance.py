"""Is a difference between two arms more than chance, and could these few seeds have shown one?

Welch's test, after Colas et al., "How many random seeds?", [arXiv 1806.08295](https://arxiv.org/abs/1806.08295), and
a permutation test beside it, which assumes no shape of the distribution.
"""

from functools import cache
from itertools import combinations
from math import comb
from typing import NamedTuple

import numpy as np
from scipy.special import nctdtr, stdtr, stdtrit

from rlsparse.compare.interval import FEWEST

MOST_EXACT = 20_000
"""Up to so many ways to split the runs in two, the permutation test counts them all."""

DRAWS = 9_999
"""Otherwise it draws so many at random."""


class Difference(NamedTuple):
    """Mean of x minus mean of y, its interval and two-sided p-value; NaN where there are too few seeds."""

    mean: float
    low: float
    high: float
    p: float


def welch(x: np.ndarray, y: np.ndarray, level: float = 0.95) -> Difference:
    """Welch's unequal-variance t interval and test; fewer than 3 seeds in an arm give NaN."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    difference = float(x.mean() - y.mean())
    if min(len(x), len(y)) < FEWEST:
        return Difference(difference, np.nan, np.nan, np.nan)
    u, v = x.var(ddof=1) / len(x), y.var(ddof=1) / len(y)
    error = float(np.sqrt(u + v))
    if error == 0:
        return Difference(difference, difference, difference, float(difference == 0))
    freedom = (u + v) ** 2 / (u**2 / (len(x) - 1) + v**2 / (len(y) - 1))
    half_width = float(stdtrit(freedom, 0.5 + level / 2)) * error
    p = 2 * float(stdtr(freedom, -abs(difference) / error))
    return Difference(difference, difference - half_width, difference + half_width, p)


def permutation_p(x: np.ndarray, y: np.ndarray) -> float:
    """Two-sided p-value of the difference of means, if the labels of the runs were arbitrary; NaN below 3 seeds.

    Exact up to 9 against 9 seeds; above, from 9,999 random relabellings and the one observed, at a fixed seed.
    """
    n, m = len(x), len(y)
    if min(n, m) < FEWEST:
        return np.nan
    pooled = np.concatenate([x, y]).astype(float)
    observed = abs(np.mean(x) - np.mean(y))
    sums = _splits(n, m) @ pooled
    differences = np.abs(sums / n - (pooled.sum() - sums) / m)
    rounding = 1e-9 * np.abs(pooled).max()
    return float(np.mean(differences >= observed - rounding))


@cache
def _splits(n: int, m: int) -> np.ndarray:
    """Which of n + m runs are called x, in each relabelling [relabellings, n + m]; the first is the observed one."""
    if comb(n + m, n) <= MOST_EXACT:
        chosen = np.array(list(combinations(range(n + m), n)))
    else:
        generator = np.random.default_rng(0)
        chosen = generator.random((DRAWS + 1, n + m)).argsort(1)[:, :n]
        chosen[0] = range(n)
    splits = np.zeros((len(chosen), n + m))
    np.put_along_axis(splits, chosen, 1.0, 1)
    return splits


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down correction of the p-values of several comparisons; NaN is no comparison and stays."""
    p = np.asarray(p, float)
    adjusted = np.full_like(p, np.nan)
    order = np.argsort(p)[: np.isfinite(p).sum()]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(factors * p[order]))
    return adjusted


def pooled_deviation(x: np.ndarray, y: np.ndarray) -> float:
    """Standard deviation within the two arms together; NaN without 2 seeds in each."""
    n, m = len(x), len(y)
    if min(n, m) < 2:
        return np.nan
    return float(np.sqrt(((n - 1) * np.var(x, ddof=1) + (m - 1) * np.var(y, ddof=1)) / (n + m - 2)))


def effect_size(x: np.ndarray, y: np.ndarray) -> float:
    """Cohen's d: difference of means over the pooled deviation; NaN where there is no deviation."""
    deviation = pooled_deviation(x, y)
    return float(np.mean(x) - np.mean(y)) / deviation if deviation > 0 else np.nan


@cache
def detectable_effect(n: int, m: int, power: float = 0.8, alpha: float = 0.05) -> float:
    """Smallest Cohen's d that a two-sided t test of n against m seeds finds with probability `power`.

    NaN for fewer than 3 seeds in an arm. By bisection on the non-central t distribution.
    """
    if min(n, m) < FEWEST:
        return np.nan
    freedom, root = n + m - 2, np.sqrt(n * m / (n + m))
    critical = stdtrit(freedom, 1 - alpha / 2)
    low, high = 0.0, 64.0
    while high - low > 1e-6:
        d = (low + high) / 2
        found = 1 - nctdtr(freedom, d * root, critical)
        low, high = (d, high) if found < power else (low, d)
    return high
