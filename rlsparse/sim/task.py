"""What a MuJoCo task is: functions on batched arrays; Gymnasium's eleven and those of users are written alike.

Observation, reward and termination are written once, on arrays whose leading axis is the environment; they
run on numpy arrays and on torch tensors. A task reads a `Fields` namespace holding MjData fields (`[N, ...]`),
the model constants `timestep` (seconds) and `body_mass` `[nbody]` (kg), and the functions of `Names`, which tell where
what the model names is in them. In Gymnasium's tasks constants carry the names and values of its arguments, and each
expression keeps its order of operations so that results agree bitwise.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from inspect import get_annotations
from types import SimpleNamespace
from typing import Annotated, Any, ClassVar, dataclass_transform

import numpy as np

from rlsparse.learner.arrays import Array
from rlsparse.learner.arrays import namespace as namespace
from rlsparse.learner.bounds import NotNegative

__all__ = [
    "Task",
    "NoisyStart",
    "Factor",
    "Fields",
    "State",
    "Random",
    "namespace",
    "concatenate",
    "flat",
    "norm",
    "never",
]
__all__ += ["sum_of_squares", "all_finite", "draw_where"]

Fields = SimpleNamespace
Range = tuple[float, float]
Factor = Annotated[Range, "factor"]
"""Type of a field that changes the model at every start, by a number drawn between two; `varied` knows its name."""
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


@dataclass_transform(frozen_default=True)
@dataclass(frozen=True)
class Task:
    """One task: constants, and its functions on batched arrays.

    A class of a task is a frozen dataclass without further ado. Its annotated fields are its arguments: those of
    Gymnasium's class, or what a user may change by --env-kwargs.
    """

    xml_file: str = ""
    """File of the model: beside the file of a user's class, or one of Gymnasium's own."""
    frame_skip: int = 1
    """Steps of physics that an action lasts."""

    #: Most steps of an episode of a user's task.
    horizon: ClassVar[int] = 1_000

    #: Whether physics needs constraint islands to agree bitwise; without them it is 3-8 % faster.
    islands: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        given = get_annotations(cls)
        inherited = {name: f.type for name, f in cls.__dataclass_fields__.items() if name in vars(cls)}
        cls.__annotations__ = {**inherited, **given}
        dataclass(frozen=True)(cls)

    @property
    def derived_fields(self) -> tuple[str, ...]:
        """MjData fields read beside qpos, qvel and ctrl; as after `mj_step`, those of the last substep's start.

        Only Gymnasium's tasks say so: what a user's task reads is seen when it is tried.
        """
        return ()

    def model(self) -> Any:
        """The robot and its world: the path or the text of an MJCF file, an MjSpec, or an MjModel."""
        return self.xml_file

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
        """A start drawn around the model's, `qpos` `[..., nq]` and `qvel` `[..., nv]`; the model's own if not written.

        In Gymnasium's order of draws.
        """
        return qpos, qvel


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
