"""Observations and rewards must be finite: a run that continues with infinities learns nothing."""

from collections.abc import Sequence

import numpy as np
from gymnasium.vector import VectorEnv

from rlsparse.advantage.environments import WrappedEnvs
from rlsparse.errors import DivergenceError

LARGEST = float(np.finfo(np.float32).max)
"""Networks compute in float32: larger numbers are infinite there."""


def check_finite(
    env: VectorEnv | WrappedEnvs, obs: np.ndarray, reward: np.ndarray, seeds: Sequence[int], step: int, phase: str
) -> None:
    """Raise DivergenceError, naming where, unless obs [S * N, O] and reward [S * N] are finite in float32."""
    # called at every step: a sum of squares is the cheapest sufficient test, and False for NaN
    if np.vdot(obs, obs) + np.vdot(reward, reward) <= LARGEST**2:
        return
    bad_reward = ~(np.abs(reward) <= LARGEST)
    bad = np.flatnonzero(bad_reward | ~(np.abs(obs) <= LARGEST).all(1))
    if not bad.size:
        return
    i = int(bad[0])
    what = "a reward" if bad_reward[i] else "an observation"
    member, index = divmod(i, env.num_envs // len(seeds))
    raise DivergenceError(
        f"{name_of(env)} gave {what} that is not finite: seed {seeds[member]}, environment {index}, step {step} of "
        f"{phase}; the policy of the last complete iteration is kept"
    )


def name_of(env: VectorEnv | WrappedEnvs) -> str:
    """Return the environment's id, or its class if it has none."""
    return env.spec.id if env.spec else type(env).__name__
