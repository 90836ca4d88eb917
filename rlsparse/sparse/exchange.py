"""Drop weights and grow others: one layer of S members at a time, every array [S, n]."""

from collections.abc import Sequence

import numpy as np


def top(scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mark the `counts` [S] highest of the scores [S, n] of each member; of equal ones, the first. [S, n] bool."""
    order = np.argsort(-scores, axis=1, kind="stable")
    marked = np.zeros(scores.shape, bool)
    np.put_along_axis(marked, order, np.arange(scores.shape[1]) < counts[:, None], 1)
    return marked


def exchange(worth: np.ndarray, active: np.ndarray, growth: np.ndarray | None, counts: np.ndarray) -> np.ndarray:
    """Drop the `counts` [S] active weights of the smallest worth, then grow as many where `growth` scores are highest.

    `worth` is the weights themselves or their saliency; its size counts. What was just dropped may grow again, and is
    then as if it had never been dropped. Without `growth` none grow. Returns who is active then. Source: Evci et al.,
    arXiv 1911.11134, algorithm 1.
    """
    stay = top(np.where(active, np.abs(worth), -1.0), active.sum(1) - counts)
    return stay if growth is None else stay | top(np.where(stay, -np.inf, growth), counts)


def rechoose(weight: np.ndarray, active: np.ndarray, counts: np.ndarray, swaps: np.ndarray) -> np.ndarray:
    """Drop the `counts` [S] smallest active weights, then let up to `swaps` [S] of them give way to larger absent ones.

    With as many swaps as are left, the active ones are the largest of all. Returns who is active then.
    """
    left = exchange(weight, active, None, counts)
    return exchange(weight, left, np.abs(weight), swaps)


def random_mask(size: int, count: int, generators: Sequence[np.random.Generator]) -> np.ndarray:
    """Draw exactly `count` active weights of `size` for each generator; [S, size] bool."""
    return np.stack([generator.permutation(size) < count for generator in generators])


def keep_norms(weight: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Scale each unit's active weights to the norm that all of its incoming weights [..., in, out] had.

    So the gains of a dense initialisation outlive the mask, the policy head's small one too. A unit without active
    weights keeps none, and one that lost none is left as it is.
    """
    masked = np.where(active, weight, 0.0)
    before, after = np.square(weight).sum(-2, keepdims=True), np.square(masked).sum(-2, keepdims=True)
    scale = np.sqrt(np.divide(before, after, out=np.ones_like(before), where=after > 0))
    return masked * scale
