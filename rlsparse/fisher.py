"""The Fisher information of a Gaussian tanh-MLP policy, as products with vectors in closed form."""

from collections.abc import Sequence

from rlsparse.arrays import Array, namespace
from rlsparse.losses import share
from rlsparse.params import Layout
from rlsparse.policy import backward, tangent


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
        d_mean = tangent(self._layers, self._activations, self._slopes, self._layout.layers(vector, "actor"))
        d_mean *= self._precision
        backward(self._layers, self._activations, d_mean, self._layout.layers(image, "actor"), self._slopes)
        self._layout.log_std(image)[...] = 2.0 * self._scale * self._layout.log_std(vector)
        return image
