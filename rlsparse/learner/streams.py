"""Private random streams: one seed gives each purpose its own, so that none disturbs another."""

from typing import Literal

import numpy as np

Purpose = Literal[
    "init",
    "noise",
    "minibatch",
    "train_env",
    "eval_env",
    "play",
    "propose",
    "probe_env",
    "probe_noise",
    "landscape",
    "landscape_env",
    "topology",
    "features",
    "between",
    "cloning",
]

_KEYS: dict[Purpose, int] = {
    "init": 0,
    "noise": 1,
    "minibatch": 2,
    "train_env": 3,
    "eval_env": 4,
    "play": 5,
    "propose": 6,
    "probe_env": 7,
    "probe_noise": 8,
    "landscape": 9,
    "landscape_env": 10,
    "topology": 11,
    "features": 12,
    "between": 13,
    "cloning": 14,
}


def generator(seed: int, purpose: Purpose, cycle: int = 0) -> np.random.Generator:
    """Return the generator of one member for one purpose; each `cycle` has its own."""
    return np.random.default_rng(_sequence(seed, purpose, cycle))


def env_seeds(seed: int, purpose: Purpose, count: int, cycle: int = 0) -> list[int]:
    """Return `count` environment seeds of one member; the first k do not depend on `count`.

    Each `cycle` has its own. Training seeds are below 2**31, those of probes from 2**32 on, all others between: an
    evaluation never repeats a training seed, nor one that a policy was selected on.
    """
    words = _sequence(seed, purpose, cycle).generate_state(count) >> 1
    offset = {"train_env": 0, "probe_env": 2**32}.get(purpose, 2**31)
    return [int(word) + offset for word in words]


def _sequence(seed: int, purpose: Purpose, cycle: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(_KEYS[purpose], cycle) if cycle else (_KEYS[purpose],))
