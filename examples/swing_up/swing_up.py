"""A pole hangs from a cart: swing it up, and keep it there."""

from rlsparse.sim.task import Task, concatenate, namespace, never, sum_of_squares


class SwingUp(Task):
    xml_file = "cartpole.xml"
    frame_skip = 2
    horizon = 500
    effort: float = 0.01
    noise: float = 0.1

    def observe(self, d):
        angle = d.qpos[:, d.joint("hinge")]
        xp = namespace(angle)
        spin = d.sensordata[:, d.sensor("spin")]
        return concatenate(d.qpos[:, d.joint("slide")], xp.cos(angle), xp.sin(angle), d.qvel[:, :1], spin / 5)

    def reward(self, d, velocity, action):
        height = d.site_xpos[:, d.site("tip"), 2] / 0.8  # from -1, hanging, to 1
        at_the_centre = 1 - abs(d.qpos[:, 0]) / 2
        reward = (1 + height) / 2 * at_the_centre - self.effort * sum_of_squares(action)
        return reward, never(reward)

    def reset_noise(self, rng, qpos, qvel):
        start = qpos + rng.uniform(-self.noise, self.noise, 2)
        start[..., 1] += 3.14159  # the model's pose is upright
        return start, qvel
