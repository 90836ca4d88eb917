"""Derivatives, first and second, of the log-probability that a Gaussian tanh-MLP policy gives to a batch's actions."""

from rlsparse.algorithms.surrogate import likelihood_gradient
from rlsparse.learner.arrays import Array, namespace
from rlsparse.learner.layout import Layout
from rlsparse.learner.network import backward, forward, tangents, tanh_slopes
from rlsparse.learner.records import Batch


class LogLikelihood:
    """log pi(action | obs) of every sample as a function of actor and log-std, around policies [S, P]."""

    def __init__(self, layout: Layout, policy: Array, batch: Batch) -> None:
        self._layout, self._policy = layout, policy
        self._layers = layout.layers(policy, "actor")
        self._activations = forward(self._layers, batch.obs)
        self._slopes = tanh_slopes(self._activations)
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
        """Derivatives of every layer's output as the policy moves along the direction."""
        return tangents(self._layers, self._activations, self._slopes, self._layout.layers(direction, "actor"))
