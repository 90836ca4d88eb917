"""The losses of policy optimisation with their gradients in closed form, batched over members.

The actor is a Gaussian of diagonal covariance whose log-std does not depend on the state, so every
gradient is a short formula; automatic differentiation is their test. Shapes: [S, B] per sample.
"""

import math

from rlsparse.arrays import Array, namespace

LOG_2PI = math.log(2.0 * math.pi)


def gaussian_log_prob(noise: Array, log_std: Array) -> Array:
    """Log-density of mean + exp(log_std) * noise; noise [..., A], log_std broadcastable to it; [...]."""
    return -0.5 * (noise * noise).sum(-1) - (log_std + 0.5 * LOG_2PI).sum(-1)


def gaussian_entropy(log_std: Array) -> Array:
    """Differential entropy in nats; log_std [S, A]; [S]."""
    return (log_std + 0.5 * (1.0 + LOG_2PI)).sum(-1)


def clipped_surrogate(log_ratio: Array, advantage: Array, clip_range: float) -> tuple[Array, Array, Array, Array]:
    """PPO's clipped objective as a loss.

    `log_ratio` = log pi - log pi_old and `advantage`, [S, B]. Returns (loss [S], d loss / d log pi
    [S, B], share of clipped ratios [S], approximate KL [S]); the KL estimate is mean(ratio - 1 -
    log ratio). Source: Schulman et al., arXiv 1707.06347, equation 7.
    """
    xp, count = namespace(log_ratio), log_ratio.shape[-1]
    ratio = xp.exp(log_ratio)
    unclipped = ratio * advantage
    clipped = xp.clip(ratio, 1.0 - clip_range, 1.0 + clip_range) * advantage
    loss = xp.minimum(unclipped, clipped).sum(-1) / -count
    # where the clipped term is the smaller one it is constant: no gradient
    gradient = xp.where(unclipped <= clipped, unclipped, 0.0) * (-1.0 / count)
    clip_fraction = (xp.abs(ratio - 1.0) > clip_range).sum(-1) / count
    approx_kl = (ratio - 1.0 - log_ratio).sum(-1) / count
    return loss, gradient, clip_fraction, approx_kl


def squared_error(value: Array, target: Array) -> tuple[Array, Array]:
    """Mean squared error of the critic: (loss [S], d loss / d value [S, B])."""
    error = value - target
    return (error * error).mean(-1), error * (2.0 / value.shape[-1])


def standardise(x: Array) -> Array:
    """Zero mean and unit (unbiased) deviation along the last axis; a constant row gives zeros."""
    # from the first number on: the mean of equal numbers is rounded, and their tiny spread would be scaled up to 1
    shifted = x - x[..., :1]
    centred = shifted - shifted.mean(-1)[..., None]
    variance = (centred * centred).sum(-1) / max(x.shape[-1] - 1, 1)
    return centred / (variance**0.5 + 1e-8)[..., None]
