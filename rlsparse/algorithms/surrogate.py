"""The policy gradient in separate parts, and the methods that combine them.

    gradient = weighted mean over samples of  mask * (pi / reference) * advantage * grad log pi

Stabilisation mask, reference denominator and advantage make one coefficient per sample; the likelihood gradient
carries it to the policy's outputs. Source: Lv et al., arXiv 2509.04419. Shapes: [S, B] per sample; losses are
minimised, so every coefficient has a minus sign and the sample's share of the mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from rlsparse.learner.archive import NoArchive
from rlsparse.learner.arrays import Array, namespace
from rlsparse.learner.bounds import Positive, Varying
from rlsparse.learner.gaussian import gaussian_log_prob, share, weighted_mean
from rlsparse.learner.layout import Layout, Views
from rlsparse.learner.learner import Learner
from rlsparse.learner.records import Advantages, Batch, Rollout

Gradient = tuple[dict[str, Array], Array, Array]
"""Loss terms [S] by name, d loss / d mean [S, B, A], and d loss / d log-std, summed over samples if all share it."""

Weighed = tuple[Array, Array, Array]
"""Loss [S], d loss / d log pi [S, B], share of ratios out of range [S]."""


def masked(ratio: Array, advantage: Array, lower: float, upper: float, weight: Array | None) -> tuple[Array, Array]:
    """Loss [S] and its derivative by log pi [S, B], which is zero where it would push a ratio further out of range.

    Source: Schulman et al., arXiv 1707.06347, equation 7.
    """
    xp = namespace(ratio)
    free = ratio * advantage
    clipped = ratio.clip(1.0 - lower, 1.0 + upper) * advantage
    loss = -weighted_mean(xp.minimum(free, clipped), weight)
    # where the clipped term is the smaller one it is constant: no gradient
    return loss, xp.where(free <= clipped, free, 0.0) * -share(ratio, weight)


def unmasked(coefficient: Array, log_ratio: Array, weight: Array | None) -> tuple[Array, Array]:
    """Loss [S] and its derivative by log pi for a coefficient that is treated as constant."""
    d_log_prob = coefficient * -share(log_ratio, weight)
    return (d_log_prob * log_ratio).sum(-1), d_log_prob


def out_of_range(ratio: Array, lower: float, upper: float, weight: Array | None) -> Array:
    """Share of the ratios outside [1 - lower, 1 + upper], [S]."""
    middle, half = 1.0 + 0.5 * (upper - lower), 0.5 * (upper + lower)
    return weighted_mean(namespace(ratio).abs(ratio - middle) > half, weight)


def approximate_kl(ratio: Array, log_ratio: Array, weight: Array | None = None) -> Array:
    """Estimate KL(old || new) by mean(ratio - 1 - log ratio), [S]."""
    return weighted_mean(ratio - 1.0 - log_ratio, weight)


def likelihood_gradient(d_log_prob: Array, noise: Array, inv_std: Array) -> tuple[Array, Array]:
    """Derivatives by mean [S, B, A] and log-std of a loss with d loss / d log pi [S, B]; noise [S, B, A].

    That by the log-std is [S, A] if all samples share it, so that `inv_std` is [S, 1, A], else [S, B, A].
    """
    d_noise = d_log_prob[..., None] * noise
    if inv_std.shape[1] == 1:
        return d_noise * inv_std, (d_noise * noise).sum(1) - d_log_prob.sum(1)[:, None]
    return d_noise * inv_std, d_noise * noise - d_log_prob[..., None]


class Likelihood:
    """An objective whose gradient is that of log pi, sample by sample, times a coefficient."""

    whole_episodes: ClassVar[bool] = False
    """Whether a minibatch must hold all samples of a rollout."""
    gives: ClassVar[frozenset[str]] = frozenset({"small-minibatches", "others-actions"})
    """The traits on which other components may rely."""

    def archive(self, members: int, num_envs: int, layout: Layout) -> NoArchive:
        """Return the archive of episodes of S members with N environments each."""
        return NoArchive()

    def with_earlier(self, learner: Learner, newest: Rollout) -> list[Rollout]:
        """Return the rollouts of an update, the newest first."""
        return [newest]

    def batch(self, learner: Learner, rollouts: Sequence[Rollout], advantages: Sequence[Advantages]) -> Batch:
        """Return the batch of an update, given its rollouts and their advantages."""
        return learner.batch(rollouts[0], advantages[0])

    def begin(self, batch: Batch, params: Views) -> Batch:
        """Return the batch with what an update of the present policy needs beside the samples."""
        return replace(batch, episode=None)

    def gradient(self, mean: Array, log_std: Array, batch: Batch, clip_range: float) -> Gradient:
        """Return loss terms and gradient for a policy that gives mean [S, B, A] and log_std [S, 1 or B, A]."""
        xp = namespace(mean)
        inv_std = xp.exp(-log_std)
        noise = (batch.action - mean) * inv_std
        log_ratio = gaussian_log_prob(noise, log_std) - batch.log_prob
        ratio = xp.exp(log_ratio)
        loss, d_log_prob, clip_fraction = self.weigh(ratio, log_ratio, batch.advantage, clip_range, batch)
        kl = approximate_kl(ratio, log_ratio, batch.weight)
        terms = {"policy_loss": loss, "approx_kl": kl, "clip_fraction": clip_fraction}
        return terms, *likelihood_gradient(d_log_prob, noise, inv_std)

    def weigh(self, ratio: Array, log_ratio: Array, advantage: Array, clip_range: float, batch: Batch) -> Weighed:
        """Turn each sample's ratio and advantage into its part of the loss."""
        raise NotImplementedError


@dataclass(frozen=True)
class Clip(Likelihood):
    """PPO's clipped surrogate: reference pi_old, no gradient where the ratio is out of range and would gain from it."""

    clip_range_high: Varying[Positive] | None = None
    """As `clip_range`, for ratios above 1 (DAPO: 0.28); the same if not given."""

    def weigh(self, ratio: Array, log_ratio: Array, advantage: Array, clip_range: float, batch: Batch) -> Weighed:
        """Turn each sample's ratio and advantage into its part of the loss."""
        upper = clip_range if self.clip_range_high is None else self.clip_range_high
        terms = masked(ratio, advantage, clip_range, upper, batch.weight)
        return *terms, out_of_range(ratio, clip_range, upper, batch.weight)
