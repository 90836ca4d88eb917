"""What hidden units do beside tanh, with the derivatives, on numpy arrays and torch tensors."""

from rlsparse.learner.activation import TANH, Activation, Tanh
from rlsparse.learner.arrays import Array, namespace


class ReLU(Tanh):
    """max(x, 0)."""

    def apply(self, x: Array) -> Array | None:
        """Replace x by its image, which tells the derivative."""
        x[...] = x * (x > 0)
        return None

    def slope(self, activation: Array, out: Array) -> Array:
        """Write the derivative, 1 above 0, into `out`."""
        out[...] = activation > 0
        return out


class ELU(Tanh):
    """x above 0, e^x - 1 below. Source: Clevert et al., arXiv 1511.07289, with alpha 1."""

    def apply(self, x: Array) -> Array | None:
        """Replace x by its image, which tells the derivative."""
        xp = namespace(x)
        x[...] = xp.where(x > 0, x, xp.expm1(x * (x < 0)))
        return None

    def slope(self, activation: Array, out: Array) -> Array:
        """Write the derivative, 1 above 0 and the image + 1 below, into `out`."""
        out[...] = activation * (activation < 0) + 1.0
        return out


class SiLU(Tanh):
    """x times the logistic function of x. Source: Elfwing et al., arXiv 1702.03118."""

    def apply(self, x: Array) -> Array | None:
        """Replace x by its image, and return the derivative, which the image does not tell."""
        xp = namespace(x)
        logistic = 0.5 + 0.5 * xp.tanh(0.5 * x)
        slope = logistic * (1.0 + x * (1.0 - logistic))
        x *= logistic
        return slope


EPSILON = 1e-5
"""Added to the variance of a layer, as torch.nn.LayerNorm does."""


class Normalised(Tanh):
    """A nonlinearity after layer normalisation, which has no weights of its own: the biases are before it.

    y = (x - mean) / sqrt(variance + EPSILON), mean and variance of the units of one sample.
    Source: Ba et al., arXiv 1607.06450; without gain and bias: Xu et al., arXiv 1911.07013, section 3.
    """

    def __init__(self, nonlinearity: Tanh) -> None:
        self._nonlinearity = nonlinearity

    def apply(self, x: Array) -> tuple[Array, Array, Array]:
        """Replace x by its image; return the nonlinearity's derivative at y, y itself and 1 / deviation."""
        x -= x.mean(-1)[..., None]
        inv_std = ((x * x).mean(-1)[..., None] + EPSILON) ** -0.5
        x *= inv_std
        y = x * 1
        slope = self._nonlinearity.apply(x)
        if slope is None:
            slope = self._nonlinearity.slope(x, namespace(x).empty_like(x))
        return slope, y, inv_std

    def backward(self, delta: Array, slope: tuple[Array, Array, Array]) -> Array:
        """Return d loss / d x, given d loss / d image."""
        return _change_of_y(delta * slope[0], *slope[1:])

    def forward(self, change: Array, slope: tuple[Array, Array, Array]) -> Array:
        """Return the change of the image, given that of x."""
        return slope[0] * _change_of_y(change, *slope[1:])


def _change_of_y(change: Array, y: Array, inv_std: Array) -> Array:
    """Return the derivative of y times a change of x; it is symmetric, so its transpose is the same."""
    along = (change * y).mean(-1)[..., None]
    return inv_std * (change - change.mean(-1)[..., None] - y * along)


BY_NAME: dict[str, Tanh] = {"tanh": TANH, "elu": ELU(), "relu": ReLU(), "silu": SiLU()}


def hidden_units(activation: Activation, layer_normalisation: bool) -> Tanh:
    """Return what hidden units do."""
    nonlinearity = BY_NAME[activation]
    return Normalised(nonlinearity) if layer_normalisation else nonlinearity
