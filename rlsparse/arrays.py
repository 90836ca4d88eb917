"""One set of formulas for numpy arrays (CPU) and torch tensors (GPU)."""

from types import ModuleType
from typing import Any

import numpy as np

Array = Any
"""A numpy array or a torch tensor; the formulas use only what both offer."""


def namespace(x: Array) -> ModuleType:
    """Return the module, `numpy` or `torch`, whose functions take `x`."""
    if isinstance(x, np.ndarray):
        return np
    import torch

    return torch


def to_device(x: np.ndarray, device: str) -> Array:
    """Return `x` itself on "cpu", else a torch tensor on `device`."""
    if device == "cpu":
        return x
    import torch

    return torch.as_tensor(x, device=device)


def to_numpy(x: Array) -> np.ndarray:
    """Return `x` as a numpy array, copied to the host if it lives elsewhere."""
    return x if isinstance(x, np.ndarray) else x.detach().cpu().numpy()
