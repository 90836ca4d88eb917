"""Whole episodes of many candidates at once, scored as in our own runs; one model is one member."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from stable_baselines3.common.policies import BasePolicy

from rlsparse.sb3.actor import Actor
from rlsparse.sb3.environments import Environments, Obs
from rlsparse.sim.episodes import ProbeEpisodes, common_noise


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


@contextmanager
def undisturbed(policy: BasePolicy) -> Iterator[None]:
    """Put the global random states back as they were, which a user's environments and networks may draw from.

    Meanwhile the policy is in evaluation mode.
    """
    python, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 - of the user's code
    devices = [policy.device] if policy.device.type == "cuda" else []
    training = policy.training
    policy.set_training_mode(False)
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        policy.set_training_mode(training)
        random.setstate(python)
        np.random.set_state(numpy_state)  # noqa: NPY002
