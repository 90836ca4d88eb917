"""What hidden units do: tanh, and by name those of `activations`, which may follow layer normalisation."""

from collections.abc import Iterable
from typing import Any, Literal

from rlsparse.learner.arrays import Array, namespace
from rlsparse.learner.deviation import SHARED, SharedDeviation

Activation = Literal["tanh", "elu", "relu", "silu"]


class Tanh:
    """tanh. Others have the same functions."""

    def apply(self, x: Array) -> Any:
        """Replace x by its image; return the derivative where the image alone does not tell it."""
        namespace(x).tanh(x, out=x)
        return None

    def slope(self, activation: Array, out: Array) -> Array:
        """Write the derivative 1 - tanh^2 into `out`, which may be the activation's own memory."""
        xp = namespace(activation)
        xp.multiply(activation, activation, out=out)
        return xp.subtract(1.0, out, out=out)

    def backward(self, delta: Array, slope: Any) -> Array:
        """Return d loss / d x for the slope at x, given d loss / d image, which is overwritten; [S, B, width]."""
        delta *= slope
        return delta

    def forward(self, change: Array, slope: Any) -> Array:
        """Return the change of the image for the slope at x, given that of x, which is overwritten; [S, B, width]."""
        change *= slope
        return change


TANH = Tanh()


class Layers(list[tuple[Array, Array]]):
    """(weight [..., in, out], bias [..., out]) of each layer of a network, and the nonlinearity between them.

    A weight that is not an array has its own product and `write_gradient`. The network reads the first `inputs`
    numbers of what it is given, all of them if None. `deviation` is what an actor's outputs say of actions.
    """

    def __init__(
        self,
        layers: Iterable[tuple[Array, Array]],
        activation: Tanh = TANH,
        inputs: int | None = None,
        deviation: SharedDeviation = SHARED,
    ) -> None:
        super().__init__(layers)
        self.activation, self.inputs, self.deviation = activation, inputs, deviation
