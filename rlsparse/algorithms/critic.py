"""Fit critics by minibatch Adam, for algorithms that move their policies in another way."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rlsparse.algorithms.algorithm import OnPolicy
from rlsparse.errors import UsageError
from rlsparse.learner.arrays import Array, to_device
from rlsparse.learner.bounds import Count, Positive, Varying
from rlsparse.learner.gaussian import squared_error, standardise
from rlsparse.learner.layout import Views
from rlsparse.learner.learner import Learner
from rlsparse.learner.minibatch import check_minibatches, shuffled_minibatches
from rlsparse.learner.network import backward, forward
from rlsparse.learner.records import Batch
from rlsparse.learner.sparsity import Terms


@dataclass(frozen=True)
class CriticByAdam(OnPolicy):
    """Passes of minibatch Adam on the critic's squared error."""

    learning_rate: Varying[Positive] = 1e-3
    """Step size of the critic's Adam."""
    learning_rate_decay: bool = False
    """Decay the critic's learning rate linearly to zero over the budget."""
    critic_epochs: Count = 10
    """Passes of the critic over each rollout."""
    critic_minibatches: Count = 16
    """Number of equal parts into which each pass is cut."""
    adam_epsilon: Varying[Positive] = 1e-5
    """Epsilon of the critic's Adam."""
    normalise_advantages: bool = True
    """Standardise the advantages of a rollout."""

    def check(self, recipe: Any) -> None:
        """Raise UsageError unless the critic's minibatches fit the rollouts."""
        if self.normalise_advantages and recipe.batch_size == 1:
            raise UsageError(
                "rollouts of one sample are too few to normalise advantages: use a longer --rollout-length, or "
                "--algorithm.no-normalise-advantages"
            )
        check_minibatches("critic-minibatches", self.critic_minibatches, recipe, normalises=False)

    def describe_critic(self, rollouts: int) -> str:
        """Describe the critic's updates over this number of rollouts, in words."""
        return f"{rollouts * self.critic_epochs * self.critic_minibatches:,} gradient steps of the critic per seed"

    def learning_rates(self, learner: Learner) -> np.ndarray:
        """Return the present step size of each member's critic, [S]."""
        decay = 1.0 - learner.progress if self.learning_rate_decay else np.ones(learner.members)
        return self.learning_rate * decay

    def advantages(self, batch: Batch) -> Array:
        """Return the advantages for the policy's step, [S, B]."""
        return standardise(batch.advantage, batch.weight) if self.normalise_advantages else batch.advantage

    def fit_critic(self, learner: Learner, batch: Batch, gradient: Views) -> Array:
        """Regress the critics on the value targets; `gradient` is zero for the policy. Returns the mean loss, [S].

        NaN without critics.
        """
        if batch.value_target is None:
            return batch.advantage[:, 0] * math.nan
        rate = to_device(self.learning_rates(learner).astype(np.float32)[:, None], learner.device)
        step = self._critic_step(learner, gradient)
        if learner.records_steps:
            step = learner.recorded_step((self, "critic"), step, _of_critic(batch))
        total = 0.0
        for _ in range(self.critic_epochs):
            for part in shuffled_minibatches(learner, _of_critic(batch), self.critic_minibatches):
                total = total + step(part, rate)["value_loss"]
        return total / (self.critic_epochs * self.critic_minibatches)

    def _critic_step(self, learner: Learner, gradient: Views) -> Callable[..., Terms]:
        """Return the step on a minibatch at a learning rate [S, 1]; it returns the loss, [S]."""
        critic = learner.layout.layers(learner.params, "critic")

        def step(part: Batch, rate: Array) -> Terms:
            activations = forward(critic, part.obs)
            loss, d_value = squared_error(activations[-1][..., 0], part.value_target, part.weight)
            backward(critic, activations, d_value[..., None], gradient.critic)
            learner.sparsity.hide(gradient.flat)
            learner.step(gradient.flat, rate, self.adam_epsilon)
            return {"value_loss": loss}

        return step


def _of_critic(batch: Batch) -> Batch:
    """Return the batch with the critic's arrays only."""
    return Batch.of({name: x for name, x in batch.present().items() if name in ("obs", "value_target", "weight")})
