"""Normalised policy gradients of reduced variance: N-PG-IGT and N-HARPG.

Source: Fatkhullin et al., ICML 2023, arXiv 2302.01734. Both step along a running mean of gradients, d, and correct it
for later moves of the policy: the first by the policy that collects samples, the second by a Hessian-vector product.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from rlsparse.algorithms.algorithm import Collects
from rlsparse.algorithms.critic import CriticByAdam
from rlsparse.algorithms.natural_gradient import NEEDS, TrustRegion, dot
from rlsparse.algorithms.surrogate import likelihood_gradient
from rlsparse.errors import UsageError
from rlsparse.learner.adam import Adam
from rlsparse.learner.arrays import Array, namespace, sum_by_group, to_device, to_numpy
from rlsparse.learner.bounds import Count, FractionAboveZero, NotNegative, Positive, Varying
from rlsparse.learner.gaussian import gaussian_entropy, share
from rlsparse.learner.layout import Layout, Views
from rlsparse.learner.learner import Learner
from rlsparse.learner.network import backward, forward, slopes_of, tangents
from rlsparse.learner.records import Advantages, Batch, EpochStats, Rollout
from rlsparse.learner.streams import generator


def falling(count: Array, power: float) -> Array:
    """(2 / (count + 2)) ** power, after `count` updates [S, 1]; it begins at 1."""
    return (2.0 / (count + 2.0)) ** power


def look_ahead(policy: Array, moved: Array, eta: Array) -> Array:
    """The policy that collects for N-PG-IGT: policy [S, P] + (1 - eta) / eta * its last step [S, P], for eta [S, 1].

    If gradients are linear in the policy, the mean of the gradients taken there is the gradient at the policy.
    """
    return policy + (1.0 - eta) / eta * moved


def running_mean(direction: Array, gradient: Array, eta: Array) -> Array:
    """(1 - eta) * direction + eta * gradient, [S, P] each, for eta [S, 1]."""
    return (1.0 - eta) * direction + eta * gradient


def step_along(direction: Array, length: Array) -> Array:
    """Step [S, P] of this length [S, 1] along each direction [S, P]; zero where the direction is zero."""
    xp, norm = namespace(direction), dot(direction, direction)[:, None] ** 0.5
    return length * direction / xp.where(norm > 0, norm, 1.0)


class MomentumAdam(Adam):
    """Adam for the critics, and the memory of policies that step along a running mean."""

    def __init__(self, params: Array, layout: Layout, own_steps: bool) -> None:
        super().__init__(params, own_steps)
        xp, policy = namespace(params), params[:, layout.policy]
        self.direction = xp.zeros_like(policy)
        """The running mean of gradients, [S, P]."""
        self.moved = xp.zeros_like(policy)
        """The policy's last step, [S, P]."""
        self.count = xp.zeros_like(params[:, :1])
        """Steps of the policy, [S, 1]."""

    def restart(self, where: Array) -> None:
        """Forget everything about the parameters marked in `where`, [S, D] bool."""
        super().restart(where)
        for array in (self.direction, self.moved):
            array[where[:, : array.shape[1]]] = 0.0

    def forget(self, member: int, moments: Literal["keep", "reset", "transport"], part: slice) -> None:
        """Adapt the memory of a member after its parameters `part` were changed by other code.

        Keep it, the last step too; reset it; or reset mean and last step of `part`.
        """
        super().forget(member, moments, part)
        if moments == "transport":
            for array in (self.direction, self.moved):
                array[member, part] = 0.0

    def state_dict(self) -> dict[str, Array]:
        """Return all arrays on which steps depend; they are live, not copies."""
        return super().state_dict() | {"direction": self.direction, "moved": self.moved, "count": self.count}


class LogLikelihood:
    """log pi(action | obs) of every sample as a function of actor and log-std, around policies [S, P]."""

    def __init__(self, layout: Layout, policy: Array, batch: Batch) -> None:
        self._layout, self._policy = layout, policy
        self._layers = layout.layers(policy, "actor")
        self._activations = forward(self._layers, batch.obs)
        self._slopes = slopes_of(self._layers, self._activations)
        self._inv_std = namespace(policy).exp(-layout.log_std(policy))[:, None, :]
        self._noise = (batch.action - self._activations[-1]) * self._inv_std

    def gradient(self, coefficient: Array) -> Array:
        """Return sum over samples of coefficient * grad log pi for coefficients [S, B]; [S, P]."""
        image = namespace(self._policy).empty_like(self._policy)
        d_mean, self._layout.log_std(image)[...] = likelihood_gradient(coefficient, self._noise, self._inv_std)
        backward(self._layers, self._activations, d_mean, self._layout.layers(image, "actor"), self._slopes)
        return image

    def slope(self, direction: Array) -> Array:
        """Return <grad log pi, direction> of every sample for a direction [S, P]; [S, B]."""
        moved_mean = self._tangents(direction)[-1]
        stretch = self._layout.log_std(direction)[:, None, :]
        return (self._noise * self._inv_std * moved_mean + (self._noise * self._noise - 1.0) * stretch).sum(-1)

    def hessian_product(self, coefficient: Array, direction: Array) -> Array:
        """Return sum over samples of coefficient * Hess log pi * direction, for [S, B] and [S, P]; [S, P].

        It is the derivative along the direction of what `gradient` computes.
        Source: Pearlmutter, Neural Comput. 6 (1994) 147.
        """
        xp, layout = namespace(direction), self._layout
        image = xp.empty_like(direction)
        moved = self._tangents(direction)
        stretch, noise, weight = layout.log_std(direction)[:, None, :], self._noise, coefficient[..., None]
        moved_noise = -moved[-1] * self._inv_std - noise * stretch
        layout.log_std(image)[...] = (2.0 * weight * noise * moved_noise).sum(1)

        delta = weight * noise * self._inv_std
        moved_delta = weight * (moved_noise - noise * stretch) * self._inv_std
        turns, gradients = layout.layers(direction, "actor"), layout.layers(image, "actor")
        for i in reversed(range(len(turns))):
            d_weight, d_bias = gradients[i]
            d_weight[...] = xp.matmul(self._activations[i].mT, moved_delta)
            d_bias[...] = moved_delta.sum(1)
            if i == 0:
                break
            d_weight += xp.matmul(moved[i - 1].mT, delta)
            before, slope, weights = xp.matmul(delta, self._layers[i][0].mT), self._slopes[i - 1], self._layers[i][0]
            moved_delta = xp.matmul(moved_delta, weights.mT) + xp.matmul(delta, turns[i][0].mT)
            moved_delta = moved_delta * slope - 2.0 * self._activations[i] * moved[i - 1] * before
            delta = before * slope
        return image

    def _tangents(self, direction: Array) -> list[Array]:
        """Derivatives of every layer's output when the policy moves along the direction."""
        return tangents(self._layers, self._activations, self._slopes, self._layout.layers(direction, "actor"))


@dataclass(frozen=True)
class NormalisedMomentum(CriticByAdam):
    """The common part of both: d = (1 - eta) d + eta g, then a step of given length along d."""

    step_length: Varying[Positive] = 0.1
    """Length of the policy's first step, in the Euclidean norm of actor weights and log-stds together."""
    step_power: Varying[NotNegative] = 1.0
    """After t updates a step is 2 / (t + 2) to this power times as long."""
    eta_power: Varying[FractionAboveZero] = 0.8
    """Weight of the newest gradient in the running mean: 2 / (t + 2) to this power."""

    kind: ClassVar[str]
    """Its name on the command line."""
    needs: ClassVar[Mapping[str, str]] = NEEDS
    gives: ClassVar = frozenset({"policy-optimiser-memory"})

    def describe(self, rollouts: int) -> str:
        """Describe the updates of this number of rollouts, in words."""
        return f"{rollouts:,} normalised gradient steps of the policy, {self.describe_critic(rollouts)}"

    def new_optimiser(self, params: Array, layout: Layout, own_steps: bool) -> MomentumAdam:
        """Return the optimiser of the critics in parameters [S, D], which also remembers the policies' gradients."""
        return MomentumAdam(params, layout, own_steps)

    def eta(self, learner: Learner) -> Array:
        """Return the weight of the next gradient in the running mean, [S, 1]."""
        return falling(memory_of(learner).count, self.eta_power)

    def improve(self, learner: Learner, batch: Batch, at: Array, turn: Array | float) -> EpochStats:
        """Step policies along the mean of gradients, with `turn` [S, P] added to the former mean; then fit the critics.

        The policies `at` [S, P] collected the batch, and the gradient is taken at them.
        """
        gradient = learner.layout.views(namespace(learner.params).zeros_like(learner.params))
        terms = self._step_policy(learner, batch, gradient, at, turn)
        terms["value_loss"] = self.fit_critic(learner, batch, gradient)
        return EpochStats(**terms)

    def _step_policy(
        self, learner: Learner, batch: Batch, gradient: Views, at: Array, turn: Array | float
    ) -> dict[str, Array]:
        """Take the policies' step; `gradient` is working memory, zero before and after."""
        layout, part, memory = learner.layout, learner.layout.policy, memory_of(learner)
        start = learner.params[:, part] * 1
        gradient.flat[:, part] = LogLikelihood(layout, at, batch).gradient(self.coefficients(batch))
        learner.sparsity.hide(gradient.flat)
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
        """Return the coefficient of each sample's log-probability in the objective, [S, B]."""
        return self.advantages(batch) * share(batch.advantage, batch.weight)


@dataclass(frozen=True)
class NPGIGT(NormalisedMomentum):
    """Implicit gradient transport: rollouts are collected as far ahead of the policy as the mean lags behind it."""

    kind: ClassVar[str] = "n-pg-igt"

    def sampling_point(self, learner: Learner) -> Array:
        """Return the policies that collect the next rollout, [S, P]."""
        own = learner.params[:, learner.layout.policy]
        return look_ahead(own, memory_of(learner).moved, self.eta(learner))

    def collect(
        self, learner: Learner, collector: Collects, length: int, gamma: float, acting: np.ndarray | None
    ) -> list[Rollout]:
        """Collect a rollout with the policies at the `sampling_point`."""
        with learner.using(self.sampling_point(learner)):
            return super().collect(learner, collector, length, gamma, acting)

    def update(self, learner: Learner, batch: Batch) -> Iterator[EpochStats]:
        """Improve the learner on the batch that was collected at the `sampling_point`; yields once."""
        yield self.improve(learner, batch, self.sampling_point(learner), 0.0)


@dataclass(frozen=True)
class TwoBatches(Batch):
    """A batch together with that of a second rollout, by other policies."""

    second: Batch | None = None


@dataclass(frozen=True)
class NHARPG(NormalisedMomentum):
    """Hessian-aided: a second, short rollout between the last two policies shows how the gradient has changed."""

    kind: ClassVar[str] = "n-harpg"
    needs: ClassVar = NEEDS | {
        "single-episodes": "collects a second rollout, and needs episodes that are not compared in groups",
        "tanh": "knows the second derivative of tanh alone, and needs --policy.activation tanh",
        "plain-layers": "knows no second derivative of layer normalisation, and needs --policy.no-layer-normalisation",
    }

    eta_power: Varying[FractionAboveZero] = 1.0
    """Weight of the newest gradient in the running mean: 2 / (t + 2) to this power."""
    second_length: Count = 32
    """Steps of every environment for the second rollout; they count as training steps."""

    def check(self, recipe: Any) -> None:
        """Raise UsageError unless both rollouts are large enough."""
        super().check(recipe)
        if self.normalise_advantages and self.second_length * recipe.num_envs == 1:
            raise UsageError(
                "--algorithm.second-length 1 of one environment is too little to normalise advantages: use more, or "
                "--algorithm.no-normalise-advantages"
            )

    def describe(self, rollouts: int) -> str:
        """Describe the updates of this number of rollouts, in words."""
        return f"{super().describe(rollouts)}; a second rollout of {self.second_length} steps beside each"

    def sampling_point(self, learner: Learner) -> Array:
        """Return the policies that collect the second rollout, [S, P]: drawn evenly between the last two."""
        memory, layout = memory_of(learner), learner.layout
        counts = to_numpy(memory.count)[:, 0].astype(int)
        drawn = [generator(seed, "between", t).random() for seed, t in zip(learner.seeds, counts.tolist(), strict=True)]
        back = to_device(np.array(drawn, np.float32)[:, None], learner.device)
        return learner.params[:, layout.policy] - back * memory.moved

    def collect(
        self, learner: Learner, collector: Collects, length: int, gamma: float, acting: np.ndarray | None
    ) -> list[Rollout]:
        """Collect a rollout with the present policies, and a second, short one with those at the `sampling_point`."""
        rollouts = super().collect(learner, collector, length, gamma, acting)
        with learner.using(self.sampling_point(learner)):
            return [*rollouts, collector.collect(learner, self.second_length, gamma)]

    def batch(self, learner: Learner, rollouts: Sequence[Rollout], advantages: Sequence[Advantages]) -> Batch:
        """Return the batch of the first rollout with that of the second one."""
        own, second = (learner.batch(*pair) for pair in zip(rollouts, advantages, strict=True))
        return TwoBatches(**vars(own), second=second)

    def update(self, learner: Learner, batch: Batch) -> Iterator[EpochStats]:
        """Improve the learner on its own batch and one that was collected at the `sampling_point`; yields once."""
        assert isinstance(batch, TwoBatches)
        assert batch.second is not None
        turn = self.change(learner, batch.second)
        yield self.improve(learner, batch, learner.params[:, learner.layout.policy] * 1, turn)

    def change(self, learner: Learner, second: Batch) -> Array:
        """Estimate how the policies' last steps changed the gradient, [S, P].

        Hess Phi u + sum over trajectories of grad Phi <grad log p, u>, where u is the step, Phi the objective with
        samples and advantages held fixed, and log p the log-probability of a trajectory's actions.
        """
        likelihood = LogLikelihood(learner.layout, self.sampling_point(learner), second)
        step, coefficient = memory_of(learner).moved, self.coefficients(second)
        assert second.episode is not None, "a rollout knows of its episodes"
        of_trajectory = sum_by_group(likelihood.slope(step), second.episode)
        change = likelihood.hessian_product(coefficient, step) + likelihood.gradient(coefficient * of_trajectory)
        learner.sparsity.clear(change, learner.layout.policy)
        return change


def memory_of(learner: Learner) -> MomentumAdam:
    """Return the memory of a learner's policies."""
    assert isinstance(learner.optimiser, MomentumAdam), "a learner is built with its algorithm's `new_optimiser`"
    return learner.optimiser
