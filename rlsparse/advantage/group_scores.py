"""What each step is worth beside the same moment in the other episodes of its group: pure functions.

Episodes of a group begin in the same state and in the same step, so that row t of an array is the same time index in
all of them. Axes: T steps, S members, N environments = groups x G.
"""

from typing import Literal

import numpy as np

from rlsparse.advantage.returns import discounted_to_go, unseen_share

EQUAL = 1e-6
"""Scores that differ by less, relative to their size or 1, are equal: rounding must not be scaled up to a score."""


def in_groups(x: np.ndarray, group_size: int) -> np.ndarray:
    """See arrays [..., N] as [..., N / G, G]."""
    return np.ascontiguousarray(x).reshape(*x.shape[:-1], -1, group_size)


def to_members(x: np.ndarray, group_size: int) -> np.ndarray:
    """Give each environment what its group has: [..., N / G] as [..., N]."""
    return np.repeat(x, group_size, -1)


def group_starts(ended: np.ndarray, group_size: int) -> np.ndarray:
    """Where groups begin episodes, or the rollout begins, [T, S, N] bool; `ended` [T, S, N] stays set while idle."""
    together = np.logical_and.reduce(in_groups(ended, group_size), -1)
    starts = np.ones(ended.shape, bool)
    starts[1:] = to_members(together[:-1], group_size)
    return starts


def held(x: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Give every step the number that x has where its episode starts, [T, ...]."""
    rows = np.where(starts, np.arange(len(x)).reshape(-1, *(1,) * (x.ndim - 1)), 0)
    return np.take_along_axis(x, np.maximum.accumulate(rows, 0), 0)


def returns_and_hidden(
    reward: np.ndarray,
    terminated: np.ndarray,
    truncated: np.ndarray,
    gamma: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Discounted returns-to-go, and the share of them that lies behind the rollout's end, [T, S, N] float64 each.

    A time limit is where the episode ends: steps of a group have equal time left.
    """
    ended = terminated | truncated
    return discounted_to_go(reward.astype(float), ended, gamma), unseen_share(ended, np.zeros_like(ended), gamma)


def relative(
    score: np.ndarray,
    counts: np.ndarray,
    baseline: Literal["others", "mean"],
    scale: bool,
) -> np.ndarray:
    """Scores [..., G] less their group's mean, of all or of the others; divided by its deviation if `scale`.

    `counts` [..., G] bool says whose scores there are; the rest become 0, and so do groups of equal scores and groups
    of one. Source: Shao et al., arXiv 2402.03300 ("mean", scaled); Ahmadian et al., arXiv 2402.14740 ("others").
    """
    number = counts.sum(-1, keepdims=True)
    highest = np.where(counts, score, -np.inf).max(-1, keepdims=True)
    lowest = np.where(counts, score, np.inf).min(-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        differ = (number > 1) & (highest - lowest > EQUAL * np.maximum(1.0, np.abs(highest)))
    mean = np.where(counts, score, 0.0).sum(-1, keepdims=True) / np.maximum(number, 1)
    centred = np.where(counts & differ, score - mean, 0.0)
    factor = number / np.maximum(number - 1, 1) if baseline == "others" else 1.0
    if scale:
        factor = factor / (((centred * centred).sum(-1, keepdims=True) / np.maximum(number - 1, 1)) ** 0.5 + EQUAL)
    return centred * factor


def degenerate_share(advantage: np.ndarray, compared: np.ndarray, group_size: int) -> np.ndarray:
    """Share of the groups in which nobody `compared`, [T, S, N] bool, has an advantage [T, S, N]; [S] float32.

    Every row has its groups; those that compare nobody do not count. nan where all are so.
    """
    used = np.logical_or.reduce(in_groups(compared, group_size), -1)
    taught = np.logical_or.reduce(in_groups(compared & (advantage != 0), group_size), -1)
    number = used.sum((0, 2))
    share = (number - taught.sum((0, 2))) / np.maximum(number, 1)
    return np.where(number > 0, share, np.nan).astype(np.float32)


def rows_of_members(x: np.ndarray) -> np.ndarray:
    """Lay [T, S, N] out as [S, T * N]: so a member's sums are those it has alone."""
    return np.ascontiguousarray(x.swapaxes(0, 1)).reshape(x.shape[1], -1)


def centred_on_batch(score: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Scores [T, S, N] less the mean of each member's that count, [T, S, N]; the rest become 0, and equal scores."""
    rows, which = rows_of_members(score), rows_of_members(counts)
    mean = np.where(which, rows, 0.0).sum(1) / np.maximum(which.sum(1), 1)
    highest, lowest = (f(np.where(which, rows, x), 1) for f, x in ((np.max, -np.inf), (np.min, np.inf)))
    differ = (which.sum(1) > 1) & (highest - lowest > EQUAL * np.maximum(1.0, np.abs(highest)))
    return np.where(counts & differ[:, None], score - mean[:, None], 0.0)


def scaled_by_batch(score: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Divide scores [T, S, N] by the deviation of each member's that count.

    Source: whitening of REINFORCE++, Hu, arXiv 2501.03262; 1e-8 is added to the variance.
    """
    centred = rows_of_members(centred_on_batch(score, counts))
    number = np.maximum(rows_of_members(counts).sum(1) - 1, 1)
    return score / ((centred * centred).sum(1) / number + 1e-8)[:, None] ** 0.5
