"""What a probe does to any policy in torch: its parameters as one vector, its optimiser, all else left as it was."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class ParameterVector:
    """Parameters as one vector [P]: in their order, each flattened by rows, as torch's parameters_to_vector does."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = list(parameters)

    def read(self) -> np.ndarray:
        """Return the parameters, [P] float64."""
        return torch.cat([p.detach().reshape(-1).cpu().double() for p in self.parameters]).numpy()

    def write(self, point: np.ndarray) -> None:
        """Put a point [P] into the parameters, in place."""
        self.put(self.parts(point[None]), 0)

    def parts(self, points: np.ndarray) -> list[Tensor]:
        """Return points [C, P] as tensors [C, ...] of the parameters' shapes, types and devices."""
        sizes = [p.numel() for p in self.parameters]
        owned = zip(torch.as_tensor(points).split(sizes, 1), self.parameters, strict=True)
        return [column.to(p.device, p.dtype).reshape(-1, *p.shape) for column, p in owned]

    def put(self, parts: list[Tensor], row: int) -> None:
        """Put one of the points that `parts` gave into the parameters, in place."""
        with torch.no_grad():
            for parameter, part in zip(self.parameters, parts, strict=True):
                parameter.copy_(part[row])


def reached(output: Tensor, parameters: Sequence[Tensor]) -> set[int]:
    """Return the ids of the parameters that the output depends on."""
    if not output.requires_grad:
        return set()
    gradients = torch.autograd.grad(output.sum(), parameters, retain_graph=True, allow_unused=True)
    return {id(p) for p, gradient in zip(parameters, gradients, strict=True) if gradient is not None}


def forget(optimiser: Optimizer, moments: str, parameters: Sequence[nn.Parameter]) -> None:
    """Treat the optimiser's moments after the parameters were moved by another hand: see `ExploRLer.moments`."""
    if moments == "reset":
        optimiser.state.clear()
    elif moments == "transport":
        for parameter in parameters:
            for name in ("exp_avg", "momentum_buffer"):
                first = optimiser.state.get(parameter, {}).get(name)
                if first is not None:
                    first.zero_()


@contextmanager
def undisturbed(policy: nn.Module | None, device: torch.device) -> Iterator[None]:
    """Put the global random states back as they were, which a user's environments and networks may draw from.

    Meanwhile the policy, if it is given, is in evaluation mode.
    """
    python, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 - of the user's code
    modes = [(module, module.training) for module in policy.modules()] if policy is not None else []
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            if policy is not None:
                policy.eval()
            yield
    finally:
        for module, training in modes:
            module.training = training
        random.setstate(python)
        np.random.set_state(numpy_state)  # noqa: NPY002
