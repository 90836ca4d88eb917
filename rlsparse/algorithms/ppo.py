"""Proximal policy optimisation with the clipped surrogate. Source: Schulman et al., arXiv 1707.06347."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from rlsparse.algorithms.surrogate import Clip, Objective
from rlsparse.algorithms.torch_optimiser import TorchOptimiser
from rlsparse.learner.adam import Adam, Optimiser
from rlsparse.learner.arrays import Array, as_float32, namespace, to_device
from rlsparse.learner.gaussian import gaussian_entropy, squared_error, standardise
from rlsparse.learner.layout import Layout, Views
from rlsparse.learner.learner import Learner
from rlsparse.learner.minibatch import shuffled_minibatches
from rlsparse.learner.network import backward, forward
from rlsparse.learner.recorded import Recorded
from rlsparse.learner.records import Batch, EpochStats
from rlsparse.learner.stopped import stopped_members
from rlsparse.sparse.ast import SubNetworks
from rlsparse.sparse.dcil import DensePath
from rlsparse.sparse.masks import Masks


@dataclass(frozen=True)
class PPO:
    """Several epochs of minibatch steps on the clipped surrogate, a squared value error and an entropy bonus."""

    learning_rate: float = 3e-4
    """The optimiser's step size."""
    learning_rate_decay: bool = False
    """Decay the learning rate linearly to zero over the budget."""
    epochs: int = 10
    """Passes over each rollout."""
    minibatches: int = 32
    """Parts of equal size that each pass is cut into."""
    clip_range: float = 0.2
    """How far from 1 the probability ratio may be rewarded for going."""
    entropy_coef: float = 0.0
    """Weight of the entropy bonus."""
    value_coef: float = 0.5
    """Weight of the critic's mean squared error."""
    max_grad_norm: float = 0.5
    """Largest Euclidean norm of a member's gradient; longer ones are scaled down."""
    target_kl: float | None = None
    """A member stops its update once the approximate KL of a minibatch exceeds 1.5 times this."""
    normalise_advantages: bool = True
    """Standardise advantages in every minibatch."""
    adam_epsilon: float = 1e-5
    """The optimiser's epsilon."""
    objective: Objective = field(default_factory=Clip)
    """What the policy follows: the clipped surrogate, or what takes its place."""
    optimiser: Literal["adam", "diffgrad", "adamp", "sgdp"] = "adam"
    """What steps down the gradient; all but adam need rlsparse[optimisers]."""

    def describe(self, rollouts: int) -> str:
        """Return what is done with so many rollouts, in words."""
        steps = f"{rollouts * self.epochs * self.minibatches:,} gradient steps per seed"
        return steps + (", fewer where --algorithm.target-kl ends one early" if self.target_kl is not None else "")

    def update(self, learner: Learner, batch: Batch) -> Iterator[EpochStats]:
        """Improve the learner on the batch, yielding after every epoch; stops when all members have."""
        dense_rate = to_device(self.learning_rates(learner).astype(np.float32)[:, None], learner.device)
        rate = dense_rate if learner.masks is None else learner.masks.learning_rate(dense_rate)
        params = learner.layout.views(learner.params)
        gradient = learner.layout.views(namespace(learner.params).empty_like(learner.params))
        batch = self.objective.begin(batch, params)
        stopped, epoch_stats = stopped_members(learner), None
        whole = self.objective.whole_episodes or self.target_kl is not None
        recorded = self._recorded_step(learner, batch) if learner.records_steps and not whole else None
        for _ in range(self.epochs):
            history: list[tuple[Array, dict[str, Array]]] = []
            for minibatch in shuffled_minibatches(learner, batch, self.minibatches):
                if recorded is not None:
                    history.append((~stopped.members, recorded(rate, *minibatch.present().values())))
                    continue
                stats = self._next_gradient(learner, params, minibatch, gradient)
                if learner.sub_networks is None or learner.sub_networks.acting:
                    history.append((~stopped.members, stats))
                    if self.target_kl is not None and stopped.add(stats["approx_kl"] > 1.5 * self.target_kl):
                        break
                clip_by_norm(gradient.flat, stats["grad_norm"], self.max_grad_norm)
                if learner.dense_path is not None and learner.dense_path.is_open:
                    self._train_absent(learner.dense_path, learner, minibatch, dense_rate)
                learner.optimiser.step(learner.params, gradient.flat, rate, self.adam_epsilon)
            stopped.restore()
            epoch_stats = mean_stats(history, epoch_stats)
            yield epoch_stats
            if stopped.all():
                return

    def _recorded_step(self, learner: Learner, batch: Batch) -> Recorded:
        """Return a minibatch step of learning rate and samples, the same one in every update that has these arrays."""
        names = batch.present().keys()

        def build() -> Callable[..., dict[str, Array]]:
            params = learner.layout.views(learner.params)
            gradient = learner.layout.views(namespace(learner.params).empty_like(learner.params))

            def step(rate: Array, *samples: Array) -> dict[str, Array]:
                minibatch = Batch.of(dict(zip(names, samples, strict=True)))
                stats = self.loss_gradient(params, minibatch, gradient)
                clip_by_norm(gradient.flat, stats["grad_norm"], self.max_grad_norm)
                learner.optimiser.step(learner.params, gradient.flat, rate, self.adam_epsilon)
                return stats

            return step

        return learner.recording((self, *names), build)

    def new_optimiser(self, params: Array, layout: Layout, own_steps: bool) -> Optimiser:
        """Return what steps the parameters [S, D] of a learner."""
        if self.optimiser == "adam":
            return Adam(params, own_steps)
        return TorchOptimiser(self.optimiser, params, layout)

    def learning_rates(self, learner: Learner) -> np.ndarray:
        """Return the optimiser's step size for each member as its budget stands, [S]."""
        decay = 1.0 - learner.progress if self.learning_rate_decay else np.ones(learner.members)
        return self.learning_rate * decay

    def loss_gradient(
        self, params: Views, batch: Batch, gradient: Views, masks: Masks | SubNetworks | None = None
    ) -> dict[str, Array]:
        """Write the gradient of every member's loss into `gradient`; return the loss terms, [S].

        loss = objective + value_coef * squared error - entropy_coef * entropy, means by weight over [S, B]. With masks,
        the gradient of absent weights is zero, in its norm too.
        """
        policy_terms = self.policy_gradient(params, batch, gradient)
        value_loss = self.value_gradient(params, batch, gradient)
        if masks is not None:
            masks.hide(gradient.flat)
        return policy_terms | {"value_loss": value_loss, "grad_norm": (gradient.flat * gradient.flat).sum(-1) ** 0.5}

    def _next_gradient(self, learner: Learner, params: Views, batch: Batch, gradient: Views) -> dict[str, Array]:
        """Write the gradient of the network whose turn it is: the only one there is, if there are no sub-networks."""
        networks = learner.sub_networks
        if networks is None:
            return self.loss_gradient(params, batch, gradient, learner.masks)
        return self.loss_gradient(networks.next(params.flat), batch, gradient, networks)

    def _train_absent(self, path: DensePath, learner: Learner, minibatch: Batch, rate: Array) -> None:
        """Step the absent weights by their gradient in the dense network, whose loss is of the same form."""
        self.loss_gradient(path.whole(learner.params), minibatch, path.gradient)
        path.step(learner.optimiser, rate, self.adam_epsilon, self.max_grad_norm)

    def policy_gradient(self, params: Views, batch: Batch, gradient: Views) -> dict[str, Array]:
        """Write the gradient of objective and entropy bonus with respect to actor and log-std."""
        advantage = standardise(batch.advantage, batch.weight) if self.normalise_advantages else batch.advantage
        activations = forward(params.actor, batch.obs)
        terms, d_mean, d_log_std = self.objective.gradient(
            activations[-1], params.log_std, batch, advantage, self.clip_range
        )
        backward(params.actor, activations, d_mean, gradient.actor)
        gradient.log_std[...] = d_log_std - self.entropy_coef
        return terms | {"entropy": gaussian_entropy(params.log_std)}

    def value_gradient(self, params: Views, batch: Batch, gradient: Views) -> Array:
        """Write the gradient of value_coef * squared error with respect to the critic; return the error, [S].

        NaN without a critic.
        """
        if batch.value_target is None:
            return batch.advantage[:, 0] * math.nan
        obs, weight = batch.for_critic
        activations = forward(params.critic, obs)
        value_loss, d_value = squared_error(activations[-1][..., 0], batch.value_target, weight)
        backward(params.critic, activations, (self.value_coef * d_value)[..., None], gradient.critic)
        return value_loss


def clip_by_norm(gradient: Array, norm: Array, max_norm: float) -> None:
    """Scale each member's gradient [S, D] of the given norm [S] down to at most `max_norm`, in place."""
    xp = namespace(gradient)
    gradient *= xp.clip(max_norm / (norm + 1e-6), 0.0, 1.0)[:, None]


def mean_stats(history: list[tuple[Array, dict[str, Array]]], before: EpochStats | None) -> EpochStats:
    """Average each statistic over an epoch's minibatches in which a member was learning, [S] bool.

    A member that learned in none keeps its statistics of the epoch `before`.
    """
    xp = namespace(history[0][0])
    counts = xp.stack([learning for learning, _ in history]).sum(0)

    def mean(name: str) -> Array:
        # one after the other, so that a member's sum does not depend on the number of members
        total = sum(xp.where(learning, stats[name], 0.0) for learning, stats in history)
        average = as_float32(total / xp.clip(counts, 1, None))
        return average if before is None else xp.where(counts > 0, average, getattr(before, name))

    means = {name: mean(name) for name in history[0][1]}
    return EpochStats(**means, step_fraction=means["entropy"] * math.nan)
