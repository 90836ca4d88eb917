"""The random streams of S members for one purpose: numpy's on the CPU, torch's on a device."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from rlsparse.learner.arrays import Array
from rlsparse.learner.streams import Purpose, generator


class MemberStreams(Protocol):
    """A stream for each member, so that none depends on how many there are."""

    def normal(self, *shape: int) -> Array:
        """Draw standard normal numbers, [S, *shape] float32."""

    def permutations(self, count: int) -> Array:
        """Draw each member's order of `count` things, [S, count]."""

    def state(self, member: int) -> Any:
        """Return where a member's stream stands, in plain values."""

    def load_state(self, member: int, state: Any) -> None:
        """Put back what `state` gave."""


def member_streams(seeds: Sequence[int], purpose: Purpose, device: str) -> MemberStreams:
    """Return the members' streams for this purpose on "cpu", numpy's, or on a torch device."""
    return HostStreams(seeds, purpose) if device == "cpu" else DeviceStreams(seeds, purpose, device)


class HostStreams:
    """A numpy generator for each member."""

    def __init__(self, seeds: Sequence[int], purpose: Purpose) -> None:
        self._generators = [generator(seed, purpose) for seed in seeds]

    def normal(self, *shape: int) -> np.ndarray:
        """Draw standard normal numbers, [S, *shape] float32."""
        noise = np.empty((len(self._generators), *shape), np.float32)
        for out, stream in zip(noise, self._generators, strict=True):
            stream.standard_normal(out=out, dtype=np.float32)
        return noise

    def permutations(self, count: int) -> np.ndarray:
        """Draw each member's order of `count` things, [S, count]."""
        return np.stack([stream.permutation(count) for stream in self._generators])

    def state(self, member: int) -> Any:
        """Return where a member's stream stands, in plain values."""
        return self._generators[member].bit_generator.state

    def load_state(self, member: int, state: Any) -> None:
        """Put back what `state` gave."""
        self._generators[member].bit_generator.state = state


class DeviceStreams:
    """A torch generator on the device for each member."""

    def __init__(self, seeds: Sequence[int], purpose: Purpose, device: str) -> None:
        import torch

        self._torch, self._device = torch, device
        first = [int(generator(seed, purpose).integers(2**63)) for seed in seeds]
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in first]

    def normal(self, *shape: int) -> Array:
        """Draw standard normal numbers, [S, *shape] float32."""
        draw = self._torch.randn
        return self._torch.stack([draw(shape, generator=stream, device=self._device) for stream in self._generators])

    def permutations(self, count: int) -> Array:
        """Draw each member's order of `count` things, [S, count]."""
        draw = self._torch.randperm
        return self._torch.stack([draw(count, generator=stream, device=self._device) for stream in self._generators])

    def state(self, member: int) -> Any:
        """Return where a member's stream stands, in plain values."""
        return self._generators[member].get_state().tolist()

    def load_state(self, member: int, state: Any) -> None:
        """Put back what `state` gave."""
        self._generators[member].set_state(self._torch.tensor(state, dtype=self._torch.uint8))
