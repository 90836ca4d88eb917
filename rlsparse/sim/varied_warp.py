"""MuJoCo tasks on a GPU whose model is another in every environment and at every start."""

import math
from typing import Any

import torch
from torch import Tensor

from rlsparse.sim.counter_random import EpisodeStream
from rlsparse.sim.varied import CHANGES, PUSHED, factors_of, model_fields
from rlsparse.sim.warp import StepResult, WarpVectorEnv, write_rows

_OWN_STREAM = 0x5851F42D4C957F2D
"""Added to seeds, so that factors are independent of where episodes start."""


class WarpVariedEnv(WarpVectorEnv):
    """As WarpVectorEnv; every episode has factors of its own, from its seed and its number.

    What MuJoCo keeps of the model's inertia, to weigh constraints, remains that of the unchanged model.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._usual = {field: numbers[:1].clone() for field, numbers in self._physics.own.items()}

    @property
    def model_fields(self) -> tuple[str, ...]:
        """Fields of the model of which every environment has its own numbers."""
        return model_fields(factors_of(type(self.task)))

    def _stream(self, episode: Tensor) -> EpisodeStream:
        return EpisodeStream(self._seed + _OWN_STREAM, episode)

    def _drawn(self, episode: Tensor) -> dict[str, Tensor]:
        """Return the factors of episodes `[num_envs]`, by their names."""
        stream, bounds = self._stream(episode), {x: getattr(self.task, x) for x in factors_of(type(self.task))}
        return {name: stream.uniform(low, high, 1)[:, 0] for name, (low, high) in bounds.items()}

    @property
    def factors(self) -> dict[str, Tensor]:
        """Factors of the running episodes, `[num_envs]` each, by their names."""
        return self._drawn(self._episode - 1)

    def _place_at_starts(self) -> None:
        """Put environments that are starting into the start of their next episode, with models of their own."""
        for name, factor in self._drawn(self._episode).items():
            for field in CHANGES[name]:
                usual = self._usual[field]
                write_rows(
                    self._physics.own[field],
                    self._starting,
                    factor.float().reshape(-1, *[1] * (usual.ndim - 1)) * usual,
                )
        super()._place_at_starts()

    @torch.no_grad()
    def step(self, actions: Tensor) -> StepResult:
        """Advance every environment, as WarpVectorEnv does; some robots are pushed."""
        if (newtons := self.factors.get("push")) is not None:
            chance, turn = self._stream(self._episode - 1).at(self._elapsed).T
            strength, angle = newtons * (chance < PUSHED), 2 * math.pi * turn
            self._physics.force[:, 1, :2] = torch.stack((strength * angle.cos(), strength * angle.sin()), 1).float()
        return super().step(actions)
