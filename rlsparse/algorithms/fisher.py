"""The Fisher information of a Gaussian tanh-MLP policy: its products with vectors, and the scores whose mean it is."""

from collections.abc import Sequence

from rlsparse.learner.arrays import Array, namespace
from rlsparse.learner.gaussian import share
from rlsparse.learner.layout import Layout
from rlsparse.learner.network import backward, tangents
from rlsparse.sparse.packed_matrix import PackedMatrix


class GaussianFisher:
    """F v = J^T Sigma^-1 J v / B for the mean, J its Jacobian over B samples, and 2 v for the log-stds; times `scale`.

    With `weight` [S, B] the mean over samples is by it. F is the Hessian of the mean KL divergence, summed over action
    dimensions, where both policies are the same.
    Source: Schulman et al., arXiv 1502.05477, appendix C.1.
    """

    def __init__(
        self,
        layout: Layout,
        params: Array,
        activations: Sequence[Array],
        slopes: Sequence[Array],
        weight: Array | None = None,
        scale: float = 1.0,
    ) -> None:
        """Linearise at params [S, P or D], with what `forward` gave for the samples and its `tanh_slopes`."""
        self._layout, self._activations, self._slopes = layout, activations, slopes
        self._layers = layout.layers(params, "actor")
        variance = namespace(params).exp(2.0 * layout.log_std(params))[:, None, :]
        counts: Array = share(activations[-1][..., 0], weight)
        self._precision = scale / variance * (counts if weight is None else counts[..., None])
        self._scale = scale

    def __call__(self, vector: Array) -> Array:
        """Return F v for v [S, P], P the policy's numbers."""
        image = namespace(vector).empty_like(vector)
        d_mean = tangents(self._layers, self._activations, self._slopes, self._layout.layers(vector, "actor"))[-1]
        d_mean *= self._precision
        backward(self._layers, self._activations, d_mean, self._layout.layers(image, "actor"), self._slopes)
        self._layout.log_std(image)[...] = 2.0 * self._scale * self._layout.log_std(vector)
        return image


def score_vectors(
    layout: Layout, params: Array, activations: Sequence[Array], slopes: Sequence[Array], noise: Array
) -> Array:
    """Return the gradient of each sample's log-density with respect to the policy's numbers, [S, B, P].

    `noise` [S, B, A] is (action - mean) / deviation. Its mean outer product over a policy's own actions is F.
    """
    xp, layers = namespace(noise), layout.layers(params, "actor")
    log_std = layout.log_std(params)
    scores = xp.zeros_like(params[:, None, : layout.policy.stop]) + 0 * noise[..., :1]
    delta = noise * xp.exp(-log_std)[:, None, :]
    for i, (d_weight, d_bias) in reversed([*enumerate(layout.layers(scores, "actor"))]):
        if isinstance(d_weight, PackedMatrix):
            d_weight.write_scores(activations[i], delta)
        else:
            d_weight[...] = activations[i][..., :, None] * delta[..., None, :]
        d_bias[...] = delta
        if i:
            delta = (delta @ layers[i][0].mT) * slopes[i - 1]
    layout.log_std(scores)[...] = noise * noise - 1.0
    return scores
