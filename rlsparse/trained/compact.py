"""Rewrite a policy as the smallest equal network from raw observations to environment actions; nothing is retrained."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from rlsparse.learner.activation import Activation
from rlsparse.learner.layout import Layout, hidden_units
from rlsparse.learner.normaliser import ObsScale

Layer = tuple[np.ndarray, np.ndarray]
"""Weight [in, out] and bias [out]."""


@dataclass(frozen=True)
class Network:
    """A deterministic fully connected policy with its normaliser and its action range, of R of the O observations."""

    obs_size: int
    """O."""
    inputs: np.ndarray
    """Which observations are read, [R], ascending."""
    shift: np.ndarray
    """What is subtracted from them first, [R]."""
    limit: np.ndarray
    """Largest magnitude of what then goes on, [R]; infinite for none."""
    layers: tuple[Layer, ...]
    low: np.ndarray
    """Smallest actions, [A]."""
    high: np.ndarray
    activation: Activation = "tanh"
    """Nonlinearity of hidden units."""
    layer_normalisation: bool = False
    """Whether there is layer normalisation before it."""

    @property
    def widths(self) -> list[int]:
        """Inputs, hidden units of every layer, actions."""
        return [len(self.inputs), *(len(bias) for _, bias in self.layers)]

    @property
    def num_weights(self) -> int:
        """How many weights are not zero."""
        return sum(int(np.count_nonzero(weight)) for weight, _ in self.layers)

    @property
    def num_dense_weights(self) -> int:
        """How many weights there are, zeros too."""
        return sum(weight.size for weight, _ in self.layers)

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """Environment action [..., A] for raw obs [..., O], in the precision of the numbers."""
        x = np.clip(obs[..., self.inputs] - self.shift, -self.limit, self.limit)
        for weight, bias in self.layers[:-1]:
            x = self.hidden(x @ weight + bias)
        weight, bias = self.layers[-1]
        return np.clip(x @ weight + bias, self.low, self.high)

    def hidden(self, x: np.ndarray) -> np.ndarray:
        """Return what hidden units make of x, which is left alone."""
        x = x.copy()
        hidden_units(self.activation, self.layer_normalisation).apply(x)
        return x


def fold(layout: Layout, params: np.ndarray, scale: ObsScale, low: np.ndarray, high: np.ndarray) -> Network:
    """Put the normaliser (S = 1) and the action range [low, high] into the actor's layers of `params` [D]; in float64.

    Clipping (obs - mean) / std to +-c is clipping obs - mean to +-c std, so the division goes into the first weights.
    The mean stays apart: in the first bias, the digits of an observation that barely varies would cancel.
    """
    folded = [(weight.astype(np.float64), bias.astype(np.float64)) for weight, bias in layout.layers(params, "actor")]
    seen = len(folded[0][0])  # the last observations may be the critic's alone
    mean, inv_std = (x[0, :seen].astype(np.float64) for x in (scale.mean, scale.inv_std))
    weight, bias = folded[0]
    folded[0] = weight * inv_std[:, None], bias
    weight, bias = (x[..., : len(high)] for x in folded[-1])  # further outputs are of deviations
    half, centre = (high - low) / 2.0, (high + low) / 2.0
    folded[-1] = weight * half, bias * half + centre
    low, high = (np.asarray(bound, np.float64) for bound in (low, high))
    limit = scale.clip / inv_std
    hidden = layout.activation, layout.layer_normalisation
    return Network(len(mean), np.arange(len(mean)), mean, limit, tuple(folded), low, high, *hidden)


def compact(network: Network) -> Network:
    """Drop what cannot change an action: constant units, units nobody reads, observations nobody reads.

    A unit without incoming weights always is the image of its bias, which goes into the biases of those that read it.
    One pass forwards for these and one backwards for units without outgoing weights leave none of either. Of every
    layer one unit stays, for kernels that know no empty matrix. With layer normalisation every unit is read by all
    others of its layer, so they all stay.
    """
    layers = list(network.layers)
    hidden = [] if network.layer_normalisation else [*range(len(layers) - 1)]
    for i in hidden:
        layers[i : i + 2] = _without_constants(layers[i], layers[i + 1], network.hidden)
    for i in reversed(hidden):
        layers[i : i + 2] = _keeping(layers[i], layers[i + 1], _any(layers[i + 1][0], axis=1))
    weight, bias = layers[0]
    read = _any(weight, axis=1)
    layers[0] = weight[read], bias
    inputs, shift, limit = network.inputs[read], network.shift[read], network.limit[read]
    return replace(network, inputs=inputs, shift=shift, limit=limit, layers=tuple(layers))


def _without_constants(layer: Layer, reader: Layer, image: Callable[[np.ndarray], np.ndarray]) -> list[Layer]:
    (weight, bias), (next_weight, next_bias) = layer, reader
    varies = _any(weight, axis=0)
    folded = next_bias + image(bias[~varies]) @ next_weight[~varies]
    return _keeping(layer, (next_weight, folded), varies)


def _keeping(layer: Layer, reader: Layer, units: np.ndarray) -> list[Layer]:
    (weight, bias), (next_weight, next_bias) = layer, reader
    return [(weight[:, units], bias[units]), (next_weight[units], next_bias)]


def _any(weight: np.ndarray, axis: int) -> np.ndarray:
    """Mark rows or columns that are not zero, and the first if all are."""
    marked = np.any(weight, axis)
    return marked if marked.any() else np.arange(len(marked)) == 0


def rounded(network: Network, weights: type[np.floating]) -> Network:
    """Round all numbers to float32, the weights to the type `weights` before.

    The action range is rounded inwards, so that no action leaves it. Weights too large for the type become infinite.
    """
    with np.errstate(over="ignore"):
        layers = tuple((w.astype(weights).astype(np.float32), b.astype(np.float32)) for w, b in network.layers)
    shift, limit, low, high = (x.astype(np.float32) for x in (network.shift, network.limit, network.low, network.high))
    low = np.where(low < network.low, np.nextafter(low, np.float32(np.inf)), low)
    high = np.where(high > network.high, np.nextafter(high, np.float32(-np.inf)), high)
    return replace(network, shift=shift, limit=limit, layers=layers, low=low, high=high)
