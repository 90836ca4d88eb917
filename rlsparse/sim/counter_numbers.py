"""Random numbers of numpy for many episodes at once, without the state of a generator: `counter_random` without torch.

A number depends on its keys alone. Source of the mixing: SplitMix64, Steele, Lea and Flood, OOPSLA 2014.
"""

import numpy as np

_GAMMA, *_FACTORS = (np.uint64(x) for x in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def mix(x: np.ndarray) -> np.ndarray:
    """SplitMix64's output function, uint64 of any shape."""
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * _FACTORS[0]
        x = (x ^ (x >> np.uint64(27))) * _FACTORS[1]
    return x ^ (x >> np.uint64(31))


def uniform(keys: np.ndarray, count: int) -> np.ndarray:
    """Numbers on [0, 1) for integer keys [N, K], equal for equal keys, [N, count]."""
    state = np.zeros(len(keys), np.uint64)
    with np.errstate(over="ignore"):
        for column in keys.astype(np.uint64).T:
            state = mix(state + column * _GAMMA)
        words = mix(state[:, None] + np.arange(1, count + 1, dtype=np.uint64) * _GAMMA)
    return (words >> np.uint64(11)) * 2.0**-53


def normal(keys: np.ndarray, count: int) -> np.ndarray:
    """Normal numbers for integer keys [N, K], [N, count]. Source: Box and Muller, 1958; the sine half is not used."""
    u = uniform(keys, 2 * count)
    return np.sqrt(-2 * np.log1p(-u[:, :count])) * np.cos(2 * np.pi * u[:, count:])
