"""Normalised policy gradients of reduced variance: N-PG-IGT and N-HARPG.

Source: Fatkhullin et al., ICML 2023, arXiv 2302.01734. Both step along a running mean of gradients, d, and correct it
for the policy's having moved since: the first by where it samples, the second by a Hessian-vector product.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from rlsparse.algorithms.critic import CriticByAdam
from rlsparse.algorithms.likelihood import LogLikelihood
from rlsparse.algorithms.momentum import MomentumAdam, falling, look_ahead, running_mean, step_along
from rlsparse.algorithms.solve import dot
from rlsparse.algorithms.trust_region import TrustRegion
from rlsparse.errors import UsageError
from rlsparse.learner.arrays import Array, namespace, to_device, to_numpy
from rlsparse.learner.bounds import Count, FractionAboveZero, NotNegative, Positive
from rlsparse.learner.gaussian import gaussian_entropy, share
from rlsparse.learner.layout import Layout, Views
from rlsparse.learner.learner import Learner
from rlsparse.learner.records import Batch, EpochStats
from rlsparse.learner.streams import generator


@dataclass(frozen=True)
class NormalisedMomentum(CriticByAdam):
    """What both have in common: d = (1 - eta) d + eta g, then a step of given length along d."""

    step_length: Positive = 0.1
    """Length of the policy's first step, in the Euclidean norm of actor weights and log-stds together."""
    step_power: NotNegative = 1.0
    """Later steps are this power of 2 / (t + 2) times as long, after t updates."""
    eta_power: FractionAboveZero = 0.8
    """The newest gradient weighs this power of 2 / (t + 2) in the running mean."""

    kind: ClassVar[str]
    """Its name on the command line."""
    epochs: ClassVar[int] = 1
    """Times that an update moves the policy."""
    gives: ClassVar = frozenset({"policy-optimiser-memory"})

    def new_optimiser(self, params: Array, layout: Layout, own_steps: bool) -> MomentumAdam:
        """Return what steps the critics of a learner's parameters [S, D], and remembers the policies' gradients."""
        return MomentumAdam(params, layout, own_steps)

    def eta(self, learner: Learner) -> Array:
        """Return the weight of the next gradient in the running mean, [S, 1]."""
        return falling(memory_of(learner).count, self.eta_power)

    def improve(self, learner: Learner, batch: Batch, at: Array, turn: Array | float) -> EpochStats:
        """Step policies along the mean of gradients, `turn` [S, P] added to the former mean, then fit the critics.

        The batch was drawn by policies `at` [S, P], where the gradient is taken.
        """
        gradient = learner.layout.views(namespace(learner.params).zeros_like(learner.params))
        terms = self._step_policy(learner, batch, gradient, at, turn)
        terms["value_loss"] = self.fit_critic(learner, batch, gradient)
        return EpochStats(**terms)

    def _step_policy(
        self, learner: Learner, batch: Batch, gradient: Views, at: Array, turn: Array | float
    ) -> dict[str, Array]:
        """Take the policies' step; `gradient`, all zeros, is working memory and zero again after."""
        layout, part, memory = learner.layout, learner.layout.policy, memory_of(learner)
        start = learner.params[:, part] * 1
        gradient.flat[:, part] = LogLikelihood(layout, at, batch).gradient(self.coefficients(batch))
        if learner.masks is not None:
            learner.masks.hide(gradient.flat)
        ascent = gradient.flat[:, part] * 1
        gradient.flat[:, part] = 0.0

        memory.direction[...] = running_mean(memory.direction + turn, ascent, self.eta(learner))
        memory.moved[...] = step_along(memory.direction, self.step_length * falling(memory.count, self.step_power))
        memory.count += 1
        region = TrustRegion(layout, start, batch, self.advantages(batch))
        learner.params[:, part] = start + memory.moved
        gain, kl = region(learner.params[:, part])
        none = kl * np.nan
        return {
            "policy_loss": -(region.surrogate + gain),
            "entropy": gaussian_entropy(layout.log_std(learner.params)),
            "approx_kl": kl,
            "clip_fraction": none,
            "grad_norm": dot(ascent, ascent) ** 0.5,
            "step_fraction": none,
        }

    def coefficients(self, batch: Batch) -> Array:
        """Return what each sample's log-probability counts in the objective, [S, B]."""
        return self.advantages(batch) * share(batch.advantage, batch.weight)


@dataclass(frozen=True)
class NPGIGT(NormalisedMomentum):
    """Implicit gradient transport: rollouts are collected ahead of the policy, as far as the mean lags behind it."""

    kind: ClassVar[str] = "n-pg-igt"

    def sampling_point(self, learner: Learner) -> Array:
        """Return the policies that collect the next rollout, [S, P]."""
        own = learner.params[:, learner.layout.policy]
        return look_ahead(own, memory_of(learner).moved, self.eta(learner))

    def update(self, learner: Learner, batch: Batch) -> Iterator[EpochStats]:
        """Improve the learner on the batch that was collected at the `sampling_point`; yields once."""
        yield self.improve(learner, batch, self.sampling_point(learner), 0.0)


@dataclass(frozen=True)
class NHARPG(NormalisedMomentum):
    """Hessian-aided: a second, small rollout between the last two policies tells how the gradient has changed."""

    kind: ClassVar[str] = "n-harpg"
    needs: ClassVar = {
        "single-episodes": "collects a second rollout, and needs episodes that are not compared in groups",
        "cpu-environments": "sums over episodes, and needs environments on the CPU",
    }

    eta_power: FractionAboveZero = 1.0
    """The newest gradient weighs this power of 2 / (t + 2) in the running mean."""
    second_length: Count = 32
    """Steps of every environment for the second rollout, which are training steps as all others."""

    def check(self, recipe: Any) -> None:
        """Raise UsageError unless both rollouts are large enough."""
        super().check(recipe)
        if self.normalise_advantages and self.second_length * recipe.num_envs == 1:
            raise UsageError(
                "--algorithm.second-length 1 of one environment is too little to normalise advantages: use more, or "
                "--algorithm.no-normalise-advantages"
            )

    def steps_per_environment(self, rollout_length: int) -> int:
        """Return the steps that every environment takes between two updates, of both rollouts."""
        return rollout_length + self.second_length

    def sampling_point(self, learner: Learner) -> Array:
        """Return the policies that collect the second rollout, [S, P]: drawn evenly between the last two."""
        memory, layout = memory_of(learner), learner.layout
        counts = to_numpy(memory.count)[:, 0].astype(int)
        drawn = [generator(seed, "between", t).random() for seed, t in zip(learner.seeds, counts.tolist(), strict=True)]
        back = to_device(np.array(drawn, np.float32)[:, None], learner.device)
        return learner.params[:, layout.policy] - back * memory.moved

    def update(self, learner: Learner, batch: Batch, second: Batch) -> Iterator[EpochStats]:
        """Improve the learner on its own batch and one that was collected at the `sampling_point`; yields once."""
        yield self.improve(learner, batch, learner.params[:, learner.layout.policy] * 1, self.change(learner, second))

    def change(self, learner: Learner, second: Batch) -> Array:
        """Estimate how the policies' last steps changed the gradient, [S, P].

        Hess Phi u + sum over trajectories of grad Phi <grad log p, u>, where u is the step, Phi the objective with
        samples and advantages held fixed, and log p the log-probability of a trajectory's actions.
        """
        likelihood = LogLikelihood(learner.layout, self.sampling_point(learner), second)
        step, coefficient = memory_of(learner).moved, self.coefficients(second)
        assert second.episode is not None, "a rollout knows of its episodes"
        of_trajectory = sums_by(likelihood.slope(step), second.episode)
        change = likelihood.hessian_product(coefficient, step) + likelihood.gradient(coefficient * of_trajectory)
        if learner.masks is not None:
            learner.masks.clear(change, learner.layout.policy)
        return change


def memory_of(learner: Learner) -> MomentumAdam:
    """Return what a learner's policies remember."""
    assert isinstance(learner.optimiser, MomentumAdam), "a learner is built with its algorithm's `new_optimiser`"
    return learner.optimiser


def sums_by(x: Array, episode: Array) -> Array:
    """Sum x [S, B] over each episode, at all of its samples; `episode` [S, B] are whole numbers."""
    xp, sums = namespace(x), namespace(x).empty_like(x)
    for out, row, of in zip(sums, x, episode, strict=True):
        out[...] = xp.bincount(of, row)[of]
    return sums
