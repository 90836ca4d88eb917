"""Which parameters an output of a network depends on."""

from collections.abc import Sequence

import torch
from torch import Tensor


def reached(output: Tensor, parameters: Sequence[Tensor]) -> set[int]:
    """Return the ids of the parameters that the output depends on."""
    if not output.requires_grad:
        return set()
    gradients = torch.autograd.grad(output.sum(), parameters, retain_graph=True, allow_unused=True)
    return {id(p) for p, gradient in zip(parameters, gradients, strict=True) if gradient is not None}
