"""Random numbers for thousands of environments at once, without the state of a generator.

Environment i's k-th episode starts a stream that depends on (seed of i, k) alone, not on the number of
environments nor on when others reset, and everything is tensor arithmetic. Streams are
SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014): number j of the
stream with state s is mix(s + (j + 1) gamma), in arithmetic modulo 2^64, which int64 tensors have.
"""

import math
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

Range = tuple[float, float]


def signed(word: int) -> int:
    """The 64-bit `word` as the int64 number with the same bits; larger integers are taken modulo 2^64."""
    word %= 1 << 64
    return word - (1 << 64) if word >> 63 else word


GAMMA = 0x9E3779B97F4A7C15
FACTORS = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB

_GAMMA = signed(GAMMA)
_FACTORS = signed(FACTORS[0]), signed(FACTORS[1])


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical shift: torch's own copies the sign bit."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def mix(x: Tensor) -> Tensor:
    """SplitMix64's output function, a permutation of the int64 numbers."""
    x = (x ^ _shift_right(x, 30)) * _FACTORS[0]
    x = (x ^ _shift_right(x, 27)) * _FACTORS[1]
    return x ^ _shift_right(x, 31)


def splitmix(state: Tensor, first: int, count: int) -> Tensor:
    """Numbers `first` to `first + count - 1` of the streams with these states `[N]`, int64 `[N, count]`."""
    steps = torch.arange(first + 1, first + count + 1, device=state.device)
    return mix(state[:, None] + steps * _GAMMA)


class EpisodeStream:
    """The stream of each environment's present episode, with the draws of numpy's Generator, `[N, size]` each.

    `seed` and `episode` are int64 `[N]`. Results are float64. `numbers` are the first ones `[N, K]`, if known already.
    """

    _CANDIDATES = 32

    def __init__(self, seed: Tensor, episode: Tensor, numbers: Tensor | None = None):
        self._seed, self._episode, self._numbers = seed, episode, numbers
        self.drawn = 0

    @cached_property
    def _state(self) -> Tensor:
        return mix(mix(self._seed) + self._episode * _GAMMA)

    def random(self, size: int) -> Tensor:
        """Uniform on [0, 1), 53 bits: in float32 one in 2^25 would round to 1, and make an infinite normal number."""
        first, self.drawn = self.drawn, self.drawn + size
        if self._numbers is not None and self.drawn <= self._numbers.shape[1]:
            return self._numbers[:, first : self.drawn]
        return _shift_right(splitmix(self._state, first, size), 11).double() * 2.0**-53

    def at(self, step: Tensor) -> Tensor:
        """Two numbers of each environment's step `[N]`, uniform on [0, 1), `[N, 2]`; other draws are independent."""
        words = [mix(mix(self._state + 2 * step + k)) for k in (0, 1)]
        return _shift_right(torch.stack(words, 1), 11).double() * 2.0**-53

    def of_step(self, step: Tensor) -> "EpisodeStream":
        """Return the stream of each environment's step `[N]`; they are independent of each other."""
        return EpisodeStream(self._state, step)

    def uniform(self, low: float, high: float, size: int) -> Tensor:
        return low + (high - low) * self.random(size)

    def standard_normal(self, size: int) -> Tensor:
        """Box and Muller (1958); the sine half is not used."""
        radius = torch.sqrt(-2 * torch.log1p(-self.random(size)))
        return radius * torch.cos(2 * math.pi * self.random(size))

    def accepted(self, low: Range, high: Range, accept: Callable[[Tensor], Tensor]) -> Tensor:
        """A point `[N, 2]`, uniform in the box between `low` and `high` where `accept` (bool `[...]`) takes it.

        It is the first of 32 candidates that is accepted, or the first of all if none is. For Pusher, which accepts
        0.62 of its box, none is accepted once in 3e13 starts.
        """
        candidates = self.random(2 * self._CANDIDATES).reshape(-1, self._CANDIDATES, 2)
        candidates = torch.stack([low[k] + (high[k] - low[k]) * candidates[:, :, k] for k in (0, 1)], 2)
        first = accept(candidates).to(torch.int8).argmax(1)
        return candidates.gather(1, first[:, None, None].expand(-1, 1, 2))[:, 0]
