"""Observations and rewards must be finite, and so must their squares: a run that goes on with others learns nothing."""

from collections.abc import Sequence

import numpy as np
from gymnasium.vector import VectorEnv

from rlsparse.advantage.environments import WrappedEnvs
from rlsparse.errors import DivergenceError

LARGEST = 1e15
"""Larger numbers are refused. Networks compute in float32, where the squares of some thousand returns of a hundred such
rewards still have a finite sum; far larger ones would be finite, but leave nothing of all others in a normaliser."""


def check_finite(
    env: VectorEnv | WrappedEnvs, obs: np.ndarray, reward: np.ndarray, seeds: Sequence[int], when: str, *numbers: int
) -> None:
    """Raise DivergenceError, naming where, unless obs [S * N, O] and reward [S * N] are finite and not too large.

    `when` has a pair of braces for each of the numbers: text is made only where it is needed.
    """
    # called at every step: a sum of squares is the cheapest sufficient test, and False for NaN
    if np.vdot(obs, obs) + np.vdot(reward, reward) <= LARGEST**2:
        return
    sizes = np.stack([np.abs(reward), np.abs(obs).max(1)])
    bad = ~(sizes <= LARGEST)
    if not bad.any():
        return
    i = int(bad.any(0).argmax())
    size, what = (sizes[0, i], "reward") if bad[0, i] else (sizes[1, i], "observation")
    how, hint, when = "that is not finite", "", when.format(*numbers)
    if size <= np.finfo(np.float32).max:
        how, hint = f"of size {size:g}, which is too large", f": scale {what}s down, below {LARGEST:g}"
    raise DivergenceError(
        f"{name_of(env)} gave {'an' if what == 'observation' else 'a'} {what} {how}: "
        f"{place(i, env.num_envs, seeds)}, {when}; the policy of the last complete iteration is kept{hint}",
        i // (env.num_envs // len(seeds)) if seeds else None,
    )


def place(i: int, num_envs: int, seeds: Sequence[int]) -> str:
    """Say whose environment number i of `num_envs` is: they belong in equal parts to members with these seeds."""
    if not seeds:
        return f"environment {i}"
    member, index = divmod(i, num_envs // len(seeds))
    return f"seed {seeds[member]}, environment {index}"


def name_of(env: VectorEnv | WrappedEnvs) -> str:
    """Return the environment's id, or its class if it has none."""
    return env.spec.id if env.spec else type(env).__name__
