"""Aggregates of returns over seeds and environments, with intervals: interquartile mean, profiles, improvement.

After Agarwal et al., "Deep reinforcement learning at the edge of the statistical precipice",
[arXiv 2108.13264](https://arxiv.org/abs/2108.13264). The unit of replication is the seed: every bootstrap resamples
seeds, within each environment (stratified), from a fixed random seed, so that equal data give equal reports.
"""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from scipy.special import stdtrit

from rlsparse.compare.interval import FEWEST

RESAMPLES = 2000
"""Bootstrap resamples; the interval's ends then move by about a fortieth of its width from seed to seed."""

BOOTSTRAP_FROM = 10
"""From so many seeds on, the interval of an IQM is a bootstrap; below, the bootstrap covers far less than it says."""

Interval = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Estimate, lower and upper end; the ends are NaN where there are too few seeds."""


def iqm(x: np.ndarray, axis: int = 0) -> np.ndarray:
    """Interquartile mean: the mean without the lowest and the highest quarter, floor(n / 4) values each."""
    x = np.sort(np.asarray(x, float), axis)
    cut = x.shape[axis] // 4
    return np.take(x, range(cut, x.shape[axis] - cut), axis).mean(axis)


def iqm_interval(x: np.ndarray, level: float = 0.95) -> Interval:
    """IQM over the first axis with its interval: Student-t below 10 seeds, bootstrap from 10 on.

    The t interval is that of a trimmed mean: winsorised deviation, degrees of freedom of the values kept
    (Tukey and McLaughlin, Sankhya A 25, 1963). The ends are NaN for fewer than 3 seeds.
    """
    x = np.sort(np.asarray(x, float), 0)
    n, cut = len(x), len(x) // 4
    center = x[cut : n - cut].mean(0)
    if n < FEWEST:
        return center, np.full_like(center, np.nan), np.full_like(center, np.nan)
    if n >= BOOTSTRAP_FROM:
        # one set of resamples serves all columns: each column's interval needs only its own distribution
        resampled = x.reshape(n, -1).T @ _iqm_weights(n).T
        low, high = _ends(resampled, level, axis=1)
        return center, low.reshape(center.shape), high.reshape(center.shape)
    winsorised = np.clip(x, x[cut], x[n - cut - 1])
    kept = n - 2 * cut
    half_width = stdtrit(kept - 1, 0.5 + level / 2) * winsorised.std(0, ddof=1) * np.sqrt(n) / kept
    return center, center - half_width, center + half_width


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


def _ends(resampled: np.ndarray, level: float, axis: int = 0) -> tuple[np.ndarray, np.ndarray]:
    low, high = np.quantile(resampled, [0.5 - level / 2, 0.5 + level / 2], axis=axis)
    return low, high


def bootstrap(
    scores: Sequence[np.ndarray], statistic: Callable[[np.ndarray], np.ndarray] = iqm, level: float = 0.95
) -> Interval:
    """`statistic` (of the first axis) of all runs together, with its stratified bootstrap interval.

    `scores` has one array [seeds] per environment. The ends are NaN if any has fewer than 3 seeds.
    """
    generator = np.random.default_rng(0)
    center = statistic(np.concatenate(scores))
    if min(map(len, scores)) < FEWEST:
        return center, np.array(np.nan), np.array(np.nan)
    drawn = [x[generator.integers(0, len(x), (len(x), RESAMPLES))] for x in map(np.asarray, scores)]
    return center, *_ends(statistic(np.concatenate(drawn)), level)


def performance_profile(scores: Sequence[np.ndarray], thresholds: np.ndarray, level: float = 0.95) -> Interval:
    """Share of runs that score above each of `thresholds` [T], environments weighing equally, with its interval.

    `scores` has one array [seeds] per environment. The ends are NaN if any has fewer than 3 seeds.
    """
    above = [(np.asarray(x)[:, None] > thresholds).astype(float) for x in scores]
    center = np.mean([x.mean(0) for x in above], 0)
    if min(map(len, scores)) < FEWEST:
        return center, np.full_like(center, np.nan), np.full_like(center, np.nan)
    generator = np.random.default_rng(0)
    resampled = np.mean([_counts(len(x), generator) @ x / len(x) for x in above], 0)
    return center, *_ends(resampled, level)


def probability_of_improvement(
    x: Sequence[np.ndarray], y: Sequence[np.ndarray], *, paired: bool = False, level: float = 0.95
) -> Interval:
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
        return center, np.array(np.nan), np.array(np.nan)
    if np.ptp(resampled, axis=1).any():
        return center, *_ends(np.mean(resampled, 0), level)
    # every resample says the same: the exact binomial bound for as many pairs, where all wins are on one side
    won, lost = np.equal(centers, 1), np.equal(centers, 0)
    pairs = sum(min(len(a), len(b)) for a, b, known in zip(x, y, won | lost, strict=True) if known)
    beyond = 1 - (0.5 - level / 2) ** (1 / pairs) if pairs else 0.0
    return center, center - beyond * won.mean(), center + beyond * lost.mean()
