"""What a MuJoCo task is: functions on batched arrays.

Observation, reward and termination are written once, on arrays whose leading axis is the environment; they
run on numpy arrays and on torch tensors. A task reads a `Fields` namespace holding MjData fields (`[N, ...]`),
the model constants `timestep` (seconds) and `body_mass` `[nbody]` (kg), and the function `body`, which gives the
number of a body by its name. Constants carry the names and values of Gymnasium's arguments, and each expression
keeps Gymnasium's order of operations so that results agree bitwise.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from rlsparse.learner.arrays import Array, namespace
from rlsparse.learner.bounds import NotNegative

Fields = SimpleNamespace
Range = tuple[float, float]
State = tuple[Array, Array]  # qpos [..., nq], qvel [..., nv]
Random = Any
"""numpy's Generator for one environment, or a `counter_random.EpisodeStream` for each of a batch."""


def concatenate(*parts: Array) -> Array:
    """A new array `[N, sum of widths]` from arrays `[N, width]`."""
    return namespace(parts[0]).concatenate(parts, 1)


def flat(array: Array) -> Array:
    """`[N, ...]` as `[N, width]`."""
    return array.reshape(array.shape[0], -1)


def sum_of_squares(array: Array) -> Array:
    """`[N]` from `[N, ...]`, in the array's own precision."""
    return flat(array * array).sum(1)


def norm(vector: Array) -> Array:
    """Euclidean norm `[...]` of `[..., K]`."""
    xp = namespace(vector)
    return xp.sqrt(xp.linalg.vecdot(vector, vector))


def all_finite(array: Array) -> Array:
    """Whether every element of each row of `[N, width]` is finite, bool `[N]`."""
    return namespace(array).isfinite(array).all(1)


def draw_where(accept: Callable[[Array], Array], rng: Random, low: Range, high: Range) -> Array:
    """A point `[..., 2]`, uniform in the box between `low` and `high` where `accept` (bool) takes it."""
    if not isinstance(rng, np.random.Generator):
        return rng.accepted(low, high, accept)
    point = rng.uniform(low, high)
    while not accept(point):
        point = rng.uniform(low, high)
    return point


def never(reward: Array) -> Array:
    """`terminated` of a task that only the time limit ends, bool `[N]`."""
    return reward > math.inf


@dataclass(frozen=True)
class Task:
    """One task: constants, and its functions on batched arrays; fields are the arguments of Gymnasium's class."""

    xml_file: str
    frame_skip: int

    #: Whether physics needs constraint islands to agree bitwise; without them it is 3-8 % faster.
    islands: ClassVar[bool] = False

    @property
    def derived_fields(self) -> tuple[str, ...]:
        """MjData fields read beside qpos, qvel and ctrl; as after `mj_step`, those of the last substep's start."""
        return ()

    def progress(self, d: Fields) -> Array:
        """The coordinate `[N]` (m) whose rate of change is `velocity` in `reward`; a view."""
        return d.qpos[:, 0]

    def observe(self, d: Fields) -> Array:
        """Observation `[N, O]`, a new array."""
        raise NotImplementedError

    def reward(self, d: Fields, velocity: Array, action: Array) -> tuple[Array, Array]:
        """Reward and terminated, both `[N]`, of a step that moved `progress` at `velocity` `[N]` (m/s)."""
        raise NotImplementedError

    def reset_noise(self, rng: Random, qpos: Array, qvel: Array) -> State:
        """A start drawn around `qpos` `[..., nq]` and `qvel` `[..., nv]`, in Gymnasium's order of draws."""
        raise NotImplementedError


@dataclass(frozen=True)
class NoisyStart(Task):
    """A task whose start differs from the model's pose by noise of one scale."""

    reset_noise_scale: NotNegative = 0.0

    normal_velocity_noise: ClassVar[bool] = False

    def reset_noise(self, rng: Random, qpos: Array, qvel: Array) -> State:
        scale = self.reset_noise_scale
        start = qpos + rng.uniform(-scale, scale, qpos.shape[-1])
        if self.normal_velocity_noise:
            return start, qvel + scale * rng.standard_normal(qvel.shape[-1])
        return start, qvel + rng.uniform(-scale, scale, qvel.shape[-1])
