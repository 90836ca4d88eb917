"""What a batch says of policies near the one that an update begins with: the surrogate and the KL divergence."""

from rlsparse.algorithms.fisher import GaussianFisher, score_vectors
from rlsparse.learner.arrays import Array, namespace
from rlsparse.learner.gaussian import gaussian_kl, gaussian_log_prob, share, weighted_mean
from rlsparse.learner.layout import Layout, Views
from rlsparse.learner.network import backward, forward, tanh_slopes
from rlsparse.learner.records import Batch


class TrustRegion:
    """Policies [S, P] around one of them: what they gain in surrogate, how far they are, and the slope there."""

    def __init__(self, layout: Layout, start: Array, batch: Batch, advantage: Array, kl_weight: float = 1.0) -> None:
        self._layout, self._start, self._batch = layout, start, batch
        self._advantage, self._kl_weight = advantage, kl_weight
        self._log_std = layout.log_std(start)
        self._inv_std = namespace(start).exp(-self._log_std)[:, None, :]
        self._activations = forward(layout.layers(start, "actor"), batch.obs)
        self._slopes = tanh_slopes(self._activations)
        self._ratio = self._ratio_of(self._activations[-1], self._log_std)
        self.surrogate = weighted_mean(self._ratio * advantage, batch.weight)
        """Mean ratio times advantage of the policy that the update begins with, [S]."""

    def _ratio_of(self, mean: Array, log_std: Array) -> Array:
        """Return the probability of the batch's actions over that of the policy which acted, [S, B]."""
        xp, log_std = namespace(mean), log_std[:, None, :]
        noise = (self._batch.action - mean) * xp.exp(-log_std)
        return xp.exp(gaussian_log_prob(noise, log_std) - self._batch.log_prob)

    def surrogate_gradient(self, gradient: Views) -> None:
        """Write the gradient of the surrogate with respect to actor and log-std."""
        noise = (self._batch.action - self._activations[-1]) * self._inv_std
        d_log_prob = self._ratio * self._advantage * share(self._ratio, self._batch.weight)
        d_noise = d_log_prob[..., None] * noise
        layers = self._layout.layers(self._start, "actor")
        backward(layers, self._activations, d_noise * self._inv_std, gradient.actor, self._slopes)
        gradient.log_std[...] = (d_noise * noise).sum(1) - d_log_prob.sum(1)[:, None]

    def fisher(self, some: Batch | None = None) -> GaussianFisher:
        """Return the Fisher information on the samples, or on some of them."""
        batch, activations, slopes = some or self._batch, self._activations, self._slopes
        if some is not None:
            activations = forward(self._layout.layers(self._start, "actor"), some.obs)
            slopes = tanh_slopes(activations)
        return GaussianFisher(self._layout, self._start, activations, slopes, batch.weight, self._kl_weight)

    def scores(self, some: Batch) -> Array:
        """Return a vector of each of some samples [S, n, P], their mean outer product an estimate of that."""
        activations = forward(self._layout.layers(self._start, "actor"), some.obs)
        noise = (some.action - activations[-1]) * self._inv_std
        vectors = score_vectors(self._layout, self._start, activations, tanh_slopes(activations), noise)
        vectors *= self._kl_weight**0.5
        if some.weight is not None:
            vectors *= ((noise.shape[1] * share(noise[..., 0], some.weight)) ** 0.5)[..., None]
        return vectors

    def __call__(self, policy: Array) -> tuple[Array, Array]:
        """Return what policies [S, P] gain in surrogate, and their KL divergence from the start, [S] each."""
        log_std = self._layout.log_std(policy)
        mean = forward(self._layout.layers(policy, "actor"), self._batch.obs)[-1]
        weight = self._batch.weight
        gain = weighted_mean((self._ratio_of(mean, log_std) - self._ratio) * self._advantage, weight)
        shift = (mean - self._activations[-1]) * self._inv_std
        return gain, gaussian_kl(shift, self._log_std, log_std, weight).sum(-1) * self._kl_weight
