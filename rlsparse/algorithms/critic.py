"""Fit critics by minibatch Adam, for algorithms whose policies are stepped otherwise."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rlsparse.learner.arrays import Array, namespace, to_device
from rlsparse.learner.gaussian import squared_error, standardise
from rlsparse.learner.layout import Views
from rlsparse.learner.learner import Learner
from rlsparse.learner.minibatch import shuffled_minibatches
from rlsparse.learner.network import backward, forward
from rlsparse.learner.recorded import Recorded
from rlsparse.learner.records import Batch


@dataclass(frozen=True)
class CriticByAdam:
    """Passes of minibatch Adam on the critic's squared error."""

    learning_rate: float = 1e-3
    """Step size of the critic's Adam."""
    learning_rate_decay: bool = False
    """Decay the critic's learning rate linearly to zero over the budget."""
    critic_epochs: int = 10
    """Passes of the critic over each rollout."""
    critic_minibatches: int = 16
    """Parts of equal size that each pass is cut into."""
    adam_epsilon: float = 1e-5
    """Epsilon of the critic's Adam."""
    normalise_advantages: bool = True
    """Standardise the advantages of a rollout."""

    def describe_critic(self, rollouts: int) -> str:
        """Return what is done for the critic with so many rollouts, in words."""
        return f"{rollouts * self.critic_epochs * self.critic_minibatches:,} gradient steps of the critic per seed"

    def learning_rates(self, learner: Learner) -> np.ndarray:
        """Return the step size of each member's critic as its budget stands, [S]."""
        decay = 1.0 - learner.progress if self.learning_rate_decay else np.ones(learner.members)
        return self.learning_rate * decay

    def advantages(self, batch: Batch) -> Array:
        """Return the advantages that the policy learns from, [S, B]."""
        return standardise(batch.advantage, batch.weight) if self.normalise_advantages else batch.advantage

    def fit_critic(self, learner: Learner, batch: Batch, gradient: Views) -> Array:
        """Regress the critics on the value targets; `gradient` is zero for the policy. Returns the mean loss, [S].

        NaN without critics.
        """
        if batch.value_target is None:
            return batch.advantage[:, 0] * math.nan
        rate = to_device(self.learning_rates(learner).astype(np.float32)[:, None], learner.device)
        rate = rate if learner.masks is None else learner.masks.learning_rate(rate)
        step = self._recorded_step(learner, batch) if learner.records_steps else self._step(learner, gradient)
        total = 0.0
        for _ in range(self.critic_epochs):
            for part in shuffled_minibatches(learner, batch, self.critic_minibatches):
                weight = () if part.weight is None else (part.weight,)
                total = total + step(rate, part.obs, part.value_target, *weight)["value_loss"]
        return total / (self.critic_epochs * self.critic_minibatches)

    def _step(self, learner: Learner, gradient: Views) -> Callable[..., dict[str, Array]]:
        """Return the minibatch step: it takes rate, observations, targets and weights, if any, and returns the loss."""
        critic = learner.layout.layers(learner.params, "critic")

        def step(rate: Array, obs: Array, target: Array, weight: Array | None = None) -> dict[str, Array]:
            activations = forward(critic, obs)
            loss, d_value = squared_error(activations[-1][..., 0], target, weight)
            backward(critic, activations, d_value[..., None], gradient.critic)
            if learner.masks is not None:
                learner.masks.hide(gradient.flat)
            learner.optimiser.step(learner.params, gradient.flat, rate, self.adam_epsilon)
            return {"value_loss": loss}

        return step

    def _recorded_step(self, learner: Learner, batch: Batch) -> Recorded:
        """Return the same step as a recording, with a gradient of its own."""

        def build() -> Callable[..., dict[str, Array]]:
            gradient = namespace(learner.params).zeros_like(learner.params)
            return self._step(learner, learner.layout.views(gradient))

        return learner.recording((self, "critic", batch.weight is None), build)
