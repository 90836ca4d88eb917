"""Episodes as they may be begun again: states to restore, and actions to repeat."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Episode(NamedTuple):
    """One episode of L steps."""

    total: float
    """Undiscounted return."""
    steps: np.ndarray
    """Before each step the environment's snapshot of itself, K numbers, then the action in native units, [L, K + A]."""


def better(one: Episode, other: Episode | None) -> bool:
    """Whether an episode is worth keeping in the place of the other: it has more return, or as much in fewer steps."""
    return other is None or (one.total, -len(one.steps)) > (other.total, -len(other.steps))


def packed(name: str, rows: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Lay arrays [L_i, K] of several lengths out as two, which a checkpoint can hold."""
    return {name: np.concatenate(rows), f"{name}_lengths": np.array([len(x) for x in rows], np.int64)}


def unpacked(name: str, state: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Return the arrays that `packed` laid out."""
    return np.split(state[name], np.cumsum(state[f"{name}_lengths"])[:-1])
