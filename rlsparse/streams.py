"""Private random streams: one seed gives each purpose its own, so that none disturbs another."""

from typing import Literal

import numpy as np

Purpose = Literal["init", "noise", "minibatch", "train_env", "eval_env", "play"]

_KEYS: dict[Purpose, int] = {
    "init": 0,
    "noise": 1,
    "minibatch": 2,
    "train_env": 3,
    "eval_env": 4,
    "play": 5,
}


def generator(seed: int, purpose: Purpose) -> np.random.Generator:
    """Return the generator of one member for one purpose."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_KEYS[purpose],)))


def env_seeds(seed: int, purpose: Purpose, count: int) -> list[int]:
    """Return `count` environment seeds of one member; the first k do not depend on `count`.

    Training seeds are below 2**31, all others above: an evaluation never repeats a training seed.
    """
    words = np.random.SeedSequence(seed, spawn_key=(_KEYS[purpose],)).generate_state(count) >> 1
    offset = 0 if purpose == "train_env" else 2**31
    return [int(word) + offset for word in words]
