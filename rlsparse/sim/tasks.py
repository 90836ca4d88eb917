"""The eleven Gymnasium MuJoCo v5 tasks as functions on batched arrays.

Observation, reward and termination are written once, on arrays whose leading axis is the environment; they
run on numpy arrays and on torch tensors. A task reads a `Fields` namespace holding MjData fields (`[N, ...]`)
and the model constants `timestep` (seconds) and `body_mass` `[nbody]` (kg). Constants carry Gymnasium's names
and values, and each expression keeps Gymnasium's order of operations so that results agree bitwise.

Source: gymnasium/envs/mujoco/*_v5.py, Gymnasium 1.4.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType, SimpleNamespace
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
    """One task: constants, reset noise, and its functions on batched arrays."""

    xml_file: str
    frame_skip: int
    reset_noise_scale: NotNegative = 0.0

    #: MjData fields read beside qpos, qvel and ctrl; as after `mj_step`, those of the last substep's start.
    derived_fields: ClassVar[tuple[str, ...]] = ()
    normal_velocity_noise: ClassVar[bool] = False
    #: Whether physics needs constraint islands to agree bitwise; without them it is 3-8 % faster.
    islands: ClassVar[bool] = False

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
        scale = self.reset_noise_scale
        start = qpos + rng.uniform(-scale, scale, qpos.shape[-1])
        if self.normal_velocity_noise:
            return start, qvel + scale * rng.standard_normal(qvel.shape[-1])
        return start, qvel + rng.uniform(-scale, scale, qvel.shape[-1])


@dataclass(frozen=True)
class HalfCheetah(Task):
    xml_file: str = "half_cheetah.xml"
    frame_skip: int = 5
    forward_reward_weight: float = 1.0
    ctrl_cost_weight: float = 0.1
    reset_noise_scale: NotNegative = 0.1

    normal_velocity_noise: ClassVar[bool] = True

    def observe(self, d: Fields) -> Array:
        return concatenate(d.qpos[:, 1:], d.qvel)

    def reward(self, d: Fields, velocity: Array, action: Array) -> tuple[Array, Array]:
        reward = self.forward_reward_weight * velocity - self.ctrl_cost_weight * sum_of_squares(action)
        return reward, never(reward)


@dataclass(frozen=True)
class Swimmer(HalfCheetah):
    xml_file: str = "swimmer.xml"
    frame_skip: int = 4
    ctrl_cost_weight: float = 1e-4

    normal_velocity_noise: ClassVar[bool] = False

    def observe(self, d: Fields) -> Array:
        return concatenate(d.qpos[:, 2:], d.qvel)


@dataclass(frozen=True)
class Walker2d(Task):
    xml_file: str = "walker2d_v5.xml"
    frame_skip: int = 4
    forward_reward_weight: float = 1.0
    ctrl_cost_weight: float = 1e-3
    healthy_reward: float = 1.0
    healthy_z_range: Range = (0.8, 2.0)
    healthy_angle_range: Range = (-1.0, 1.0)
    reset_noise_scale: NotNegative = 5e-3

    def observe(self, d: Fields) -> Array:
        return concatenate(d.qpos[:, 1:], d.qvel.clip(-10, 10))

    def healthy(self, d: Fields) -> Array:
        (low_z, high_z), (low_angle, high_angle) = self.healthy_z_range, self.healthy_angle_range
        z, angle = d.qpos[:, 1], d.qpos[:, 2]
        return (low_z < z) & (z < high_z) & (low_angle < angle) & (angle < high_angle)

    def reward(self, d: Fields, velocity: Array, action: Array) -> tuple[Array, Array]:
        healthy = self.healthy(d)
        gain = self.forward_reward_weight * velocity + healthy * self.healthy_reward
        return gain - self.ctrl_cost_weight * sum_of_squares(action), ~healthy


@dataclass(frozen=True)
class Hopper(Walker2d):
    xml_file: str = "hopper.xml"
    healthy_state_range: Range = (-100.0, 100.0)
    healthy_z_range: Range = (0.7, math.inf)
    healthy_angle_range: Range = (-0.2, 0.2)

    def healthy(self, d: Fields) -> Array:
        low, high = self.healthy_state_range
        state = concatenate(d.qpos[:, 2:], d.qvel)
        return super().healthy(d) & ((low < state) & (state < high)).all(1)


@dataclass(frozen=True)
class Ant(Task):
    xml_file: str = "ant.xml"
    frame_skip: int = 5
    forward_reward_weight: float = 1
    ctrl_cost_weight: float = 0.5
    contact_cost_weight: float = 5e-4
    healthy_reward: float = 1.0
    main_body: int = 1
    healthy_z_range: Range = (0.2, 1.0)
    contact_force_range: Range = (-1.0, 1.0)
    reset_noise_scale: NotNegative = 0.1

    derived_fields: ClassVar[tuple[str, ...]] = ("xpos", "cfrc_ext")
    normal_velocity_noise: ClassVar[bool] = True

    def progress(self, d: Fields) -> Array:
        return d.xpos[:, self.main_body, 0]

    def contact_forces(self, d: Fields) -> Array:
        return d.cfrc_ext.clip(*self.contact_force_range)

    def observe(self, d: Fields) -> Array:
        return concatenate(d.qpos[:, 2:], d.qvel, flat(self.contact_forces(d)[:, 1:]))

    def reward(self, d: Fields, velocity: Array, action: Array) -> tuple[Array, Array]:
        low, high = self.healthy_z_range
        z = d.qpos[:, 2]
        healthy = all_finite(d.qpos) & all_finite(d.qvel) & (low <= z) & (z <= high)
        gain = velocity * self.forward_reward_weight + healthy * self.healthy_reward
        contact_cost = self.contact_cost_weight * sum_of_squares(self.contact_forces(d))
        cost = self.ctrl_cost_weight * sum_of_squares(action) + contact_cost
        return gain - cost, ~healthy


def humanoid_observation(d: Fields) -> Array:
    """`[N, 348]`: pose without x, y; velocity; inertias; body velocities; joint torques; contact forces."""
    return concatenate(
        d.qpos[:, 2:],
        d.qvel,
        flat(d.cinert[:, 1:]),
        flat(d.cvel[:, 1:]),
        d.qfrc_actuator[:, 6:],
        flat(d.cfrc_ext[:, 1:]),
    )


@dataclass(frozen=True)
class Humanoid(Task):
    xml_file: str = "humanoid.xml"
    frame_skip: int = 5
    forward_reward_weight: float = 1.25
    ctrl_cost_weight: float = 0.1
    contact_cost_weight: float = 5e-7
    contact_cost_range: Range = (-math.inf, 10.0)
    healthy_reward: float = 5.0
    healthy_z_range: Range = (1.0, 2.0)
    reset_noise_scale: NotNegative = 1e-2

    derived_fields: ClassVar[tuple[str, ...]] = ("xipos", "cinert", "cvel", "qfrc_actuator", "cfrc_ext")

    def progress(self, d: Fields) -> Array:
        # Summed over bodies one after the other: a contiguous sum would round differently.
        return ((d.body_mass[:, None] * d.xipos).sum(1) / d.body_mass.sum())[:, 0]

    def observe(self, d: Fields) -> Array:
        return humanoid_observation(d)

    def reward(self, d: Fields, velocity: Array, action: Array) -> tuple[Array, Array]:
        low, high = self.healthy_z_range
        z = d.qpos[:, 2]
        healthy = (low < z) & (z < high)
        gain = self.forward_reward_weight * velocity + healthy * self.healthy_reward
        contact_cost = (self.contact_cost_weight * sum_of_squares(d.cfrc_ext)).clip(*self.contact_cost_range)
        return gain - (self.ctrl_cost_weight * sum_of_squares(d.ctrl) + contact_cost), ~healthy


@dataclass(frozen=True)
class HumanoidStandup(Task):
    xml_file: str = "humanoidstandup.xml"
    frame_skip: int = 5
    uph_cost_weight: float = 1
    ctrl_cost_weight: float = 0.1
    impact_cost_weight: float = 0.5e-6
    impact_cost_range: Range = (-math.inf, 10.0)
    reset_noise_scale: NotNegative = 1e-2

    derived_fields: ClassVar[tuple[str, ...]] = ("cinert", "cvel", "qfrc_actuator", "cfrc_ext")

    def observe(self, d: Fields) -> Array:
        return humanoid_observation(d)

    def reward(self, d: Fields, velocity: Array, action: Array) -> tuple[Array, Array]:
        impact_cost = (self.impact_cost_weight * sum_of_squares(d.cfrc_ext)).clip(*self.impact_cost_range)
        # Gymnasium divides by the timestep, not by frame_skip timesteps, and does not use uph_cost_weight.
        reward = d.qpos[:, 2] / d.timestep - self.ctrl_cost_weight * sum_of_squares(d.ctrl) - impact_cost + 1
        return reward, never(reward)


@dataclass(frozen=True)
class InvertedPendulum(Task):
    xml_file: str = "inverted_pendulum.xml"
    frame_skip: int = 2
    reset_noise_scale: NotNegative = 0.01

    def observe(self, d: Fields) -> Array:
        return concatenate(d.qpos, d.qvel)

    def reward(self, d: Fields, velocity: Array, action: Array) -> tuple[Array, Array]:
        fallen = namespace(d.qpos).abs(d.qpos[:, 1]) > 0.2
        terminated = ~(all_finite(d.qpos) & all_finite(d.qvel)) | fallen
        return 1.0 - 1.0 * terminated, terminated


@dataclass(frozen=True)
class InvertedDoublePendulum(Task):
    xml_file: str = "inverted_double_pendulum.xml"
    frame_skip: int = 5
    healthy_reward: float = 10.0
    reset_noise_scale: NotNegative = 0.1

    derived_fields: ClassVar[tuple[str, ...]] = ("site_xpos", "qfrc_constraint")
    normal_velocity_noise: ClassVar[bool] = True

    def observe(self, d: Fields) -> Array:
        xp, angles = namespace(d.qpos), d.qpos[:, 1:]
        return concatenate(
            d.qpos[:, :1],
            xp.sin(angles),
            xp.cos(angles),
            d.qvel.clip(-10, 10),
            d.qfrc_constraint[:, :1].clip(-10, 10),
        )

    def reward(self, d: Fields, velocity: Array, action: Array) -> tuple[Array, Array]:
        # Gymnasium squares scalars: C's pow, which can differ from x * x in the last bit.
        power = namespace(d.qvel).float_power
        x, y = d.site_xpos[:, 0, 0], d.site_xpos[:, 0, 2]
        terminated = y <= 1
        distance_penalty = 0.01 * power(x, 2) + power(y - 2, 2)
        velocity_penalty = 1e-3 * power(d.qvel[:, 1], 2) + 5e-3 * power(d.qvel[:, 2], 2)
        return self.healthy_reward * ~terminated - distance_penalty - velocity_penalty, terminated


@dataclass(frozen=True)
class Reacher(Task):
    xml_file: str = "reacher.xml"
    frame_skip: int = 2
    reward_dist_weight: float = 1
    reward_control_weight: float = 1

    derived_fields: ClassVar[tuple[str, ...]] = ("xpos",)
    fingertip: ClassVar[int] = 3
    target: ClassVar[int] = 4

    def offset(self, d: Fields) -> Array:
        return d.xpos[:, self.fingertip] - d.xpos[:, self.target]

    def observe(self, d: Fields) -> Array:
        xp, angles = namespace(d.qpos), d.qpos[:, :2]
        return concatenate(xp.cos(angles), xp.sin(angles), d.qpos[:, 2:], d.qvel[:, :2], self.offset(d)[:, :2])

    def reward(self, d: Fields, velocity: Array, action: Array) -> tuple[Array, Array]:
        reward_dist = -norm(self.offset(d)) * self.reward_dist_weight
        reward = reward_dist + -sum_of_squares(action) * self.reward_control_weight
        return reward, never(reward)

    def reset_noise(self, rng: Random, qpos: Array, qvel: Array) -> State:
        qpos = rng.uniform(-0.1, 0.1, qpos.shape[-1]) + qpos
        goal = draw_where(lambda point: norm(point) < 0.2, rng, (-0.2, -0.2), (0.2, 0.2))
        qvel = qvel + rng.uniform(-0.005, 0.005, qvel.shape[-1])
        qpos[..., -2:], qvel[..., -2:] = goal, 0
        return qpos, qvel


@dataclass(frozen=True)
class Pusher(Task):
    xml_file: str = "pusher_v5.xml"
    frame_skip: int = 5
    reward_near_weight: float = 0.5
    reward_dist_weight: float = 1
    reward_control_weight: float = 0.1

    derived_fields: ClassVar[tuple[str, ...]] = ("xpos",)
    islands: ClassVar[bool] = True
    tips_arm: ClassVar[int] = 10
    object: ClassVar[int] = 11
    goal: ClassVar[int] = 12

    def observe(self, d: Fields) -> Array:
        bodies = (d.xpos[:, self.tips_arm], d.xpos[:, self.object], d.xpos[:, self.goal])
        return concatenate(d.qpos[:, :7], d.qvel[:, :7], *bodies)

    def reward(self, d: Fields, velocity: Array, action: Array) -> tuple[Array, Array]:
        position = d.xpos[:, self.object]
        reward_near = -norm(position - d.xpos[:, self.tips_arm]) * self.reward_near_weight
        reward_dist = -norm(position - d.xpos[:, self.goal]) * self.reward_dist_weight
        reward_ctrl = -sum_of_squares(action) * self.reward_control_weight
        reward = reward_dist + reward_ctrl + reward_near
        return reward, never(reward)

    def reset_noise(self, rng: Random, qpos: Array, qvel: Array) -> State:
        cylinder = draw_where(lambda point: norm(point) > 0.17, rng, (-0.3, -0.2), (0, 0.2))
        qvel = qvel + rng.uniform(-0.005, 0.005, qvel.shape[-1])
        qpos = namespace(cylinder).concatenate((qpos[..., :-4], cylinder, 0 * cylinder), -1)
        qvel[..., -4:] = 0
        return qpos, qvel


TASKS: Mapping[str, type[Task]] = MappingProxyType(
    {
        "Ant-v5": Ant,
        "HalfCheetah-v5": HalfCheetah,
        "Hopper-v5": Hopper,
        "Humanoid-v5": Humanoid,
        "HumanoidStandup-v5": HumanoidStandup,
        "InvertedDoublePendulum-v5": InvertedDoublePendulum,
        "InvertedPendulum-v5": InvertedPendulum,
        "Pusher-v5": Pusher,
        "Reacher-v5": Reacher,
        "Swimmer-v5": Swimmer,
        "Walker2d-v5": Walker2d,
    }
)
