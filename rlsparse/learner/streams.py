"""Private random streams: each purpose has its own stream, derived from the seed, so that none disturbs another."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np

from rlsparse.learner.arrays import Array

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
    evaluation never repeats a training seed, nor a seed on which a policy was selected.
    """
    words = _sequence(seed, purpose, cycle).generate_state(count) >> 1
    offset = {"train_env": 0, "probe_env": 2**32}.get(purpose, 2**31)
    return [int(word) + offset for word in words]


def _sequence(seed: int, purpose: Purpose, cycle: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(_KEYS[purpose], cycle) if cycle else (_KEYS[purpose],))


class MemberStreams(Protocol):
    """A stream for each member, so that none depends on the number of members."""

    def normal(self, *shape: int) -> Array:
        """Draw standard normal numbers, [S, *shape] float32."""

    def permutations(self, count: int) -> Array:
        """Draw each member's order of `count` items, [S, count]."""

    def state(self, member: int) -> Any:
        """Return the state of a member's stream, in plain values."""

    def load_state(self, member: int, state: Any) -> None:
        """Restore the state that `state` returned."""


def member_streams(seeds: Sequence[int], purpose: Purpose, device: str) -> MemberStreams:
    """Return the members' streams for this purpose: numpy's on "cpu", torch's on any other device."""
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
        """Draw each member's order of `count` items, [S, count]."""
        return np.stack([stream.permutation(count) for stream in self._generators])

    def state(self, member: int) -> Any:
        """Return the state of a member's stream, in plain values."""
        return self._generators[member].bit_generator.state

    def load_state(self, member: int, state: Any) -> None:
        """Restore the state that `state` returned."""
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
        """Draw each member's order of `count` items, [S, count]."""
        draw = self._torch.randperm
        return self._torch.stack([draw(count, generator=stream, device=self._device) for stream in self._generators])

    def state(self, member: int) -> Any:
        """Return the state of a member's stream, in plain values."""
        return self._generators[member].get_state().tolist()

    def load_state(self, member: int, state: Any) -> None:
        """Restore the state that `state` returned."""
        self._generators[member].set_state(self._torch.tensor(state, dtype=self._torch.uint8))
