"""Gymnasium's MuJoCo v5 tasks of robots that move, on batched arrays.

Source: gymnasium/envs/mujoco/{half_cheetah,swimmer,walker2d,hopper,ant,humanoid,humanoidstandup}_v5.py, Gymnasium 1.4.
"""

import math
from typing import ClassVar

from rlsparse.learner.arrays import Array
from rlsparse.learner.bounds import NotNegative
from rlsparse.sim.task import Fields, NoisyStart, Range, all_finite, concatenate, flat, never, sum_of_squares


class Locomotion(NoisyStart):
    """A task of a robot that moves, whose observation may leave out where it is."""

    exclude_current_positions_from_observation: bool = True

    #: How many of the first positions say where the robot is.
    horizontal: ClassVar[int] = 1

    def positions(self, d: Fields) -> Array:
        """The positions that are observed `[N, K]`, a view."""
        return d.qpos[:, self.horizontal :] if self.exclude_current_positions_from_observation else d.qpos


class HalfCheetah(Locomotion):
    xml_file: str = "half_cheetah.xml"
    frame_skip: int = 5
    forward_reward_weight: float = 1.0
    ctrl_cost_weight: float = 0.1
    reset_noise_scale: NotNegative = 0.1

    normal_velocity_noise: ClassVar[bool] = True

    def observe(self, d: Fields) -> Array:
        return concatenate(self.positions(d), d.qvel)

    def reward(self, d: Fields, velocity: Array, action: Array) -> tuple[Array, Array]:
        reward = self.forward_reward_weight * velocity - self.ctrl_cost_weight * sum_of_squares(action)
        return reward, never(reward)


class Swimmer(HalfCheetah):
    xml_file: str = "swimmer.xml"
    frame_skip: int = 4
    ctrl_cost_weight: float = 1e-4

    normal_velocity_noise: ClassVar[bool] = False
    horizontal: ClassVar[int] = 2


class Walker2d(Locomotion):
    xml_file: str = "walker2d_v5.xml"
    frame_skip: int = 4
    forward_reward_weight: float = 1.0
    ctrl_cost_weight: float = 1e-3
    healthy_reward: float = 1.0
    terminate_when_unhealthy: bool = True
    healthy_z_range: Range = (0.8, 2.0)
    healthy_angle_range: Range = (-1.0, 1.0)
    reset_noise_scale: NotNegative = 5e-3

    def observe(self, d: Fields) -> Array:
        return concatenate(self.positions(d), d.qvel.clip(-10, 10))

    def healthy(self, d: Fields) -> Array:
        (low_z, high_z), (low_angle, high_angle) = self.healthy_z_range, self.healthy_angle_range
        z, angle = d.qpos[:, 1], d.qpos[:, 2]
        return (low_z < z) & (z < high_z) & (low_angle < angle) & (angle < high_angle)

    def reward(self, d: Fields, velocity: Array, action: Array) -> tuple[Array, Array]:
        healthy = self.healthy(d)
        gain = self.forward_reward_weight * velocity + healthy * self.healthy_reward
        return gain - self.ctrl_cost_weight * sum_of_squares(action), ~healthy & self.terminate_when_unhealthy


class Hopper(Walker2d):
    xml_file: str = "hopper.xml"
    healthy_state_range: Range = (-100.0, 100.0)
    healthy_z_range: Range = (0.7, math.inf)
    healthy_angle_range: Range = (-0.2, 0.2)

    def healthy(self, d: Fields) -> Array:
        low, high = self.healthy_state_range
        state = concatenate(d.qpos[:, 2:], d.qvel)
        return super().healthy(d) & ((low < state) & (state < high)).all(1)


class Ant(Locomotion):
    xml_file: str = "ant.xml"
    frame_skip: int = 5
    forward_reward_weight: float = 1
    ctrl_cost_weight: float = 0.5
    contact_cost_weight: float = 5e-4
    healthy_reward: float = 1.0
    main_body: int | str = 1
    terminate_when_unhealthy: bool = True
    healthy_z_range: Range = (0.2, 1.0)
    contact_force_range: Range = (-1.0, 1.0)
    reset_noise_scale: NotNegative = 0.1
    include_cfrc_ext_in_observation: bool = True

    normal_velocity_noise: ClassVar[bool] = True
    horizontal: ClassVar[int] = 2

    @property
    def derived_fields(self) -> tuple[str, ...]:
        touching = self.include_cfrc_ext_in_observation or self.contact_cost_weight
        return ("xpos", "cfrc_ext") if touching else ("xpos",)

    def progress(self, d: Fields) -> Array:
        return d.xpos[:, d.body(self.main_body), 0]

    def contact_forces(self, d: Fields) -> Array:
        return d.cfrc_ext.clip(*self.contact_force_range)

    def observe(self, d: Fields) -> Array:
        seen = (self.positions(d), d.qvel)
        if self.include_cfrc_ext_in_observation:
            return concatenate(*seen, flat(self.contact_forces(d)[:, 1:]))
        return concatenate(*seen)

    def reward(self, d: Fields, velocity: Array, action: Array) -> tuple[Array, Array]:
        low, high = self.healthy_z_range
        z = d.qpos[:, 2]
        healthy = all_finite(d.qpos) & all_finite(d.qvel) & (low <= z) & (z <= high)
        gain = velocity * self.forward_reward_weight + healthy * self.healthy_reward
        cost = self.ctrl_cost_weight * sum_of_squares(action)
        if self.contact_cost_weight:
            cost = cost + self.contact_cost_weight * sum_of_squares(self.contact_forces(d))
        return gain - cost, ~healthy & self.terminate_when_unhealthy


class HumanoidBody(Locomotion):
    """What the two tasks of a humanoid see, `[N, 348]`: pose, velocity, and what is included of the bodies' state."""

    include_cinert_in_observation: bool = True
    include_cvel_in_observation: bool = True
    include_qfrc_actuator_in_observation: bool = True
    include_cfrc_ext_in_observation: bool = True

    horizontal: ClassVar[int] = 2

    @property
    def derived_fields(self) -> tuple[str, ...]:
        names = ("cinert", "cvel", "qfrc_actuator")
        return (*(name for name in names if getattr(self, f"include_{name}_in_observation")), "cfrc_ext")

    def observe(self, d: Fields) -> Array:
        seen = [self.positions(d), d.qvel]
        if self.include_cinert_in_observation:
            seen.append(flat(d.cinert[:, 1:]))
        if self.include_cvel_in_observation:
            seen.append(flat(d.cvel[:, 1:]))
        if self.include_qfrc_actuator_in_observation:
            seen.append(d.qfrc_actuator[:, 6:])
        if self.include_cfrc_ext_in_observation:
            seen.append(flat(d.cfrc_ext[:, 1:]))
        return concatenate(*seen)


class Humanoid(HumanoidBody):
    xml_file: str = "humanoid.xml"
    frame_skip: int = 5
    forward_reward_weight: float = 1.25
    ctrl_cost_weight: float = 0.1
    contact_cost_weight: float = 5e-7
    contact_cost_range: Range = (-math.inf, 10.0)
    healthy_reward: float = 5.0
    terminate_when_unhealthy: bool = True
    healthy_z_range: Range = (1.0, 2.0)
    reset_noise_scale: NotNegative = 1e-2

    @property
    def derived_fields(self) -> tuple[str, ...]:
        return ("xipos", *super().derived_fields)

    def progress(self, d: Fields) -> Array:
        # Summed over bodies one after the other: a contiguous sum would round differently.
        return ((d.body_mass[:, None] * d.xipos).sum(1) / d.body_mass.sum())[:, 0]

    def reward(self, d: Fields, velocity: Array, action: Array) -> tuple[Array, Array]:
        low, high = self.healthy_z_range
        z = d.qpos[:, 2]
        healthy = (low < z) & (z < high)
        gain = self.forward_reward_weight * velocity + healthy * self.healthy_reward
        contact_cost = (self.contact_cost_weight * sum_of_squares(d.cfrc_ext)).clip(*self.contact_cost_range)
        return gain - (
            self.ctrl_cost_weight * sum_of_squares(d.ctrl) + contact_cost
        ), ~healthy & self.terminate_when_unhealthy


class HumanoidStandup(HumanoidBody):
    xml_file: str = "humanoidstandup.xml"
    frame_skip: int = 5
    uph_cost_weight: float = 1
    ctrl_cost_weight: float = 0.1
    impact_cost_weight: float = 0.5e-6
    impact_cost_range: Range = (-math.inf, 10.0)
    reset_noise_scale: NotNegative = 1e-2

    def reward(self, d: Fields, velocity: Array, action: Array) -> tuple[Array, Array]:
        impact_cost = (self.impact_cost_weight * sum_of_squares(d.cfrc_ext)).clip(*self.impact_cost_range)
        # Gymnasium divides by the timestep, not by frame_skip timesteps, and does not use uph_cost_weight.
        reward = d.qpos[:, 2] / d.timestep - self.ctrl_cost_weight * sum_of_squares(d.ctrl) - impact_cost + 1
        return reward, never(reward)
