"""What all vector environments have in common: seeds and masks of a reset, the results of a step, and cores."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

StepResult = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]
"""Observation, reward, terminated, truncated and info."""


def usable_cores() -> int:
    """Number of cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def seed_each(seed: int | Sequence[int | None] | None, num_envs: int) -> list[int | None]:
    """One seed per environment: an int s means s, s + 1, ...; a sequence has one for each; None means none."""
    if seed is None:
        return [None] * num_envs
    seeds = range(int(seed), int(seed) + num_envs) if isinstance(seed, int | np.integer) else seed
    if len(seeds) != num_envs:
        raise ValueError(f"{len(seeds)} seeds were given for {num_envs} environments")
    return [None if given is None else int(given) for given in seeds]


def chosen_environments(options: dict[str, Any] | None, num_envs: int) -> np.ndarray:
    """Which environments to reset, bool `[num_envs]`: options["reset_mask"], else all."""
    mask = (options or {}).get("reset_mask")
    if mask is None:
        return np.ones(num_envs, bool)
    if not isinstance(mask, np.ndarray) or mask.dtype != bool or mask.shape != (num_envs,):
        raise ValueError(f"options['reset_mask'] must be a bool array of shape ({num_envs},), not {mask!r}")
    if not mask.any():
        raise ValueError("options['reset_mask'] chooses no environment")
    return mask
