"""The quadruped of dm_control (Apache-2.0; pip install dm-control) walks, on flat ground or over bumps."""

from importlib.util import find_spec
from pathlib import Path

import mujoco
import numpy as np

from rlsparse.sim.task import Task, concatenate, never, sum_of_squares

LEGS = [f"{end}_{side}" for end in ("front", "back") for side in ("left", "right")]


class Quadruped(Task):
    frame_skip = 4
    speed: float = 3.0
    bumps: float = 0.0
    effort: float = 0.01

    def model(self):
        package = Path(find_spec("dm_control").origin).parent
        spec = mujoco.MjSpec.from_file(str(package / "suite" / "quadruped.xml"))
        walls = [geom for geom in spec.geoms if geom.name.startswith("wall")]
        eyes = [sensor for sensor in spec.sensors if sensor.type == mujoco.mjtSensor.mjSENS_RANGEFINDER]
        other_ground = spec.geom("floor" if self.bumps else "terrain")
        for unused in (*walls, *eyes, spec.body("ball"), spec.site("target"), other_ground):
            spec.delete(unused)
        spec.stat.extent, spec.stat.center = 2.5, [0, 0, 0.4]  # what a picture shows
        ground = spec.hfield("terrain")
        ground.userdata = heights(ground.nrow).ravel()
        ground.size = [20, 20, max(self.bumps, 1e-3), 0.1]
        return spec

    def observe(self, d):
        torso = d.xmat[:, d.body("torso")].reshape(-1, 9)
        moving = d.sensordata[:, d.sensor("velocimeter")], d.sensordata[:, d.sensor("imu_gyro")]
        feet = [d.sensordata[:, d.sensor(f"force_toe_{leg}")] / 100 for leg in LEGS]
        return concatenate(torso[:, 6:], *moving, d.qpos[:, 7:], d.qvel[:, 6:] / 10, *feet)

    def reward(self, d, velocity, action):
        forward = d.sensordata[:, d.sensor("velocimeter")][:, 0]
        upright = d.xmat[:, d.body("torso")].reshape(-1, 9)[:, 8]
        reward = upright * (forward / self.speed).clip(-1, 1) - self.effort * sum_of_squares(action)
        return reward, never(reward)

    def reset_noise(self, rng, qpos, qvel):
        return qpos + 0.02 * rng.standard_normal(qpos.shape[-1]), qvel


def heights(points):
    """Smooth hills from 0 to 1, flat where episodes start."""
    x, y = np.meshgrid(*[np.linspace(-20, 20, points)] * 2)
    hills = (2 + np.sin(1.7 * x + 0.9 * y) + np.sin(2.1 * y - 1.1 * x)) / 4
    return hills * np.clip(np.hypot(x, y) - 1, 0, 1)
