"""Refuses what a CUDA graph cannot capture, on torch's meta device, where nothing is computed and no GPU is needed.

A tensor of another device would be read from the host, a number drawn or brought to the host once and for all, and an
array whose size depends on numbers has none.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

DEVICE = "meta"

UNFIT = {
    torch.Tag.nondeterministic_seeded: "draws numbers",
    torch.Tag.data_dependent_output: "reads a number to the host",
    torch.Tag.dynamic_output_shape: "makes an array whose size depends on numbers",
}


class NotCapturable(Exception):
    """Says what cannot be captured."""


class CaptureLint(TorchDispatchMode):
    """Looks at every operation on tensors; `operations` counts them."""

    def __init__(self):
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.operations += 1
        for tag in func.tags & UNFIT.keys():
            raise NotCapturable(f"{func} {UNFIT[tag]}")
        self._on_device(func, "takes", (args, kwargs))
        result = func(*args, **(kwargs or {}))
        self._on_device(func, "returns", result)
        return result

    @staticmethod
    def _on_device(func, does, values):
        for x in tree_leaves(values):
            if isinstance(x, torch.Generator):
                raise NotCapturable(f"{func} draws numbers")
            if isinstance(x, torch.Tensor) and x.device.type != DEVICE:
                raise NotCapturable(f"{func} {does} a tensor on {x.device}")


def moved(x, known=None):
    """Put all tensors that an object of ours holds on the meta device, in place; returns what stands for `x`."""
    known = {} if known is None else known
    if id(x) in known:
        return known[id(x)]
    known[id(x)] = x
    if isinstance(x, torch.Tensor):
        known[id(x)] = x.to(DEVICE)
    elif isinstance(x, torch.device):
        return torch.device(DEVICE)
    elif isinstance(x, dict):
        x.update({name: moved(own, known) for name, own in x.items()})
    elif isinstance(x, list):
        x[:] = [moved(own, known) for own in x]
    elif type(x).__module__.partition(".")[0] in ("rlsparse", "types") and hasattr(x, "__dict__"):
        for name, own in vars(x).items():
            object.__setattr__(x, name, moved(own, known))
    return known[id(x)]
