"""The losses of policy optimisation with their gradients in closed form, batched over members.

The actor is a Gaussian of diagonal covariance whose log-std does not depend on the state, so every
gradient is a short formula; the tests compare them with automatic differentiation. Shapes: [S, B] per sample.
"""

import math

from rlsparse.learner.arrays import Array, namespace

LOG_2PI = math.log(2.0 * math.pi)


def gaussian_log_prob(noise: Array, log_std: Array) -> Array:
    """Log-density of mean + exp(log_std) * noise; noise [..., A], log_std broadcastable to it; [...]."""
    return -0.5 * (noise * noise).sum(-1) - (log_std + 0.5 * LOG_2PI).sum(-1)


def gaussian_entropy(log_std: Array) -> Array:
    """Differential entropy in nats; log_std [S, A]; [S]."""
    return (log_std + 0.5 * (1.0 + LOG_2PI)).sum(-1)


def bounded(log_std: Array, least: Array | float | None, most: Array | float | None) -> Array:
    """Move log-stds [S, A] that are beyond the least or the greatest one to it; bounds are of all members, or [S]."""
    of_members = namespace(log_std).zeros_like(log_std[:, 0])
    if most is not None:
        log_std = log_std.clip(max=(of_members + most)[:, None])
    return log_std if least is None else log_std.clip((of_members + least)[:, None])


def weighted_mean(x: Array, weight: Array | None) -> Array:
    """Mean over the samples of x [S, B] by their weights, [S]; 0 if all are zero. None: equal weights."""
    if weight is None:
        return x.sum(-1) / x.shape[-1]
    return (x * weight).sum(-1) / _total(weight)


def _total(weight: Array) -> Array:
    return namespace(weight).clip(weight.sum(-1), 1e-12, None)


def share(x: Array, weight: Array | None) -> Array | float:
    """Return the weight of each sample of x [S, B] in the mean, [S, B] or one number for all."""
    return 1.0 / x.shape[-1] if weight is None else weight / _total(weight)[..., None]


def gaussian_kl(mean_shift: Array, log_std: Array, new_log_std: Array, weight: Array | None = None) -> Array:
    """KL(old || new) in nats of each action dimension, averaged over samples by weight [S, B]; [S, A].

    `mean_shift` = (new mean - old mean) / old deviation [S, B, A]; log-stds [S, A] that do not depend on the state.
    """
    growth = new_log_std - log_std
    squared_shift = weighted_mean((mean_shift * mean_shift).mT, None if weight is None else weight[:, None])
    precision_change = namespace(growth).expm1(-2.0 * growth)  # old variance / new variance - 1
    return growth + 0.5 * (precision_change + squared_shift * (1.0 + precision_change))


def squared_error(value: Array, target: Array, weight: Array | None = None) -> tuple[Array, Array]:
    """Mean squared error of the critic, by weight [S, B]: (loss [S], d loss / d value [S, B])."""
    error = value - target
    return weighted_mean(error * error, weight), error * (2.0 * share(error, weight))


def standardise(x: Array, weight: Array | None = None) -> Array:
    """Zero mean and unit (unbiased) deviation along the last axis; a constant row gives zeros.

    Samples with weight zero do not enter mean and deviation, and become zero.
    """
    if weight is not None:
        return _standardise_some(x, weight > 0)
    # relative to the first number: otherwise rounding of the mean of equal numbers would be scaled up to deviation 1
    shifted = x - x[..., :1]
    centred = shifted - shifted.mean(-1)[..., None]
    variance = (centred * centred).sum(-1) / max(x.shape[-1] - 1, 1)
    return centred / (variance**0.5 + 1e-8)[..., None]


def _standardise_some(x: Array, counts: Array) -> Array:
    xp = namespace(x)
    number = counts.sum(-1)[..., None]
    shifted = xp.where(counts, x - xp.amax(xp.where(counts, x, -math.inf), -1)[..., None], 0.0)
    centred = xp.where(counts, shifted - shifted.sum(-1)[..., None] / xp.clip(number, 1, None), 0.0)
    variance = (centred * centred).sum(-1)[..., None] / xp.clip(number - 1, 1, None)
    return centred / (variance**0.5 + 1e-8)
