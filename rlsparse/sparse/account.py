"""What a sparse network is like: how much of it is there, was ever there, is dead, and what it costs."""

from collections.abc import Sequence

import numpy as np


def share_of_weights(marked: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Share of the `weights` [D] bool that are marked in [S, D] bool; [S].

    Of those active now it is the density, of those ever active the in-time over-parameterisation rate (Liu et al.,
    arXiv 2102.02887).
    """
    return marked[:, weights].mean(1)


def dead_units(layers: Sequence[np.ndarray]) -> np.ndarray:
    """Count hidden units without any incoming or any outgoing weight, by the masks [S, in, out] of each layer; [S]."""
    dead = [~(before.any(1) & after.any(2)) for before, after in zip(layers, layers[1:], strict=False)]
    return sum((x.sum(1) for x in dead), np.zeros(len(layers[0]), np.int64))


def forward_flops(active: np.ndarray) -> np.ndarray:
    """Operations of one forward pass with so many weights: a product and a sum each."""
    return 2.0 * active


def training_flops(forward: np.ndarray, dense_forward: np.ndarray, dense_gradient: np.ndarray) -> np.ndarray:
    """Operations of a forward and a backward pass, if absent weights cost nothing, [S].

    The gradient of absent weights, where it is wanted, costs that of a dense network. Source: Evci et al.,
    arXiv 1911.11134.
    """
    return 2 * forward + np.where(dense_gradient, dense_forward, forward)


def dense_path_flops(forward: np.ndarray, dense_forward: np.ndarray) -> np.ndarray:
    """Operations of a second, dense forward and backward pass that wants the gradient of absent weights only, [S]."""
    return 3 * dense_forward - forward


def effective_gradient_flow(gradients: Sequence[np.ndarray], masks: Sequence[np.ndarray], order: int) -> np.ndarray:
    """Mean over layers of the norm of order 1 or 2 of the active weights' gradient; of arrays [S, ...], [S].

    After Tessera et al., arXiv 2102.01670.
    """
    rows = [np.where(mask, x, 0.0).reshape(len(x), -1) for x, mask in zip(gradients, masks, strict=True)]
    return np.mean([np.linalg.norm(row, order, axis=1) for row in rows], 0)
