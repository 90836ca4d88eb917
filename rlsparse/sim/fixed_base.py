"""Gymnasium's MuJoCo v5 tasks of arms and pendulums, which stay where they are, on batched arrays.

Source: gymnasium/envs/mujoco/{inverted_pendulum,inverted_double_pendulum,reacher,pusher}_v5.py, Gymnasium 1.4.
"""

from typing import ClassVar

from rlsparse.learner.arrays import Array, namespace
from rlsparse.learner.bounds import NotNegative
from rlsparse.sim.task import (
    Fields,
    NoisyStart,
    Random,
    State,
    Task,
    all_finite,
    concatenate,
    draw_where,
    never,
    norm,
    sum_of_squares,
)


class InvertedPendulum(NoisyStart):
    xml_file: str = "inverted_pendulum.xml"
    frame_skip: int = 2
    reset_noise_scale: NotNegative = 0.01

    def observe(self, d: Fields) -> Array:
        return concatenate(d.qpos, d.qvel)

    def reward(self, d: Fields, velocity: Array, action: Array) -> tuple[Array, Array]:
        fallen = namespace(d.qpos).abs(d.qpos[:, 1]) > 0.2
        terminated = ~(all_finite(d.qpos) & all_finite(d.qvel)) | fallen
        return 1.0 - 1.0 * terminated, terminated


class InvertedDoublePendulum(NoisyStart):
    xml_file: str = "inverted_double_pendulum.xml"
    frame_skip: int = 5
    healthy_reward: float = 10.0
    reset_noise_scale: NotNegative = 0.1

    normal_velocity_noise: ClassVar[bool] = True

    @property
    def derived_fields(self) -> tuple[str, ...]:
        return ("site_xpos", "qfrc_constraint")

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


class Reacher(Task):
    xml_file: str = "reacher.xml"
    frame_skip: int = 2
    reward_dist_weight: float = 1
    reward_control_weight: float = 1

    @property
    def derived_fields(self) -> tuple[str, ...]:
        return ("xpos",)

    def offset(self, d: Fields) -> Array:
        return d.xpos[:, d.body("fingertip")] - d.xpos[:, d.body("target")]

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


class Pusher(Task):
    xml_file: str = "pusher_v5.xml"
    frame_skip: int = 5
    reward_near_weight: float = 0.5
    reward_dist_weight: float = 1
    reward_control_weight: float = 0.1

    islands: ClassVar[bool] = True

    @property
    def derived_fields(self) -> tuple[str, ...]:
        return ("xpos",)

    def bodies(self, d: Fields) -> tuple[Array, Array, Array]:
        """Where the tip of the arm, the object and the goal are, `[N, 3]` each (m)."""
        return d.xpos[:, d.body("tips_arm")], d.xpos[:, d.body("object")], d.xpos[:, d.body("goal")]

    def observe(self, d: Fields) -> Array:
        return concatenate(d.qpos[:, :7], d.qvel[:, :7], *self.bodies(d))

    def reward(self, d: Fields, velocity: Array, action: Array) -> tuple[Array, Array]:
        tip, position, goal = self.bodies(d)
        reward_near = -norm(position - tip) * self.reward_near_weight
        reward_dist = -norm(position - goal) * self.reward_dist_weight
        reward_ctrl = -sum_of_squares(action) * self.reward_control_weight
        reward = reward_dist + reward_ctrl + reward_near
        return reward, never(reward)

    def reset_noise(self, rng: Random, qpos: Array, qvel: Array) -> State:
        cylinder = draw_where(lambda point: norm(point) > 0.17, rng, (-0.3, -0.2), (0, 0.2))
        qvel = qvel + rng.uniform(-0.005, 0.005, qvel.shape[-1])
        qpos = namespace(cylinder).concatenate((qpos[..., :-4], cylinder, 0 * cylinder), -1)
        qvel[..., -4:] = 0
        return qpos, qvel
