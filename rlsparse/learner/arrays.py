"""One set of formulas for numpy arrays (CPU) and torch tensors (GPU)."""

from collections.abc import Sequence
from functools import cache
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
    """Return `x` itself on "cpu", else a torch tensor on `device`; "cpu:0" is torch's name of the CPU."""
    if device == "cpu":
        return x
    import torch

    # does not wait for the device's present work: the host's memory is read before the call returns
    return torch.as_tensor(x).to(device, non_blocking=True)


def to_numpy(x: Array) -> np.ndarray:
    """Return `x` as a numpy array, copied to the host if it lives elsewhere."""
    return x if isinstance(x, np.ndarray) else x.detach().cpu().numpy()


def as_float32(x: Array) -> Array:
    """Return `x` in single precision, where it lives."""
    xp = namespace(x)
    return xp.asarray(x, dtype=xp.float32)


def as_float64(x: Array) -> Array:
    """Return `x` in double precision, where it lives."""
    xp = namespace(x)
    return xp.asarray(x, dtype=xp.float64)


def in_groups(x: Array, group_size: int) -> Array:
    """View arrays [..., N] as [..., N / G, G]."""
    # numpy's order of summation follows the memory layout
    dense = np.ascontiguousarray(x) if isinstance(x, np.ndarray) else x
    return dense.reshape(*x.shape[:-1], -1, group_size)


def to_members(x: Array, group_size: int) -> Array:
    """Repeat each group's number for its environments: [..., N / G] as [..., N]."""
    return namespace(x).broadcast_to(x[..., None], (*x.shape, group_size)).reshape(*x.shape[:-1], -1)


def known_empty(marked: Array) -> bool:
    """Whether surely nothing is marked; False on a device, where the answer would have to be waited for."""
    return isinstance(marked, np.ndarray) and not marked.any()


def sum_by_group(x: Array, group: Array) -> Array:
    """Return, for numbers x [S, B], the sum over their group, a whole number from 0 on [S, B]; [S, B]."""
    if isinstance(x, np.ndarray):
        rows = [np.bincount(of, own)[of] for own, of in zip(x, group, strict=True)]
        return np.stack(rows).astype(x.dtype)
    numbers, order = group.sort(1)
    is_next = numbers.diff(dim=1, prepend=numbers[:, :1]) != 0
    group = group.scatter(1, order, is_next.cumsum(1))  # from 0 on without gaps, for at most B sums
    return x.new_zeros(x.shape).scatter_add(1, group, x).gather(1, group)


def mean_by_group(x: Array, group: Array) -> Array:
    """Return, for numbers x [S, B], the mean of their group, a whole number from 0 on [S, B]; [S, B]."""
    return sum_by_group(x, group) / sum_by_group(x * 0 + 1, group)


PART = 512
"""Samples that a device sums in one piece: one sum for each of few members would keep few of its processors busy."""


def product_over_samples(x: Array, y: Array) -> Array:
    """Sum over samples of the outer products of x [S, B, I] and y [S, B, O]; [S, I, O]."""
    members, samples = x.shape[:2]
    if isinstance(x, np.ndarray) or samples % PART:
        return namespace(x).matmul(x.mT, y)
    x, y = (z.reshape(members, -1, PART, z.shape[-1]) for z in (x, y))
    return (x.mT @ y).sum(1)


def sum_over_samples(x: Array) -> Array:
    """Sum of x [S, B, K] over samples, [S, K]."""
    if not isinstance(x, np.ndarray):
        return x.sum(1)
    # a sum written as a product takes a third of the time
    return np.matmul(_ones(x.shape[1], x.dtype), x)[:, 0]


@cache
def _ones(samples: int, dtype: np.dtype) -> np.ndarray:
    return np.ones((1, 1, samples), dtype)


def pack_ragged(name: str, rows: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Pack arrays [L_i, K] of several lengths into two arrays, which a checkpoint can hold."""
    return {name: np.concatenate(rows), f"{name}_lengths": np.array([len(x) for x in rows], np.int64)}


def unpack_ragged(name: str, state: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Return the arrays that `pack_ragged` packed."""
    return np.split(state[name], np.cumsum(state[f"{name}_lengths"])[:-1])
