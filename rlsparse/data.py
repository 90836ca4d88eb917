"""The records that pass between collecting, estimating and learning.

Axes: T steps, S members (seeds trained together), N environments of each member, B = T * N samples.
"""

from dataclasses import dataclass

import numpy as np

from rlsparse.arrays import Array


@dataclass(frozen=True)
class Rollout:
    """What T steps of S x N environments gave; every stored transition is real (same-step autoreset)."""

    obs: Array
    """Observations acted on, as the environment gave them, [T, S, N, O]."""
    action: Array
    """Actions as sampled, before clipping to the action box, [T, S, N, A]."""
    log_prob: Array
    """Log-density of `action` under the policy that drew it, [T, S, N]."""
    reward: Array
    """Rewards times the member's reward scale, otherwise unedited, [T, S, N]."""
    value: Array
    """V(obs), [T, S, N]."""
    next_value: Array
    """V of the true successor, the final observation of a finished episode included, [T, S, N]."""
    terminated: Array
    """The successor is terminal: nothing to bootstrap from, [T, S, N] bool."""
    truncated: Array
    """The episode was cut at the successor: bootstrap from `next_value`, [T, S, N] bool."""


@dataclass(frozen=True)
class Advantages:
    """What an advantage estimator returns."""

    advantage: Array
    """[T, S, N]."""
    value_target: Array
    """What the critic regresses on, [T, S, N]."""


@dataclass(frozen=True)
class Batch:
    """A rollout flattened for learning, a row per member."""

    obs: Array
    """Normalised observations, [S, B, O]."""
    action: Array
    """[S, B, A]."""
    log_prob: Array
    """[S, B]."""
    advantage: Array
    """[S, B]."""
    value_target: Array
    """[S, B]."""


@dataclass(frozen=True)
class EpochStats:
    """Means over the minibatches of one pass over the batch, each [S]."""

    policy_loss: np.ndarray
    value_loss: np.ndarray
    entropy: np.ndarray
    approx_kl: np.ndarray
    clip_fraction: np.ndarray
    grad_norm: np.ndarray


@dataclass
class Counters:
    """Environment steps of each member by what they were spent on, each [S] int64."""

    train: np.ndarray
    probe: np.ndarray
    eval: np.ndarray

    @classmethod
    def zeros(cls, members: int) -> "Counters":
        """Start counting."""
        return cls(*(np.zeros(members, np.int64) for _ in range(3)))

    @property
    def total(self) -> np.ndarray:
        """Steps that count against the budget: train + probe, [S]."""
        return self.train + self.probe
