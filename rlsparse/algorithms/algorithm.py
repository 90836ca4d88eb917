"""What the loop calls on an algorithm; by default one rollout by the present policies, and no archive."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from rlsparse.learner.adam import Optimiser, adam
from rlsparse.learner.archive import NoArchive
from rlsparse.learner.arrays import Array
from rlsparse.learner.layout import Layout
from rlsparse.learner.learner import Learner
from rlsparse.learner.records import Advantages, Batch, EpochStats, Rollout


class Collects(Protocol):
    """An object that steps the environments."""

    def collect(self, learner: Learner, length: int, gamma: float, acting: np.ndarray | None = None) -> Rollout:
        """Take `length` steps in every environment; `acting` [S, N, P] gives each environment its own actor."""


class OnPolicy:
    """An algorithm that learns from one rollout of its own policies and has no memory of episodes."""

    epochs = 1
    """Passes of an update, in each of which the policy moves."""
    second_length = 0
    """Steps of every environment for a second rollout of each iteration."""

    def collect(
        self, learner: Learner, collector: Collects, length: int, gamma: float, acting: np.ndarray | None
    ) -> list[Rollout]:
        """Collect the rollouts from which an update learns."""
        return [collector.collect(learner, length, gamma, acting)]

    def batch(self, learner: Learner, rollouts: Sequence[Rollout], advantages: Sequence[Advantages]) -> Batch:
        """Return the batch for `update`, given the rollouts and their advantages."""
        return learner.batch(rollouts[0], advantages[0])

    def update(self, learner: Learner, batch: Batch) -> Iterator[EpochStats]:
        """Improve the learner on the batch, yielding after every epoch."""
        raise NotImplementedError

    def archive(self, members: int, num_envs: int, layout: Layout) -> NoArchive:
        """Return the archive of episodes of S members with N environments each."""
        return NoArchive()

    def new_optimiser(self, params: Array, layout: Layout, own_steps: bool) -> Optimiser:
        """Return the optimiser of the parameters [S, D] of a learner."""
        return adam(params, layout, own_steps)

    def learning_rates(self, learner: Learner) -> np.ndarray:
        """Return the optimiser's present step size of each member, [S]."""
        raise NotImplementedError

    def scalars(self, stats: EpochStats, member: int) -> dict[str, float]:
        """Return a member's numbers for TensorBoard that only this algorithm has, by tag."""
        return {}
