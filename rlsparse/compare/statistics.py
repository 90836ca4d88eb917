"""Formulas over seeds: intervals, aggregates, tests of differences, and what a single curve comes to.

After Agarwal et al., "Deep reinforcement learning at the edge of the statistical precipice",
[arXiv 2108.13264](https://arxiv.org/abs/2108.13264), and Colas et al., "How many random seeds?",
[arXiv 1806.08295](https://arxiv.org/abs/1806.08295). The unit of replication is the seed: every bootstrap resamples
seeds, within each environment (stratified), from a fixed random seed, so that equal data give equal reports.
"""

import math
from collections.abc import Sequence
from functools import cache
from itertools import combinations
from math import comb
from typing import NamedTuple

import numpy as np
from scipy.special import nctdtr, stdtr, stdtrit

LEVEL = 0.95
"""Confidence of the intervals of a report."""

FEWEST = 3
"""With fewer seeds an interval says nothing and is left out."""

RESAMPLES = 2000
"""Bootstrap resamples; the interval's ends then move by about a fortieth of its width from seed to seed."""

BOOTSTRAP_FROM = 10
"""From so many seeds on, the interval of an IQM is a bootstrap; below, the bootstrap covers far less than it says."""

FINAL_SHARE = 0.1
"""The final score is the mean of this last share of a curve's points."""

MOST_POINTS = 200
"""Above so many points, or if they differ between seeds, curves are interpolated."""

MOST_EXACT = 20_000
"""Up to so many ways to split the runs in two, the permutation test counts them all."""

DRAWS = 9_999
"""Otherwise it draws so many at random."""


class Interval(NamedTuple):
    """An estimate and the ends of its interval; the ends are NaN where there are too few seeds."""

    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray


def mean_interval(x: np.ndarray, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the first axis and half the width of its Student-t interval, NaN for fewer than 3 seeds."""
    x = np.asarray(x, float)
    n = len(x)
    if n < FEWEST:
        return x.mean(0), np.full(x.shape[1:], np.nan)
    return x.mean(0), stdtrit(n - 1, 0.5 + level / 2) * x.std(0, ddof=1) / np.sqrt(n)


def iqm(x: np.ndarray) -> np.ndarray:
    """Interquartile mean over the first axis: without the lowest and the highest quarter, floor(n / 4) values each."""
    x = np.sort(np.asarray(x, float), 0)
    cut = len(x) // 4
    return np.asarray(x[cut : len(x) - cut].mean(0))


def iqm_interval(x: np.ndarray) -> Interval:
    """IQM over the first axis with its interval: Student-t below 10 seeds, bootstrap from 10 on.

    The t interval is that of a trimmed mean: winsorised deviation, degrees of freedom of the values kept
    (Tukey and McLaughlin, Sankhya A 25, 1963). The ends are NaN for fewer than 3 seeds.
    """
    x = np.sort(np.asarray(x, float), 0)
    n, cut = len(x), len(x) // 4
    center = x[cut : n - cut].mean(0)
    if n < FEWEST:
        return _without_ends(center)
    if n >= BOOTSTRAP_FROM:
        # one set of resamples serves all columns: each column's interval needs only its own distribution
        resampled = x.reshape(n, -1).T @ _iqm_weights(n).T
        low, high = _ends(resampled, axis=1)
        return Interval(center, low.reshape(center.shape), high.reshape(center.shape))
    winsorised = np.clip(x, x[cut], x[n - cut - 1])
    kept = n - 2 * cut
    half_width = stdtrit(kept - 1, 0.5 + LEVEL / 2) * winsorised.std(0, ddof=1) * np.sqrt(n) / kept
    return Interval(center, center - half_width, center + half_width)


def _without_ends(estimate: np.ndarray) -> Interval:
    unknown = np.full_like(estimate, np.nan)
    return Interval(estimate, unknown, unknown)


@cache
def _iqm_weights(n: int) -> np.ndarray:
    """Weights [resamples, n] of n sorted values in the IQM of each resample of them."""
    after = np.cumsum(_counts(n), 1)
    before = np.concatenate([np.zeros((len(after), 1)), after[:, :-1]], 1)
    cut = n // 4
    kept = np.clip(after, cut, n - cut) - np.clip(before, cut, n - cut)
    return kept / (n - 2 * cut)


def _counts(n: int, generator: np.random.Generator | None = None) -> np.ndarray:
    """How often each of n seeds is drawn, in each resample [resamples, n]."""
    generator = generator or np.random.default_rng(0)
    return generator.multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(float)


def _ends(resampled: np.ndarray, axis: int = 0) -> np.ndarray:
    return np.quantile(resampled, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], axis=axis)


def stratified_iqm(scores: Sequence[np.ndarray]) -> Interval:
    """IQM of all runs together, with its stratified bootstrap interval.

    `scores` has one array [seeds] per environment. The ends are NaN if any has fewer than 3 seeds.
    """
    generator = np.random.default_rng(0)
    center = iqm(np.concatenate(scores))
    if min(map(len, scores)) < FEWEST:
        return _without_ends(center)
    drawn = [x[generator.integers(0, len(x), (len(x), RESAMPLES))] for x in map(np.asarray, scores)]
    return Interval(center, *_ends(iqm(np.concatenate(drawn))))


def performance_profile(scores: Sequence[np.ndarray], thresholds: np.ndarray) -> Interval:
    """Share of runs that score above each of `thresholds` [T], environments weighing equally, with its interval.

    `scores` has one array [seeds] per environment. The ends are NaN if any has fewer than 3 seeds.
    """
    above = [(np.asarray(x)[:, None] > thresholds).astype(float) for x in scores]
    center = np.mean([x.mean(0) for x in above], 0)
    if min(map(len, scores)) < FEWEST:
        return _without_ends(center)
    generator = np.random.default_rng(0)
    resampled = np.mean([_counts(len(x), generator) @ x / len(x) for x in above], 0)
    return Interval(center, *_ends(resampled))


def probability_of_improvement(x: Sequence[np.ndarray], y: Sequence[np.ndarray], *, paired: bool = False) -> Interval:
    """Probability that a run of x scores above a run of y, ties counting half, averaged over environments.

    `x` and `y` have one array [seeds] per environment. Paired: the runs of equal place, which share their seed, are
    compared, and resampled, together. The ends are NaN if any has fewer than 3 seeds.
    """
    generator = np.random.default_rng(0)
    centers, resampled = [], []
    for a, b in zip(x, y, strict=True):
        if paired:
            wins = (np.sign(np.asarray(a) - b) + 1) / 2
            drawn = _counts(len(wins), generator) @ wins / len(wins)
        else:
            wins = (np.sign(np.asarray(a)[:, None] - np.asarray(b)) + 1) / 2
            drawn = (_counts(len(a), generator) @ wins * _counts(len(b), generator)).sum(1) / wins.size
        centers.append(wins.mean())
        resampled.append(drawn)
    center = np.mean(centers)
    if min(map(len, [*x, *y])) < FEWEST:
        return _without_ends(center)
    if np.ptp(resampled, axis=1).any():
        return Interval(center, *_ends(np.mean(resampled, 0)))
    # every resample says the same: the exact binomial bound for as many pairs, where all wins are on one side
    won, lost = np.equal(centers, 1), np.equal(centers, 0)
    pairs = sum(min(len(a), len(b)) for a, b, known in zip(x, y, won | lost, strict=True) if known)
    beyond = 1 - (0.5 - LEVEL / 2) ** (1 / pairs) if pairs else 0.0
    return Interval(center, center - beyond * won.mean(), center + beyond * lost.mean())


class Difference(NamedTuple):
    """Mean of x minus mean of y, its interval and two-sided p-value; NaN where there are too few seeds."""

    mean: float
    low: float
    high: float
    p: float


def welch(x: np.ndarray, y: np.ndarray) -> Difference:
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
    half_width = float(stdtrit(freedom, 0.5 + LEVEL / 2)) * error
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
    return float(np.trapezoid(height, at) / (end - start))


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


def align(curves: Sequence[tuple[np.ndarray, np.ndarray]], start: float, end: float) -> tuple[np.ndarray, np.ndarray]:
    """Put the curves of several seeds, x and y [P] each, on common points: x [P] from `start` to `end`, y [seeds, P].

    Points that all seeds share are kept as they are; others are interpolated, on as many points as the curves
    have, 200 at most.
    """
    inside = [x[(x > start) & (x < end)] for x, _ in curves]
    if all(np.array_equal(x, inside[0]) for x in inside[1:]) and len(inside[0]) <= MOST_POINTS:
        grid = np.unique([start, *inside[0], end])
    else:
        points = int(np.clip(np.median([len(x) for x in inside]), 2, MOST_POINTS))
        grid = np.unique(np.linspace(start, end, points))
    return grid, np.array([np.interp(grid, x, y) for x, y in curves])
