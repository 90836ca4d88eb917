"""Whole episodes of many candidates at once, scored as in our own runs; one model is one member."""

from collections.abc import Callable

import numpy as np

from rlsparse.sb3.actor import Actor
from rlsparse.sb3.environments import Environments
from rlsparse.sim.episodes import ProbeEpisodes, common_noise
from rlsparse.sim.user_envs import Obs


def candidate_episodes(
    actor: Actor, where: Environments, seeds: list[int], allowance: int, noise_seeds: list[int] | None = None
) -> ProbeEpisodes:
    """Return what scores points of the actor's parameters, keeping to an allowance of steps.

    `seeds` and `noise_seeds` are of each episode, the latter None for mean actions.
    """

    def policies(points: np.ndarray, episodes: slice) -> Callable[[Obs], np.ndarray]:
        mean = actor.candidates(points[0])
        if noise_seeds is None:
            return lambda obs: mean(where.seen(obs))
        noise = common_noise(actor.std(points[0])[None], [noise_seeds[episodes]])
        return lambda obs: mean(where.seen(obs)) + noise()

    return ProbeEpisodes(policies, where.make, [seeds], np.array([allowance]), native=actor.native, most=where.most)
