"""Score policies by whole episodes on fixed seeds, many members at once."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from gymnasium.vector import VectorEnv

from rlsparse.errors import Interrupted
from rlsparse.learner.network import Actors
from rlsparse.sim.collect import ActionBox, check_finite

STEP_CAP = 10_000
"""An episode of an environment without a time limit is cut here."""


@dataclass(frozen=True)
class Scores:
    """Undiscounted returns and lengths of whole episodes, [S, E]; the steps they cost are the lengths' sum."""

    returns: np.ndarray
    lengths: np.ndarray


def evaluate(
    env: VectorEnv,
    actors: Actors,
    seeds: list[int],
    stop: Callable[[], bool] = lambda: False,
    watch: Callable[[np.ndarray], None] = lambda obs: None,
) -> Scores:
    """Run one deterministic episode in each of the S * E environments (index s * E + e).

    `env` must not reset by itself (autoreset off); an environment whose episode has ended is not
    stepped any more, so every step is counted once. The normaliser is frozen. Raises Interrupted as
    soon as `stop`, asked before every step, says so. `watch` sees observations [S * E, O] at the start
    and after each step.
    """
    members, total = len(actors.seeds), env.num_envs
    space = env.single_action_space
    to_native = ActionBox(space.low, space.high)  # type: ignore[attr-defined]
    obs, _ = env.reset(seed=seeds)  # type: ignore[arg-type]
    watch(obs)
    returns, lengths, alive = np.zeros(total), np.zeros(total, np.int64), np.ones(total, bool)
    while alive.any() and lengths.max() < STEP_CAP:
        if stop():
            raise Interrupted
        action = actors(obs.reshape(members, total // members, -1))
        obs, reward, terminated, truncated, _ = env.step(to_native(action.reshape(total, -1)))
        check_finite(env, obs, reward, actors.seeds, int(lengths.max()), "an evaluation episode")
        watch(obs)
        returns[alive] += reward[alive]
        lengths += alive
        alive &= ~(terminated | truncated)
    return Scores(returns.reshape(members, -1), lengths.reshape(members, -1))
