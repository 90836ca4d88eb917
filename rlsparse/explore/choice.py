"""What a probe found and whether it is evidence: scores, paired tests, the account that is written down."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Accept = Literal["always", "evidence", "posterior", "never"]
"""Replace the incumbent by the best candidate: whatever its score; if a paired t-test, corrected for the number of
candidates, says it is better; if that is probable once scores are shrunk towards each other; not at all."""

INCUMBENT = 0
"""Index of the policy that training produced; candidates follow it."""


@dataclass(frozen=True)
class Choice:
    """The account of one probe of S members; C counts the incumbent, which is number 0."""

    score: np.ndarray
    """Mean return over the episodes a policy was given; -inf: it failed, NaN: not scored, [S, C]."""
    error: np.ndarray
    """Standard error of `score`; NaN with fewer than two episodes, [S, C]."""
    best: np.ndarray
    """The candidate that was tried against the incumbent, [S] int."""
    probability: np.ndarray
    """How sure it was that `best` beats the incumbent; NaN where no test was made, [S]."""
    accepted: np.ndarray
    """`best` replaces the incumbent, [S] bool."""
    reason: tuple[str, ...]
    """Why, in a few words, for each member."""
    steps: np.ndarray
    """Environment steps that the probe took, [S] int64."""
    point: np.ndarray
    """Where to go on from: the accepted candidate, or the incumbent unchanged, [S, P]."""


def paired_gains(returns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean gain on the incumbent over the episodes that both finished, its standard error and their number.

    `returns` [S, C, E], the incumbent first, NaN where an episode was not run. Returns three [S, C - 1] arrays;
    the error is NaN with fewer than two episodes in common.
    """
    difference = returns[:, 1:] - returns[:, :1]
    count = np.isfinite(difference).sum(-1)
    gain = _mean(difference)
    centred = np.where(np.isfinite(difference), difference - gain[..., None], 0.0)
    variance = (centred**2).sum(-1) / np.maximum(count - 1, 1)
    error = np.sqrt(variance / np.maximum(count, 1))
    return gain, np.where(count > 1, error, np.nan), count


def t_test(gain: np.ndarray, error: np.ndarray, count: np.ndarray, candidates: int) -> np.ndarray:
    """Confidence that a gain is above zero: 1 - p of the one-sided paired t-test, p times the number of candidates.

    Arrays broadcast. Without spread (error 0) the sign decides; NaN where there is no error.
    """
    from scipy.special import stdtr  # slow to import, and a command line needs the configuration alone

    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(error == 0, np.sign(gain) * np.inf, gain / error)
    p = stdtr(np.maximum(count - 1, 1), -t)
    return np.where(np.isfinite(error), np.clip(1.0 - p * candidates, 0.0, 1.0), np.nan)


def shrunken_probability(gain: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Posterior probability that each gain is above zero, the candidates' true gains taken as one normal family.

    The family's mean and variance are estimated from the candidates themselves (method of moments), so that the
    best of many is shrunk as its luck deserves. gain, error [S, C]; NaN counts as not scored.
    Source: empirical Bayes, Efron and Morris (1975).
    """
    from scipy.special import ndtr

    known = np.isfinite(gain) & np.isfinite(error)
    noise = np.where(known, error**2, np.nan)
    mean = _mean(np.where(known, gain, np.nan))
    spread = _mean(np.where(known, (gain - mean[:, None]) ** 2, np.nan)) * _unbiased(known.sum(-1))
    family = np.maximum(spread - _mean(noise), 0.0)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = np.where(family + noise > 0, family / (family + noise), 1.0)
        centre = weight * gain + (1.0 - weight) * mean[:, None]
        deviation = np.sqrt(weight * noise)
        z = np.where(deviation > 0, centre / deviation, np.sign(centre) * np.inf)
    return np.where(known, np.where(centre == 0, 0.5, ndtr(z)), np.nan)


def mean_and_error(returns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the finished episodes and its standard error, [S, C]; a failed episode (-inf) makes a score -inf."""
    failed = np.isneginf(returns).any(-1)
    finite = np.where(np.isfinite(returns), returns, np.nan)
    score, count = _mean(finite), np.isfinite(finite).sum(-1)
    centred = np.where(np.isfinite(finite), finite - score[..., None], 0.0)
    error = np.sqrt((centred**2).sum(-1) / np.maximum(count - 1, 1) / np.maximum(count, 1))
    return np.where(failed, -np.inf, score), np.where(count > 1, error, np.nan)


def _mean(x: np.ndarray) -> np.ndarray:
    """Mean over the finite numbers of the last axis; NaN where there is none."""
    finite = np.isfinite(x)
    count = finite.sum(-1)
    return np.where(count > 0, np.where(finite, x, 0.0).sum(-1) / np.maximum(count, 1), np.nan)


def _unbiased(count: np.ndarray) -> np.ndarray:
    return np.where(count > 1, count / np.maximum(count - 1, 1), 1.0)
