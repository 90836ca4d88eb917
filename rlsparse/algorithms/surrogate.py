"""The policy gradient in parts that are chosen apart, and the methods that are choices of them.

    gradient = weighted mean over samples of  mask * (pi / reference) * advantage * grad log pi

Stabilisation mask, reference denominator and advantage make one coefficient per sample; the likelihood gradient
carries it to the policy's outputs. Source: Lv et al., arXiv 2509.04419. Shapes: [S, B] per sample; losses are to be
minimised, so every coefficient comes with a minus sign and the sample's share of the mean.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from rlsparse.learner.arrays import Array, namespace
from rlsparse.learner.bounds import Count, Finite, Fraction, Positive
from rlsparse.learner.gaussian import gaussian_log_prob, share, weighted_mean
from rlsparse.learner.layout import Views
from rlsparse.learner.network import forward
from rlsparse.learner.records import Batch

Gradient = tuple[dict[str, Array], Array, Array]
"""Loss terms [S] by name, d loss / d mean [S, B, A], d loss / d log-std [S, A]."""

Weighed = tuple[Array, Array, Array]
"""Loss [S], d loss / d log pi [S, B], share of ratios out of range [S]."""


def episode_ratio(log_ratio: Array, episode: Array) -> Array:
    """Geometric mean of pi / pi_old over each episode, at all of its samples; `episode` [S, B] are whole numbers.

    Source: Zheng et al., arXiv 2507.18071, equation 7.
    """
    xp, mean = namespace(log_ratio), namespace(log_ratio).empty_like(log_ratio)
    for out, x, of in zip(mean, log_ratio, episode, strict=True):
        out[...] = (xp.bincount(of, x) / xp.clip(xp.bincount(of), 1, None))[of]
    return xp.exp(mean)


def masked(ratio: Array, advantage: Array, lower: float, upper: float, weight: Array | None) -> tuple[Array, Array]:
    """Loss [S] and its derivative by log pi where it may be: a ratio out of range is not pushed further out.

    Source: Schulman et al., arXiv 1707.06347, equation 7.
    """
    xp = namespace(ratio)
    free = ratio * advantage
    clipped = xp.clip(ratio, 1.0 - lower, 1.0 + upper) * advantage
    loss = -weighted_mean(xp.minimum(free, clipped), weight)
    # where the clipped term is the smaller one it is constant: no gradient
    return loss, xp.where(free <= clipped, free, 0.0) * -share(ratio, weight)


def unmasked(coefficient: Array, log_ratio: Array, weight: Array | None) -> tuple[Array, Array]:
    """Loss [S] and its derivative by log pi for a coefficient that counts as constant."""
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
    """Derivatives by mean [S, B, A] and log-std [S, A] of a loss with d loss / d log pi [S, B]; noise [S, B, A]."""
    d_noise = d_log_prob[..., None] * noise
    return d_noise * inv_std, (d_noise * noise).sum(1) - d_log_prob.sum(1)[:, None]


def target_surrogate(change: Array, slope: Array, step: float) -> tuple[Array, Array]:
    """<slope, change> + |change|^2 / (2 step) over the last axis, and its derivative by `change`, [..., A].

    `slope` is the gradient of a loss by the outputs of a network, `change` how far these are from where it was taken;
    the minimum is a gradient step of that length. Source: Lavington et al., arXiv 2302.02607, equation 4.
    """
    return (change * (slope + change * (0.5 / step))).sum(-1), slope + change * (1.0 / step)


class Likelihood:
    """An objective whose gradient is that of log pi, sample by sample, times a coefficient."""

    whole_episodes: ClassVar[bool] = False
    """Whether a minibatch must hold all samples of a rollout."""
    gives: ClassVar[frozenset[str]] = frozenset({"small-minibatches", "others-actions"})
    """What other components may rely on."""

    def begin(self, batch: Batch, params: Views) -> Batch:
        """Return the batch with what an update of the policy, as it is, needs to know beside the samples."""
        return replace(batch, episode=None)

    def gradient(self, mean: Array, log_std: Array, batch: Batch, advantage: Array, clip_range: float) -> Gradient:
        """Return loss terms and gradient for a policy that gives mean [S, B, A] and log_std [S, A]."""
        xp = namespace(mean)
        inv_std = xp.exp(-log_std)[:, None, :]
        noise = (batch.action - mean) * inv_std
        log_ratio = gaussian_log_prob(noise, log_std[:, None, :]) - batch.log_prob
        ratio = xp.exp(log_ratio)
        loss, d_log_prob, clip_fraction = self.weigh(ratio, log_ratio, advantage, clip_range, batch)
        kl = approximate_kl(ratio, log_ratio, batch.weight)
        terms = {"policy_loss": loss, "approx_kl": kl, "clip_fraction": clip_fraction}
        return terms, *likelihood_gradient(d_log_prob, noise, inv_std)

    def weigh(self, ratio: Array, log_ratio: Array, advantage: Array, clip_range: float, batch: Batch) -> Weighed:
        """Turn each sample's ratio and advantage into its part of the loss."""
        raise NotImplementedError


@dataclass(frozen=True)
class Clip(Likelihood):
    """PPO's clipped surrogate: reference pi_old, no gradient where the ratio is out of range for the better."""

    clip_range_high: Positive | None = None
    """How far above 1 the ratio may be rewarded for going, if not as far as below (DAPO: 0.28)."""

    def weigh(self, ratio: Array, log_ratio: Array, advantage: Array, clip_range: float, batch: Batch) -> Weighed:
        """Turn each sample's ratio and advantage into its part of the loss."""
        upper = clip_range if self.clip_range_high is None else self.clip_range_high
        terms = masked(ratio, advantage, clip_range, upper, batch.weight)
        return *terms, out_of_range(ratio, clip_range, upper, batch.weight)


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
    needs: ClassVar = {"cpu-environments": "averages over episodes, and needs environments on the CPU"}
    gives: ClassVar = frozenset({"others-actions"})

    clip_range: Positive = 0.01
    """How far from 1 an episode's ratio may be rewarded for going; --algorithm.clip-range is for single steps."""

    def begin(self, batch: Batch, params: Views) -> Batch:
        """Return the batch, which knows of each sample's episode."""
        return batch

    def weigh(self, ratio: Array, log_ratio: Array, advantage: Array, clip_range: float, batch: Batch) -> Weighed:
        """Turn each sample's ratio and advantage into its part of the loss."""
        of_episode = episode_ratio(log_ratio, batch.episode)
        terms = masked(of_episode, advantage, self.clip_range, self.clip_range, batch.weight)
        return *terms, out_of_range(of_episode, self.clip_range, self.clip_range, batch.weight)


@dataclass(frozen=True)
class CISPO(Likelihood):
    """No mask: the ratio, cut above, weighs every sample as a constant. MiniMax, arXiv 2506.13585."""

    def weigh(self, ratio: Array, log_ratio: Array, advantage: Array, clip_range: float, batch: Batch) -> Weighed:
        """Turn each sample's ratio and advantage into its part of the loss."""
        cut = namespace(ratio).clip(ratio, None, 1.0 + clip_range)
        terms = unmasked(cut * advantage, log_ratio, batch.weight)
        return *terms, out_of_range(ratio, clip_range, clip_range, batch.weight)


@dataclass(frozen=True)
class Cloning(Likelihood):
    """Imitate the actions of positive advantage, all alike: reference pi itself. Wang et al., arXiv 2006.15134."""

    def weigh(self, ratio: Array, log_ratio: Array, advantage: Array, clip_range: float, batch: Batch) -> Weighed:
        """Turn each sample's ratio and advantage into its part of the loss."""
        good = namespace(ratio).where(advantage > 0, 1.0, 0.0 * ratio)
        terms = unmasked(good, log_ratio, batch.weight)
        return *terms, out_of_range(ratio, clip_range, clip_range, batch.weight)


def switch(success: Array, gate: float) -> tuple[Array, Array]:
    """Weights (alpha, beta) of the policy gradient and of cloning, given the share of successes, [S] each.

    (0, 1) where it is at most `gate`, else (1, 0); the latter also where nothing was tried and it is nan. Source: Lv
    et al., arXiv 2509.04419, HPT.
    """
    cloning = success <= gate
    return 1.0 - cloning, 1.0 * cloning


@dataclass(frozen=True)
class HPT(Clip):
    """The clipped surrogate, or after a rollout without success, cloning of the member's best episodes.

    The batch says which samples are cloned: these have coefficient 1, reference pi itself and no mask. Source: Lv et
    al., arXiv 2509.04419, hybrid post-training.
    """

    clones: ClassVar[bool] = True
    """Whether a rollout without success is replaced by the best episodes so far."""
    needs: ClassVar = {
        "unaided-episodes": "clones the best episodes, and needs episodes that had no help",
        "cpu-environments": "keeps episodes to clone them, and needs environments on the CPU",
    }

    success_return: Finite = 0.0
    """An episode whose undiscounted return is above this succeeds."""
    gate: Fraction = 0.0
    """Largest share of successes, among the episodes that ended in a rollout, after which its update clones."""
    episodes: Count = 4
    """Best successful episodes that each member keeps, to clone them."""

    def weigh(self, ratio: Array, log_ratio: Array, advantage: Array, clip_range: float, batch: Batch) -> Weighed:
        """Turn each sample's ratio and advantage into its part of the loss."""
        loss, d_log_prob, outside = super().weigh(ratio, log_ratio, advantage, clip_range, batch)
        if batch.cloned is None:
            return loss, d_log_prob, outside
        xp = namespace(ratio)
        cloning, d_cloning = unmasked(xp.ones_like(ratio), log_ratio, batch.weight)
        chosen = xp.where(batch.cloned[:, 0], cloning, loss), xp.where(batch.cloned, d_cloning, d_log_prob)
        return *chosen, outside


@dataclass(frozen=True)
class SSO:
    """Steps to the minimum of a surrogate in the policy's outputs, whose gradient is taken once per rollout.

    The plain policy gradient by mean and log-std, where the update begins, and a squared distance from there.
    Source: Lavington et al., arXiv 2302.02607, algorithm 1.
    """

    whole_episodes: ClassVar[bool] = False
    gives: ClassVar = frozenset({"small-minibatches", "others-actions"})

    output_step: Positive = 1.0
    """Length of the gradient step that the outputs, mean and log-std at each sample, are to make."""

    def begin(self, batch: Batch, params: Views) -> Batch:
        """Return the batch with the policy's outputs as they are."""
        outputs = joined(forward(params.actor, batch.obs)[-1], params.log_std)
        return replace(batch, episode=None, outputs=outputs)

    def gradient(self, mean: Array, log_std: Array, batch: Batch, advantage: Array, clip_range: float) -> Gradient:
        """Return loss terms and gradient for a policy that gives mean [S, B, A] and log_std [S, A]."""
        xp, actions = namespace(mean), mean.shape[-1]
        assert batch.outputs is not None, "an update begins with `begin`"
        first_mean, first_log_std = batch.outputs[..., :actions], batch.outputs[..., actions:]
        inv_std = xp.exp(-first_log_std)
        noise = (batch.action - first_mean) * inv_std
        d_log_prob = xp.exp(gaussian_log_prob(noise, first_log_std) - batch.log_prob) * -advantage
        slope = d_log_prob[..., None] * xp.concatenate([noise * inv_std, noise * noise - 1.0], -1)
        value, d_output = target_surrogate(joined(mean, log_std) - batch.outputs, slope, self.output_step)
        d_output = d_output * (xp.zeros_like(value) + share(value, batch.weight))[..., None]

        noise = (batch.action - mean) * xp.exp(-log_std)[:, None, :]
        log_ratio = gaussian_log_prob(noise, log_std[:, None, :]) - batch.log_prob
        ratio = xp.exp(log_ratio)
        terms = {
            "policy_loss": weighted_mean(value, batch.weight),
            "approx_kl": approximate_kl(ratio, log_ratio, batch.weight),
            "clip_fraction": out_of_range(ratio, clip_range, clip_range, batch.weight),
        }
        return terms, d_output[..., :actions], d_output[..., actions:].sum(1)


def joined(mean: Array, log_std: Array) -> Array:
    """Mean [S, B, A] and log-std [S, A] as the policy's outputs at each sample, [S, B, 2 A]."""
    xp = namespace(mean)
    return xp.concatenate([mean, xp.zeros_like(mean) + log_std[:, None, :]], -1)


Objective = Clip | A2C | GSPO | CISPO | Cloning | HPT | SSO
"""What the policy's part of an update may follow."""
