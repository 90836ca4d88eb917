"""The worth of a weight: how far the policy moves when the weight is dropped."""

from collections.abc import Sequence

from rlsparse.learner.activation import Layers
from rlsparse.learner.arrays import Array, namespace
from rlsparse.learner.layout import Layout
from rlsparse.learner.network import forward, slopes_of
from rlsparse.sparse.budgets import NETWORKS, weight_slots


def curvature(layers: Layers, obs: Array, inv_std: Array) -> list[Array]:
    """Diagonal of the Fisher matrix of a network's Gaussian outputs, by layer [S, in, out].

    F_ii = mean over obs [S, B, O] of sum over outputs (d mean_a / d w_i / std_a)^2, with 1 / std in `inv_std` [S, A].
    A sample's gradient of a layer is an outer product, so the sum of their squares is one product of squares.
    """
    xp = namespace(obs)
    activations = forward(layers, obs)
    inputs, slopes = [x * x for x in activations[:-1]], slopes_of(layers, activations)
    average = xp.ones_like(obs[:1, :, 0])[:, None] / obs.shape[1]  # [1, 1, B]
    found = [xp.zeros_like(weight) for weight, _ in layers]
    found[-1] += xp.matmul(average, inputs[-1]).mT * (inv_std * inv_std)[:, None]
    for action in range(inv_std.shape[1]):
        delta = xp.zeros_like(activations[-2])
        delta += (layers[-1][0][:, :, action] * inv_std[:, action : action + 1])[:, None]
        for i in range(len(layers) - 2, -1, -1):
            delta = layers.activation.backward(delta, slopes[i])
            found[i] += xp.matmul(inputs[i].mT, delta * delta) / obs.shape[1]
            if i:
                delta = xp.matmul(delta, layers[i][0].mT)
    return found


def saliency(layout: Layout, params: Array, obs: Array) -> Array:
    """Mean KL divergence that dropping each weight alone costs the policy, w^2 F_ii / 2 to second order; [S, D].

    For the critic the same with its values as means and a deviation of 1: half the squared change. Other parameters
    have 0. Source: LeCun et al., Optimal brain damage (1989), with the policy's Fisher matrix.
    """
    xp = namespace(params)
    found = xp.zeros_like(params)
    deviations: Sequence[Array] = (xp.exp(-layout.log_std(params)), xp.ones_like(params[:, :1]))
    for group, inv_std in zip(NETWORKS, deviations, strict=True):
        layers = layout.layers(params, group)
        diagonals = curvature(layers, obs, inv_std) if layers else []
        for slot, fisher in zip(weight_slots(layout, group), diagonals, strict=True):
            weight = layout.view(params, slot)
            found[:, slot.start : slot.stop] = (0.5 * weight * weight * fisher).reshape(len(params), -1)
    return found
