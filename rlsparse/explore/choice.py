"""What a probe found and whether it is evidence: scores, paired tests, the choice that follows."""

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

    @classmethod
    def rejected(cls, incumbent: np.ndarray, steps: np.ndarray, reason: str) -> "Choice":
        """Return the account of a probe that took steps [S] and found nothing out about the incumbents [S, P]."""
        members = len(incumbent)
        unknown, none = np.full((members, 1), np.nan), np.zeros(members, bool)
        best = np.full(members, INCUMBENT)
        return cls(unknown, unknown, best, unknown[:, 0], none, (reason,) * members, steps.copy(), incumbent)


def paired_gains(returns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean gain on the incumbent over the episodes that both finished, its standard error and their number.

    `returns` [S, C, E], the incumbent first, NaN where an episode was not run. Returns three [S, C - 1] arrays;
    the error is NaN with fewer than two episodes in common.
    """
    return _mean_of_finite(_gains(returns))


def t_test(gain: np.ndarray, error: np.ndarray, count: np.ndarray, candidates: int) -> np.ndarray:
    """Confidence that a gain is above zero: 1 - p of the one-sided paired t-test, p times the number of candidates.

    Arrays broadcast. Without spread (error 0) the sign decides; NaN where there is no error.
    """
    from scipy.special import stdtr  # slow to import, and a command line needs the configuration alone

    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(error == 0, np.sign(gain) * np.inf, gain / error)
    p = stdtr(np.maximum(count - 1, 1), -t)
    return np.where(np.isfinite(error), np.clip(1.0 - p * candidates, 0.0, 1.0), np.nan)


def shrunken_probability(returns: np.ndarray) -> np.ndarray:
    """Posterior probability that each candidate is better, their true gains taken as one normal family; [S, C - 1].

    `returns` [S, C, E], the incumbent first. The family's mean and variance are estimated from the candidates
    themselves, so that the best of many is shrunk as its luck deserves. What all candidates have in common, the
    incumbent's luck above all, shrinks nothing and stays as doubt. A candidate that did not finish every episode that
    the incumbent finished has no probability (NaN); nor has any with fewer than two of these.
    Source: empirical Bayes, Efron and Morris (1975); degrees of freedom of the doubt: Satterthwaite (1946).
    """
    from scipy.special import stdtr

    ran = np.isfinite(returns[:, 0])
    difference = _gains(returns)
    known = (np.isfinite(difference) | ~ran[:, None]).all(-1)
    counted = known[..., None] & ran[:, None]
    difference = np.where(counted, difference, 0.0)
    episodes, candidates = np.maximum(ran.sum(1), 1), np.maximum(known.sum(1), 1)

    gain = difference.sum(-1) / episodes[:, None]
    by_episode = difference.sum(1) / candidates[:, None]
    mean = by_episode.sum(1) / episodes
    own_luck = np.where(counted, difference - gain[..., None] - by_episode[:, None] + mean[:, None, None], 0.0)
    common_luck = np.where(ran, by_episode - mean[:, None], 0.0)
    freedom = np.maximum(episodes - 1, 1), np.maximum((episodes - 1) * (candidates - 1), 1)
    own = (own_luck**2).sum((1, 2)) / freedom[1] / episodes
    common = np.maximum((common_luck**2).sum(1) / freedom[0] / episodes - own / candidates, 0.0)
    spread = np.where(known, (gain - mean[:, None]) ** 2, 0.0).sum(1) / np.maximum(candidates - 1, 1)
    family = np.maximum(spread - own, 0.0)

    weight = np.divide(family, family + own, out=np.ones_like(own), where=family + own > 0)
    centre = weight[:, None] * gain + ((1.0 - weight) * mean)[:, None]
    doubt = weight * own + (1.0 - weight) ** 2 * (family + own) / candidates
    total = common + doubt
    with np.errstate(divide="ignore", invalid="ignore"):
        degrees = np.where(total > 0, total**2 / (common**2 / freedom[0] + doubt**2 / freedom[1]), 1.0)
        t = np.where(centre == 0, 0.0, centre / np.sqrt(total)[:, None])
    return np.where(known & (ran.sum(1) > 1)[:, None], stdtr(degrees[:, None], t), np.nan)


def mean_and_error(returns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the finished episodes and its standard error, [S, C]; a failed episode (-inf) makes a score -inf."""
    score, error, _ = _mean_of_finite(returns)
    return np.where(np.isneginf(returns).any(-1), -np.inf, score), error


def _mean_of_finite(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over the finite numbers of the last axis, its standard error and their number; NaN where unknown."""
    finite = np.isfinite(x)
    count = finite.sum(-1)
    mean = np.where(count > 0, np.where(finite, x, 0.0).sum(-1) / np.maximum(count, 1), np.nan)
    centred = np.where(finite, x - mean[..., None], 0.0)
    error = np.sqrt((centred**2).sum(-1) / np.maximum(count - 1, 1) / np.maximum(count, 1))
    return mean, np.where(count > 1, error, np.nan), count


def _gains(returns: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # two that failed have no difference
        return returns[:, 1:] - returns[:, :1]
