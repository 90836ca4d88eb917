"""Objectives that PPO's epochs may follow instead of the clipped surrogate.

Each is a choice of mask, reference and advantage in the form of `surrogate`; target surrogates (SSO) have another form.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from rlsparse.algorithms.surrogate import (
    Gradient,
    Likelihood,
    Weighed,
    approximate_kl,
    masked,
    out_of_range,
    unmasked,
)
from rlsparse.learner.arrays import Array, mean_by_group, namespace
from rlsparse.learner.bounds import Positive, Varying
from rlsparse.learner.gaussian import gaussian_log_prob, share, weighted_mean
from rlsparse.learner.layout import Views
from rlsparse.learner.network import forward
from rlsparse.learner.records import Batch


def episode_ratio(log_ratio: Array, episode: Array) -> Array:
    """Geometric mean of pi / pi_old over each episode, at all of its samples; `episode` [S, B] are whole numbers.

    Source: Zheng et al., arXiv 2507.18071, equation 7.
    """
    return namespace(log_ratio).exp(mean_by_group(log_ratio, episode))


@dataclass(frozen=True)
class A2C(Likelihood):
    """The plain policy gradient of actor-critic: reference pi itself, no mask. Mnih et al., arXiv 1602.01783."""

    gives: ClassVar = frozenset({"small-minibatches"})

    def weigh(self, ratio: Array, log_ratio: Array, advantage: Array, clip_range: float, batch: Batch) -> Weighed:
        """Turn each sample's ratio and advantage into its part of the loss."""
        terms = unmasked(advantage, log_ratio, batch.weight)
        return *terms, out_of_range(ratio, clip_range, clip_range, batch.weight)


@dataclass(frozen=True)
class GSPO(Likelihood):
    """Clipping by the ratio of whole episodes, the geometric mean over their steps. Zheng et al., arXiv 2507.18071."""

    whole_episodes: ClassVar[bool] = True
    gives: ClassVar = frozenset({"others-actions"})

    clip_range: Varying[Positive] = 0.01
    """Distance of an episode's ratio from 1 beyond which it gains nothing; `clip_range` is for single steps."""

    def begin(self, batch: Batch, params: Views) -> Batch:
        """Return the batch unchanged: it keeps the episode of each sample."""
        return batch

    def weigh(self, ratio: Array, log_ratio: Array, advantage: Array, clip_range: float, batch: Batch) -> Weighed:
        """Turn each sample's ratio and advantage into its part of the loss."""
        of_episode = episode_ratio(log_ratio, batch.episode)
        terms = masked(of_episode, advantage, self.clip_range, self.clip_range, batch.weight)
        return *terms, out_of_range(of_episode, self.clip_range, self.clip_range, batch.weight)


@dataclass(frozen=True)
class CISPO(Likelihood):
    """No mask: the ratio, limited above, is a constant weight of every sample. MiniMax, arXiv 2506.13585."""

    def weigh(self, ratio: Array, log_ratio: Array, advantage: Array, clip_range: float, batch: Batch) -> Weighed:
        """Turn each sample's ratio and advantage into its part of the loss."""
        cut = namespace(ratio).clip(ratio, None, 1.0 + clip_range)
        terms = unmasked(cut * advantage, log_ratio, batch.weight)
        return *terms, out_of_range(ratio, clip_range, clip_range, batch.weight)


@dataclass(frozen=True)
class Cloning(Likelihood):
    """Imitate actions of positive advantage with equal weights: reference pi itself. Wang et al., arXiv 2006.15134."""

    def weigh(self, ratio: Array, log_ratio: Array, advantage: Array, clip_range: float, batch: Batch) -> Weighed:
        """Turn each sample's ratio and advantage into its part of the loss."""
        good = namespace(ratio).where(advantage > 0, 1.0, 0.0 * ratio)
        terms = unmasked(good, log_ratio, batch.weight)
        return *terms, out_of_range(ratio, clip_range, clip_range, batch.weight)


def target_surrogate(change: Array, slope: Array, curvature: float | Array) -> tuple[Array, Array]:
    """<slope, change> + curvature |change|^2 / 2 over the last axis, and its derivative by `change`, [..., A].

    `slope` is the gradient of a loss by the outputs of a network, `change` their distance from the point of that
    gradient; the minimum is a gradient step of length 1 / `curvature`. Source: Lavington et al., arXiv 2302.02607,
    equation 4.
    """
    return (change * (slope + change * (0.5 * curvature))).sum(-1), slope + change * curvature


@dataclass(frozen=True)
class SSO(Likelihood):
    """Minimises a surrogate in the policy's outputs, whose gradient is taken once per rollout.

    The plain policy gradient by mean and log-std at the beginning of the update, and a squared distance from there.
    Source: Lavington et al., arXiv 2302.02607, algorithm 1.
    """

    output_step: Varying[Positive] = 1.0
    """Length of the gradient step of the outputs, mean and log-std at each sample."""

    def begin(self, batch: Batch, params: Views) -> Batch:
        """Return the batch with the policy's present outputs."""
        outputs = joined(*params.actor.deviation.distribution(forward(params.actor, batch.obs)[-1], params.log_std))
        return replace(batch, episode=None, outputs=outputs)

    def gradient(self, mean: Array, log_std: Array, batch: Batch, clip_range: float) -> Gradient:
        """Return loss terms and gradient for a policy that gives mean [S, B, A] and log_std [S, 1 or B, A]."""
        xp, actions = namespace(mean), mean.shape[-1]
        assert batch.outputs is not None, "an update begins with `begin`"
        first_mean, first_log_std = batch.outputs[..., :actions], batch.outputs[..., actions:]
        inv_std = xp.exp(-first_log_std)
        noise = (batch.action - first_mean) * inv_std
        d_log_prob = xp.exp(gaussian_log_prob(noise, first_log_std) - batch.log_prob) * -batch.advantage
        slope = d_log_prob[..., None] * xp.concatenate([noise * inv_std, noise * noise - 1.0], -1)
        curvature = (xp.zeros_like(batch.advantage[:, :1]) + 1.0 / self.output_step)[..., None]  # [S, 1, 1]
        value, d_output = target_surrogate(joined(mean, log_std) - batch.outputs, slope, curvature)
        d_output = d_output * (xp.zeros_like(value) + share(value, batch.weight))[..., None]

        noise = (batch.action - mean) * xp.exp(-log_std)
        log_ratio = gaussian_log_prob(noise, log_std) - batch.log_prob
        ratio = xp.exp(log_ratio)
        terms = {
            "policy_loss": weighted_mean(value, batch.weight),
            "approx_kl": approximate_kl(ratio, log_ratio, batch.weight),
            "clip_fraction": out_of_range(ratio, clip_range, clip_range, batch.weight),
        }
        d_log_std = d_output[..., actions:]
        return terms, d_output[..., :actions], d_log_std.sum(1) if log_std.shape[1] == 1 else d_log_std


def joined(mean: Array, log_std: Array) -> Array:
    """Mean [S, B, A] and log-std [S, 1 or B, A] as the policy's outputs at each sample, [S, B, 2 A]."""
    xp = namespace(mean)
    return xp.concatenate([mean, xp.zeros_like(mean) + log_std], -1)
