"""Nonlinearities of hidden units beside tanh, with their derivatives, on numpy arrays and torch tensors."""

from rlsparse.learner.activation import Tanh
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


BY_NAME: dict[str, Tanh] = {"elu": ELU(), "relu": ReLU(), "silu": SiLU()}
