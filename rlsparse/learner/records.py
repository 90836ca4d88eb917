"""The records that pass between collecting, estimating and learning.

Axes: T steps, S members (seeds trained together), N environments of each member, B = T * N samples.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from rlsparse.learner.arrays import Array, namespace, to_numpy


@dataclass(frozen=True)
class Rollout:
    """T steps of S x N environments; every stored transition that is `valid` is real."""

    obs: Array
    """Raw observations in which the policy acted, [T, S, N, O]."""
    action: Array
    """Actions as sampled, before clipping to the action box, [T, S, N, A]."""
    log_prob: Array
    """Log-density of `action` under the policy that drew it, [T, S, N]."""
    reward: Array
    """The environment's rewards, or the advantage's own, times the member's reward scale, [T, S, N]."""
    value: Array | None
    """V(obs), [T, S, N]; None without a critic."""
    next_value: Array | None
    """V of the true successor, also of an episode's final observation, [T, S, N]; None without a critic."""
    terminated: Array
    """The successor is terminal: nothing to bootstrap from, [T, S, N] bool."""
    truncated: Array
    """The episode was cut at the successor: bootstrap from `next_value`, [T, S, N] bool."""
    valid: Array | None = None
    """False where an environment waited after its episode for its group, [T, S, N] bool: a step that did not happen;
    its end flags repeat the last real step. None: all steps are real."""
    replayed: Array | None = None
    """True where an environment took an archived action and not `action`, [T, S, N] bool: a real step that is not
    learned from. None: nowhere."""
    own_log_prob: Array | None = None
    """Log-density of `action` under the member's own policy, [T, S, N]; None if that policy drew all of them."""

    @property
    def weight(self) -> Array:
        """min(1, pi / pi that acted) of every step, [T, S, N], where pi is the member's own policy."""
        xp = namespace(self.reward)
        if self.own_log_prob is None:
            return xp.ones_like(self.reward)
        return xp.exp((self.own_log_prob - self.log_prob).clip(None, 0.0))

    @property
    def trace(self) -> Array | float:
        """The weight of the step after each, [T, S, N]: how far a return may rely on it; 1 if the member itself acted.

        Source: Munos et al., arXiv 1606.02647 (Retrace), section 3.
        """
        if self.own_log_prob is None:
            return 1.0
        trace = namespace(self.reward).ones_like(self.reward)
        trace[:-1] = self.weight[1:]
        return trace


@dataclass(frozen=True)
class Advantages:
    """What an advantage estimator returns."""

    advantage: Array
    """[T, S, N]."""
    value_target: Array | None
    """What the critic regresses on, [T, S, N]; None without a critic."""
    weight: Array | None = None
    """Weight of each step in the losses, [T, S, N]; None: equal weights."""
    log_prob: Array | None = None
    """Log-density in the denominator of the policy's ratio, [T, S, N]; None: the rollout's own."""


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
    value_target: Array | None
    """[S, B]; None without a critic."""
    weight: Array | None = None
    """Weight of each sample in the means over samples, [S, B]; None: equal weights."""
    episode: Array | None = None
    """Number of the episode within the rollout, counted for each member, [S, B] int64; None: not needed."""
    outputs: Array | None = None
    """Mean and log-std of the policy at the beginning of an update, [S, B, 2 A]; None: not needed."""
    cloned: Array | None = None
    """Where the action is to be imitated, whatever its advantage, [S, B] bool; None: nowhere."""
    critic_obs: Array | None = None
    """Normalised observations of `value_target`, [S, B, O]; None: `obs`."""
    critic_weight: Array | None = None
    """Weight of each of them, [S, B]; None: `weight` if they are `obs`, else equal weights."""

    @classmethod
    def of(cls, arrays: dict[str, Array]) -> "Batch":
        """Return the batch of these arrays, given by name; all other fields are None."""
        return cls(**dict.fromkeys(cls.__dataclass_fields__) | arrays)

    @property
    def for_critic(self) -> tuple[Array, Array | None]:
        """What the critic learns from: observations [S, B, O], and their weights [S, B]."""
        return (self.obs, self.weight) if self.critic_obs is None else (self.critic_obs, self.critic_weight)

    def present(self) -> dict[str, Array]:
        """Return the arrays that are not None, by name."""
        return {name: x for name, x in vars(self).items() if x is not None}

    def map(self, change: Callable[[Array], Array]) -> "Batch":
        """Return the batch with every array changed; None stays None."""
        return replace(self, **{name: change(x) for name, x in self.present().items()})


@dataclass(frozen=True)
class EpochStats:
    """Means over the minibatches of one pass over the batch, each [S]; nan where an algorithm has no such number."""

    policy_loss: Array
    value_loss: Array
    entropy: Array
    approx_kl: Array
    clip_fraction: Array
    grad_norm: Array
    step_fraction: Array
    """Share of the longest step in the trust region that the line search took; 0 if no step improved."""

    def on_host(self) -> "EpochStats":
        """Return the numbers as numpy arrays."""
        return EpochStats(**{name: to_numpy(x) for name, x in vars(self).items()})


@dataclass
class Counters:
    """Environment steps of each member by what they were spent on, each [S] int64."""

    train: np.ndarray
    probe: np.ndarray
    eval: np.ndarray

    @classmethod
    def zeros(cls, members: int) -> "Counters":
        """Return counters at zero."""
        return cls(*(np.zeros(members, np.int64) for _ in range(3)))

    @property
    def total(self) -> np.ndarray:
        """Steps that count against the budget: train + probe, [S]."""
        return self.train + self.probe


def by_member(x: Array) -> Array:
    """Turn [T, S, N, ...] into one row of T * N samples per member, [S, T * N, ...]."""
    x = x.swapaxes(0, 1)
    return x.reshape(x.shape[0], -1, *x.shape[3:])


def episode_numbers(ended: Array) -> Array:
    """Number the episodes of each member, given their ends [T, S, N] bool; whole numbers [T, S, N]."""
    ends = ended * 1
    number = (ends[0] * 0 + 1).cumsum(1) - 1
    return ends.cumsum(0) - ends + (len(ended) + 1) * number
