"""Budgets: how many weights each layer of a network keeps."""

import math
from collections.abc import Sequence
from typing import Literal

from rlsparse.learner.layout import Group, Layout, Slot

Shape = tuple[int, int]
Budget = Literal["erk", "uniform"]

NETWORKS: tuple[Group, Group] = ("actor", "critic")


def erdos_renyi(shape: Shape, scale: float) -> float:
    """Density of a layer (inputs, outputs): scale * (inputs + outputs) / (inputs * outputs), at most 1.

    Source: Mocanu et al., Nature Communications 9 (2018).
    """
    return min(1.0, scale * sum(shape) / math.prod(shape))


def erk_scale(shapes: Sequence[Shape], sparsity: float) -> float:
    """Scale at which `erdos_renyi` densities keep a share 1 - sparsity of all weights together.

    Layers that would be more than dense are dense, and the others share the rest. For fully connected layers
    Erdos-Renyi and Erdos-Renyi-Kernel are the same. Source: Evci et al., arXiv 1911.11134.
    """
    dense: set[int] = set()
    while True:
        zeros = [math.floor(sparsity * math.prod(shape)) for shape in shapes]
        open_layers = [i for i in range(len(shapes)) if i not in dense]
        budget = sum(math.prod(shapes[i]) - zeros[i] for i in open_layers) - sum(zeros[i] for i in dense)
        # the density of a layer at scale 1, times its size, is the sum of its shape
        scale = budget / sum(sum(shapes[i]) for i in open_layers)
        largest = max(sum(shapes[i]) / math.prod(shapes[i]) for i in open_layers)
        if scale * largest <= 1:
            return scale
        dense |= {i for i in open_layers if sum(shapes[i]) / math.prod(shapes[i]) == largest}
        if len(dense) == len(shapes):
            return scale


def densities(shapes: Sequence[Shape], sparsity: float, budget: Budget) -> list[float]:
    """Density of each layer of one network."""
    if budget == "uniform" or not sparsity:
        return [1.0 - sparsity] * len(shapes)
    scale = erk_scale(shapes, sparsity)
    return [erdos_renyi(shape, scale) for shape in shapes]


def kept(shape: Shape, density: float) -> int:
    """Number of weights that a layer of this density keeps: its zeros are rounded down; at least one is kept."""
    size = math.prod(shape)
    return max(1, size - math.floor((1.0 - density) * size))


def weight_slots(layout: Layout, group: Group) -> list[Slot]:
    """Return the slots of the weights of a network's layers, in order."""
    return [slot for slot in layout.slots if slot.group == group and len(slot.shape) == 2]
