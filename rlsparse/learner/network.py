"""The Gaussian actor and the critic, fully connected networks: functions of the flat parameter vector."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rlsparse.errors import UsageError, require
from rlsparse.learner.activation import Activation, Layers
from rlsparse.learner.arrays import Array, namespace, product_over_samples, sum_over_samples
from rlsparse.learner.bounds import CountFromZero, Finite, Varying, Widths
from rlsparse.learner.gaussian import bounded
from rlsparse.learner.initial_weights import orthogonal
from rlsparse.learner.layout import Layout, actor_critic_layout

NETWORK = ("activation", "layer_normalisation", "state_dependent_std")
"""Fields that say what networks do, beside their sizes."""


@dataclass(frozen=True)
class ActorCritic:
    """A Gaussian actor and a separate critic, both fully connected networks."""

    actor_hidden: Widths = (64, 64)
    """Widths of the actor's hidden layers."""
    critic_hidden: Widths = (64, 64)
    """Widths of the critic's hidden layers."""
    log_std_init: Varying[Finite] = 0.0
    """Initial log standard deviation of every action, in units of half the action range."""
    log_std_min: Varying[Finite] | None = None
    """Least log standard deviation with which the policy acts; no bound if not given."""
    log_std_max: Varying[Finite] | None = None
    """Greatest log standard deviation with which the policy acts; no bound if not given."""
    normalise_observations: bool = True
    """Shift and scale observations by their running mean and deviation."""
    scale_rewards: bool = True
    """Divide rewards by the running deviation of the discounted return."""
    activation: Activation = "tanh"
    """Nonlinearity of hidden units."""
    layer_normalisation: bool = False
    """Shift and scale the hidden units of a layer to mean 0 and deviation 1 of each sample, before the nonlinearity."""
    state_dependent_std: bool = False
    """Let the deviation of actions depend on the observation, within a factor of e around a common one."""
    critic_only: CountFromZero = 0
    """How many of the last observations only the critic sees: what a robot does not measure, and a simulation knows."""

    @property
    def gives(self) -> frozenset[str]:
        """What algorithms may rely on."""
        given = {
            "tanh": self.activation == "tanh",
            "plain-layers": not self.layer_normalisation,
            "shared-deviation": not self.state_dependent_std,
        }
        return frozenset(trait for trait, there in given.items() if there)

    def check(self, recipe: Any) -> None:
        """Raise UsageError if no deviation of actions is within both bounds."""
        least, most = self.log_std_min, self.log_std_max
        if least is not None and most is not None:
            require(least <= most, "policy.log_std_max", most, f"at least --policy.log-std-min, which is {least}")

    def layout(self, obs_size: int, action_size: int, critic: bool = True) -> Layout:
        """Return the layout of the parameters for these sizes in the flat vector, with or without a critic."""
        if self.critic_only >= obs_size:
            least = f"fewer than the {obs_size} observations, of which the policy needs one"
            raise UsageError(f"--policy.critic-only is {self.critic_only}: expected {least}")
        hidden = self.actor_hidden, self.critic_hidden if critic else None
        outputs = action_size * (2 if self.state_dependent_std else 1)
        layout = actor_critic_layout(obs_size, action_size, *hidden, obs_size - self.critic_only, outputs)
        return replace(layout, **{name: getattr(self, name) for name in NETWORK})

    def init(self, layout: Layout, generators: Sequence[np.random.Generator]) -> np.ndarray:
        """Draw each member's initial parameters from its generator, [S, D] float32.

        Orthogonal weights with gain sqrt(2) in hidden layers, 0.01 for the action mean and 1 for the
        value; zero biases. Source: Andrychowicz et al., arXiv 2006.05990, section 3.2.
        """
        params = np.zeros((len(generators), layout.size), np.float32)
        for own, generator in zip(params, generators, strict=True):
            for group, last_gain in (("actor", 0.01), ("critic", 1.0)):
                layers = layout.layers(own, group)  # type: ignore[arg-type]
                for i, (weight, _) in enumerate(layers):
                    gain = last_gain if i == len(layers) - 1 else math.sqrt(2.0)
                    rows, columns = weight.shape
                    weight[...] = orthogonal(rows, columns, gain, generator)
        layout.log_std(params)[...] += self.log_std_init
        return params

    def bound(self, log_std: Array) -> None:
        """Move log standard deviations [S, A] to the least one or the greatest one if they are beyond it, in place."""
        if self.log_std_min is not None or self.log_std_max is not None:
            log_std[...] = bounded(log_std, self.log_std_min, self.log_std_max)


class Activations(list[Array]):
    """Every layer's input and, last, the linear output, [S, B, width] each."""

    slopes: Sequence[Any] = ()
    """Derivatives at hidden units, where the units themselves do not tell them."""


def forward(layers: Layers, x: Array) -> Activations:
    """Run a network on x [S, B, in], of which one with fewer inputs takes the first."""
    x = x[..., : layers.inputs]
    activations, apply = Activations([x]), layers.activation.apply
    for i, (weight, bias) in enumerate(layers):
        x = x @ weight
        x += bias[:, None, :]
        if i < len(layers) - 1 and (slope := apply(x)) is not None:
            activations.slopes = [*activations.slopes, slope]
        activations.append(x)
    return activations


def backward(
    layers: Layers,
    activations: Activations,
    d_output: Array,
    gradients: Layers,
    slopes: Sequence[Any] | None = None,
) -> None:
    """Write d loss / d (weight, bias) into `gradients`, given d loss / d output [S, B, out].

    Overwrites the hidden activations, unless their slopes are given or known.
    """
    slopes = slopes or activations.slopes
    delta = d_output
    for i in range(len(layers) - 1, -1, -1):
        layer_input, weight = activations[i], layers[i][0]
        d_weight, d_bias = gradients[i]
        if hasattr(d_weight, "write_gradient"):
            d_weight.write_gradient(layer_input, delta)
        else:
            d_weight[...] = product_over_samples(layer_input, delta)
        d_bias[...] = sum_over_samples(delta)
        if i > 0:
            # BLAS is slow at outer products
            outer = not hasattr(weight, "write_gradient") and weight.shape[-1] == 1
            delta = delta * weight.mT if outer else delta @ weight.mT
            slope = slopes[i - 1] if slopes else layers.activation.slope(layer_input, layer_input)
            delta = layers.activation.backward(delta, slope)


def slopes_of(layers: Layers, activations: "Activations") -> Sequence[Any]:
    """Return the derivative of the nonlinearity at every hidden unit, [S, B, width] or more of each hidden layer."""
    slope, empty = layers.activation.slope, namespace(activations[0]).empty_like
    return activations.slopes or [slope(x, empty(x)) for x in activations[1:-1]]


def tangents(layers: Layers, activations: Sequence[Array], slopes: Sequence[Any], direction: Layers) -> list[Array]:
    """Derivatives of every layer's output, [S, B, width] each, when the parameters move along `direction`.

    A forward-mode pass, at the result of `forward` and its `slopes_of`; the last item is of the network's output.
    """
    moved: list[Array] = []
    for i, ((weight, _), (d_weight, d_bias)) in enumerate(zip(layers, direction, strict=True)):
        change = activations[i] @ d_weight
        change += d_bias[:, None, :]
        if moved:
            change += moved[-1] @ weight
        if i < len(slopes):
            change = layers.activation.forward(change, slopes[i])
        moved.append(change)
    return moved


def action_mean(layout: Layout, params: Array, obs: Array) -> Array:
    """Mean action, in units of half the action range, for normalised obs [S, B, O]; [S, B, A]."""
    return distribution(layout, params, obs)[0]


def distribution(layout: Layout, params: Array, obs: Array) -> tuple[Array, Array]:
    """Mean [S, B, A] and log-std [S, 1 or B, A] of actions for normalised obs [S, B, O]."""
    outputs = forward(layout.layers(params, "actor"), obs)[-1]
    return layout.deviation.distribution(outputs, layout.log_std(params))


def value(layout: Layout, params: Array, obs: Array) -> Array:
    """Critic's value of normalised obs [S, B, O]; [S, B]."""
    return forward(layout.layers(params, "critic"), obs)[-1][..., 0]
