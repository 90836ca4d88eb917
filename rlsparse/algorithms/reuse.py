"""PPO on the last rollouts instead of the newest alone: steps of earlier policies, weighted for the one that learns.

Source: Queeney, Paschalidis, Cassandras, arXiv 2111.00072 (generalised proximal policy optimisation).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from rlsparse.algorithms.surrogate import Clip
from rlsparse.learner.archive import NoArchive
from rlsparse.learner.arrays import Array, as_float32, namespace, to_device, to_numpy
from rlsparse.learner.bounds import Count
from rlsparse.learner.layout import Layout
from rlsparse.learner.learner import Learner
from rlsparse.learner.records import Advantages, Batch, Rollout


@dataclass(frozen=True)
class Reuse(Clip):
    """The clipped surrogate on the last rollouts, each step weighted by min(1, pi / pi that acted).

    pi is the policy before the update, to which the clipped ratio is relative too: with a weight below 1 this clips the
    ratio to the policy that acted around that weight (equation 7 of the source). Advantages are estimated anew with the
    present critic and corrected returns, and standardised by weight over all rollouts.
    """

    needs: ClassVar = {
        "corrected-returns": "learns from steps of earlier policies, and needs an estimator that corrects for them",
    }

    rollouts: Count = 4
    """Rollouts from which an update learns, the newest included."""

    def archive(self, members: int, num_envs: int, layout: Layout) -> "LastRollouts":
        """Return the memory of the last rollouts of S members with N environments each."""
        return LastRollouts(members, num_envs, layout)

    def with_earlier(self, learner: Learner, newest: Rollout) -> list[Rollout]:
        """Return the last rollouts as the present networks see them, the newest first, which is remembered."""
        memory = learner.archive
        assert isinstance(memory, LastRollouts)
        earlier = [seen_now(learner, rollout) for rollout in memory.on(learner.simulated_on)]
        memory.add(newest, self.rollouts - 1)
        return [newest, *earlier]

    def batch(self, learner: Learner, rollouts: Sequence[Rollout], advantages: Sequence[Advantages]) -> Batch:
        """Return all rollouts as one batch, weighted, with advantages standardised by weight."""
        parts = [learner.batch(*weighted(*pair)) for pair in zip(rollouts, advantages, strict=True)]
        whole = {name: concatenated([getattr(part, name) for part in parts]) for name in parts[0].present()}
        whole["advantage"] = standardised(whole["advantage"], whole["weight"])
        return Batch.of(whole)


def weighted(rollout: Rollout, advantages: Advantages) -> tuple[Rollout, Advantages]:
    """Return a rollout and its advantages, weighted for the present policy; those of V-trace have their weights."""
    if advantages.log_prob is not None:
        return rollout, replace(advantages, weight=namespace(rollout.reward).ones_like(rollout.reward))
    return rollout, replace(advantages, weight=as_float32(rollout.weight), log_prob=rollout.own_log_prob)


def standardised(x: Array, weight: Array) -> Array:
    """Return numbers [S, B] with weighted mean 0 and weighted mean square 1."""
    share = weight / weight.sum(-1)[:, None]
    centred = x - (share * x).sum(-1)[:, None]
    return centred / ((share * centred * centred).sum(-1)[:, None] ** 0.5 + 1e-8)


def concatenated(parts: Sequence[Array]) -> Array:
    """Return the samples of all parts [S, B, ...], one part after the other."""
    return namespace(parts[0]).concatenate(parts, 1)


def seen_now(learner: Learner, earlier: Rollout) -> Rollout:
    """Return a rollout with values and log-densities of the present networks.

    The values of observations that are not stored, after the last step and at the ends of episodes, remain.
    """
    value = learner.values(earlier.obs)
    assert earlier.next_value is not None
    ended, next_value = (earlier.terminated | earlier.truncated)[:-1], earlier.next_value + 0
    next_value[:-1] = namespace(value).where(ended, next_value[:-1], value[1:])
    own = learner.log_prob(earlier.obs, earlier.action)
    return replace(earlier, value=value, next_value=next_value, own_log_prob=as_float32(own))


FLAGS = ("terminated", "truncated")
KEPT = ("obs", "action", "log_prob", "reward", "next_value", *FLAGS)
"""The arrays of a rollout that cannot be computed again."""


class LastRollouts(NoArchive):
    """The last rollouts of S members, the newest first."""

    def __init__(self, members: int, num_envs: int, layout: Layout) -> None:
        steps, flags = np.zeros((members, 0, 0, num_envs), np.float32), np.zeros((members, 0, 0, num_envs), bool)
        self._nothing = dict.fromkeys(KEPT, steps) | dict.fromkeys(FLAGS, flags)
        for name, size in (("obs", layout.obs_size), ("action", layout.action_size)):
            self._nothing[name] = np.zeros((*steps.shape, size), np.float32)
        self.kept: list[Rollout] = []

    def add(self, newest: Rollout, most: int) -> None:
        """Add a rollout, and keep at most so many."""
        arrays = {name: getattr(newest, name) for name in KEPT}
        arrays |= {name: as_float32(x) for name, x in arrays.items() if name not in FLAGS}
        self.kept = [Rollout(**arrays, value=None), *self.kept][:most]

    def on(self, device: str) -> list[Rollout]:
        """Return the kept rollouts where environments live; those of a checkpoint are on the host."""
        if device != "cpu" and self.kept and isinstance(self.kept[-1].obs, np.ndarray):
            arrays = [{name: to_device(to_numpy(getattr(x, name)), device) for name in KEPT} for x in self.kept]
            self.kept = [Rollout(**own, value=None) for own in arrays]
        return self.kept

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return all kept rollouts by array, [S, K, T, N, ...]."""
        if not self.kept:
            return dict(self._nothing)
        return {name: np.stack([to_numpy(getattr(x, name)).swapaxes(0, 1) for x in self.kept], 1) for name in KEPT}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Restore the state that `state_dict` returned."""
        rows = range(state["obs"].shape[1])
        arrays = [{name: state[name][:, k].swapaxes(0, 1) for name in KEPT} for k in rows]
        self.kept = [Rollout(**own, value=None) for own in arrays]
