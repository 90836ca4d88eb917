"""The numbers of `counter_random` as one kernel, which runs beside the physics: as tensors they take a hundred."""
# mypy: disable-error-code="misc, index, operator"
# What kernels do is Warp's language, which types of Python do not describe.

import warp
from torch import Tensor

from rlsparse.sim import counter_random

_GAMMA = warp.constant(warp.uint64(counter_random.GAMMA))
_FIRST, _SECOND = (warp.constant(warp.uint64(factor)) for factor in counter_random.FACTORS)
_UNIT = warp.constant(warp.float64(2.0**-53))


@warp.func
def mix(x: warp.uint64) -> warp.uint64:
    """SplitMix64's output function."""
    y = (x ^ (x >> warp.uint64(30))) * _FIRST
    z = (y ^ (y >> warp.uint64(27))) * _SECOND
    return z ^ (z >> warp.uint64(31))


@warp.kernel(enable_backward=False)
def _draw(seed: warp.array[warp.int64], episode: warp.array[warp.int64], numbers: warp.array2d[warp.float64]) -> None:
    world, place = warp.tid()
    state = mix(mix(warp.uint64(seed[world])) + warp.uint64(episode[world]) * _GAMMA)
    word = mix(state + (warp.uint64(place) + warp.uint64(1)) * _GAMMA)
    numbers[world, place] = warp.float64(word >> warp.uint64(11)) * _UNIT


def draw(seed: Tensor, episode: Tensor, numbers: Tensor) -> None:
    """Write the first numbers of each environment's episode, uniform on [0, 1), float64 `[N, K]`.

    `seed` and `episode` are int64 `[N]`.
    """
    inputs = warp.from_torch(seed), warp.from_torch(episode)
    warp.launch(_draw, numbers.shape, inputs=inputs, outputs=[warp.from_torch(numbers)])
