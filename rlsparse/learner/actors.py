"""Trained actors, ready to act in environments."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rlsparse.learner.activation import Layers
from rlsparse.learner.arrays import Array, as_float32, to_device, to_numpy
from rlsparse.learner.layout import Layout
from rlsparse.learner.network import forward
from rlsparse.learner.normaliser import ObsScale


@dataclass(frozen=True)
class Actors:
    """The deterministic policies of S members, normaliser included, ready to act."""

    layout: Layout
    params: Array
    """[S, D]."""
    scale: ObsScale
    seeds: tuple[int, ...]
    """Seed that each member was trained with."""
    device: str = "cpu"

    def __call__(self, obs: Array) -> Array:
        """Mean action, in units of half the action range, for raw obs [S, N, O], on their device; [S, N, A]."""
        return self.outputs(obs)[..., : self.layout.action_size]

    def distribution(self, obs: Array) -> tuple[Array, Array]:
        """Mean [S, N, A] and log-std [S, 1 or N, A] of actions for raw obs [S, N, O], on their device."""
        log_std = to_numpy(self.log_std) if isinstance(obs, np.ndarray) else self.log_std
        return self.layout.deviation.distribution(self.outputs(obs), log_std)

    def outputs(self, obs: Array) -> Array:
        """All outputs of the networks for raw obs [S, N, O], on their device."""
        outputs = forward(self._layers, to_device(self.scale(as_float32(obs)), self.device))[-1]
        return to_numpy(outputs) if isinstance(obs, np.ndarray) else outputs

    def only(self, member: int) -> "Actors":
        """Return one member's policy, with S = 1."""
        one = slice(member, member + 1)
        return Actors(self.layout, self.params[one], self.scale.only(member), self.seeds[one], self.device)

    @cached_property
    def _layers(self) -> Layers:
        return self.layout.layers(self.params, "actor")

    @cached_property
    def log_std(self) -> Array:
        """The common log-stds, [S, A]."""
        return self.layout.log_std(self.params)
