"""Proximal policy optimisation with the clipped surrogate. Source: Schulman et al., arXiv 1707.06347."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from rlsparse.algorithms.algorithm import Collects, OnPolicy
from rlsparse.algorithms.choices import OPTIMISERS, Objective
from rlsparse.algorithms.surrogate import Clip
from rlsparse.errors import UsageError
from rlsparse.learner.adam import Optimiser
from rlsparse.learner.archive import NoArchive
from rlsparse.learner.arrays import Array, as_float32, namespace, to_device
from rlsparse.learner.bounds import Count, NotNegative, Positive, Varying
from rlsparse.learner.gaussian import gaussian_entropy, squared_error
from rlsparse.learner.kinds import kind_of
from rlsparse.learner.layout import Layout, Views
from rlsparse.learner.learner import Learner
from rlsparse.learner.minibatch import check_minibatches, shuffled_minibatches
from rlsparse.learner.network import backward, forward
from rlsparse.learner.records import Advantages, Batch, EpochStats, Rollout
from rlsparse.learner.sparsity import Terms
from rlsparse.learner.stopped import Stopped


@dataclass(frozen=True)
class PPO(OnPolicy):
    """Several epochs of minibatch steps on the clipped surrogate, a squared value error and an entropy bonus."""

    learning_rate: Varying[Positive] = 3e-4
    """The optimiser's step size."""
    learning_rate_decay: bool = False
    """Decay the learning rate linearly to zero over the budget."""
    epochs: Count = 10
    """Passes over each rollout."""
    minibatches: Count = 32
    """Number of equal parts into which each pass is cut."""
    clip_range: Varying[Positive] = 0.2
    """Distance of the probability ratio from 1 beyond which it gains nothing."""
    entropy_coef: Varying[NotNegative] = 0.0
    """Weight of the entropy bonus."""
    value_coef: Varying[NotNegative] = 0.5
    """Weight of the critic's mean squared error."""
    max_grad_norm: Varying[Positive] = 0.5
    """Largest Euclidean norm of a member's gradient; longer ones are scaled down."""
    target_kl: Varying[Positive] | None = None
    """A member stops its update once the approximate KL of a minibatch exceeds 1.5 times this."""
    normalise_advantages: bool = True
    """Standardise advantages in every minibatch."""
    adam_epsilon: Varying[Positive] = 1e-5
    """The optimiser's epsilon."""
    objective: Objective = field(default_factory=Clip)
    """What the policy follows: the clipped surrogate, or another objective."""
    optimiser: Literal["adam", "diffgrad", "adamp", "sgdp"] = "adam"
    """The optimiser; all except adam need rlsparse[optimisers]."""

    @property
    def needs(self) -> Mapping[str, str]:
        """What else a recipe must have: the package's optimisers take their step sizes as numbers of the host."""
        if self.optimiser == "adam":
            return {}
        return {"cpu-environments": "steps layer by layer, led by the host, and needs environments on the CPU"}

    @property
    def gives(self) -> frozenset[str]:
        """The traits on which other components may rely, those of the objective included."""
        adam = {"adam"} if self.optimiser == "adam" else set()
        return frozenset({"minibatches", "own-rollout", "policy-optimiser-memory", *adam, *self.objective.gives})

    def check(self, recipe: Any) -> None:
        """Raise UsageError unless rollouts can be cut into these minibatches."""
        if self.objective.whole_episodes and self.minibatches > 1:
            raise UsageError(
                f"--algorithm.objective {kind_of(type(self.objective))} weighs whole episodes, which "
                f"--algorithm.minibatches {self.minibatches} would tear apart: use --algorithm.minibatches 1"
            )
        check_minibatches("minibatches", self.minibatches, recipe, self.normalise_advantages)

    def describe(self, rollouts: int) -> str:
        """Describe the updates of this number of rollouts, in words."""
        steps = f"{rollouts * self.epochs * self.minibatches:,} gradient steps per seed"
        return steps + (", fewer where --algorithm.target-kl ends one early" if self.target_kl is not None else "")

    def update(self, learner: Learner, batch: Batch) -> Iterator[EpochStats]:
        """Improve the learner on the batch, yielding after every epoch; stops when all members have."""
        rate = to_device(self.learning_rates(learner).astype(np.float32)[:, None], learner.device)
        batch = self.objective.begin(batch, learner.layout.views(learner.params))
        gradient, step = self._gradient_and_step(learner, batch, rate)
        stopped, epoch_stats = Stopped(learner), None
        for _ in range(self.epochs):
            history: list[tuple[Array, Terms]] = []
            for minibatch in shuffled_minibatches(learner, batch, self.minibatches, self.normalise_advantages):
                stats = gradient(minibatch)
                if learner.sparsity.acting:
                    history.append((~stopped.members, stats))
                    if self.target_kl is not None and stopped.add(stats["approx_kl"] > 1.5 * self.target_kl):
                        break
                step(stats)
            stopped.restore()
            epoch_stats = mean_stats(history, epoch_stats)
            yield epoch_stats
            if stopped.all():
                return

    def _gradient_and_step(
        self, learner: Learner, batch: Batch, rate: Array
    ) -> tuple[Callable[[Batch], Terms], Callable[[Terms], None]]:
        """Return a function for a minibatch's gradient and statistics, and one for the step.

        Where steps are recorded, the first one does both.
        """
        params = learner.layout.views(learner.params)
        flat = namespace(learner.params).empty_like(learner.params)
        gradient = learner.layout.views(flat)

        def compute(minibatch: Batch) -> Terms:
            return learner.gradient(self.loss_gradient, params, minibatch, gradient)

        def step(stats: Terms, rate: Array = rate) -> None:
            clip_by_norm(flat, stats["grad_norm"], self.max_grad_norm)
            learner.step(flat, rate, self.adam_epsilon, self.max_grad_norm)

        if not learner.records_steps or self.target_kl is not None:
            return compute, step

        def both(minibatch: Batch, rate: Array) -> Terms:
            stats = compute(minibatch)
            step(stats, rate)
            return stats

        recorded = learner.recorded_step((self, "minibatch"), both, batch)
        return lambda minibatch: recorded(minibatch, rate), lambda stats: None

    def collect(
        self, learner: Learner, collector: Collects, length: int, gamma: float, acting: np.ndarray | None
    ) -> list[Rollout]:
        """Collect a rollout; the objective may add earlier ones."""
        return self.objective.with_earlier(learner, collector.collect(learner, length, gamma, acting))

    def batch(self, learner: Learner, rollouts: Sequence[Rollout], advantages: Sequence[Advantages]) -> Batch:
        """Return the batch for `update`, as the objective makes it."""
        return self.objective.batch(learner, rollouts, advantages)

    def archive(self, members: int, num_envs: int, layout: Layout) -> NoArchive:
        """Return the archive of episodes of S members with N environments each."""
        return self.objective.archive(members, num_envs, layout)

    def new_optimiser(self, params: Array, layout: Layout, own_steps: bool) -> Optimiser:
        """Return the optimiser of the parameters [S, D] of a learner."""
        return OPTIMISERS[self.optimiser](params, layout, own_steps)

    def learning_rates(self, learner: Learner) -> np.ndarray:
        """Return the optimiser's present step size for each member, [S]."""
        decay = 1.0 - learner.progress if self.learning_rate_decay else np.ones(learner.members)
        return self.learning_rate * decay

    def scalars(self, stats: EpochStats, member: int) -> dict[str, float]:
        """Return a member's numbers for TensorBoard that only this algorithm has, by tag."""
        return {"train/clip_fraction": stats.clip_fraction[member], "train/clip_range": self.clip_range}

    def loss_gradient(self, params: Views, batch: Batch, gradient: Views) -> Terms:
        """Write the gradient of every member's loss into `gradient`; return the loss terms, [S].

        loss = objective + value_coef * squared error - entropy_coef * entropy, means by weight over [S, B]; the
        advantages are those that the objective weighs, standardised already.
        """
        terms = self.policy_gradient(params, batch, gradient)
        return terms | {"value_loss": self.value_gradient(params, batch, gradient)}

    def policy_gradient(self, params: Views, batch: Batch, gradient: Views) -> Terms:
        """Write the gradient of objective and entropy bonus with respect to actor and log-std."""
        activations = forward(params.actor, batch.obs)
        outputs, deviation = activations[-1], params.actor.deviation
        mean, log_std = deviation.distribution(outputs, params.log_std)
        terms, d_mean, d_log_std = self.objective.gradient(mean, log_std, batch, self.clip_range)
        d_log_std = d_log_std - self.entropy_coef / log_std.shape[1]
        d_outputs, gradient.log_std[...] = deviation.gradient(outputs, d_mean, d_log_std)
        backward(params.actor, activations, d_outputs, gradient.actor)
        return terms | {"entropy": gaussian_entropy(log_std.mean(1))}

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
    gradient *= (max_norm / (norm + 1e-6)).clip(0.0, 1.0)[:, None]


def mean_stats(history: list[tuple[Array, Terms]], before: EpochStats | None) -> EpochStats:
    """Average each statistic over an epoch's minibatches in which a member was learning, [S] bool.

    A member that learned in no minibatch keeps its statistics of the epoch `before`.
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
