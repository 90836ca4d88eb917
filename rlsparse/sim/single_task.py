"""One environment of a task, a user's or changed, for what takes single ones: drawing, wrappers, other libraries."""

from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import unquote

import gymnasium
import mujoco
import numpy as np
from gymnasium.vector import AutoresetMode

from rlsparse.sim.batched import on_cpu
from rlsparse.sim.cpu import load_model
from rlsparse.sim.tasks import task_class

PICTURE = 480
"""Pixels of a picture, in both directions."""


def __getattr__(quoted: str) -> Callable[..., gymnasium.Env]:
    """A task's entry point, which Gymnasium needs as the text "module:name"."""
    if task_class(unquote(quoted)) is None:
        raise AttributeError(f"module {__name__} has no attribute {quoted}")
    return partial(SingleTask, unquote(quoted))


class SingleTask(gymnasium.Env):
    """One environment of a batch of one."""

    def __init__(self, env_id: str, render_mode: str | None = None, **options: Any) -> None:
        never = {"max_episode_steps": 2**31, "autoreset_mode": AutoresetMode.DISABLED}
        self._envs = on_cpu(env_id, 1, **never, **options)  # type: ignore[arg-type]
        self.observation_space = self._envs.single_observation_space
        self.action_space = self._envs.single_action_space
        self.render_mode = render_mode
        self.model = load_model(self._envs.task)
        self.data = mujoco.MjData(self.model)
        seconds = self.model.opt.timestep * self._envs.task.frame_skip
        self.metadata = {"render_modes": ["human", "rgb_array"], "render_fps": max(1, round(1 / seconds))}
        if render_mode is not None:
            from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer

            self.mujoco_renderer = MujocoRenderer(self.model, self.data, camera_of(self.model), PICTURE, PICTURE)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode."""
        super().reset(seed=seed)
        return self._envs.reset(seed=None if seed is None else [seed])[0][0], {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Advance by one action; the time limit is a wrapper's."""
        obs, reward, terminated, _, _ = self._envs.step(np.asarray(action)[None])
        return obs[0], float(reward[0]), bool(terminated[0]), False, {}

    def render(self) -> Any:
        """Draw it as it is now, by the model's tracking camera if it has one."""
        self.data.qpos[:] = self._envs.qpos[0]
        mujoco.mj_forward(self.model, self.data)
        return self.mujoco_renderer.render(self.render_mode)  # type: ignore[arg-type]

    def close(self) -> None:
        """Stop simulating and drawing."""
        self._envs.close()
        if self.render_mode is not None:
            self.mujoco_renderer.close()


def camera_of(model: mujoco.MjModel) -> dict[str, Any]:
    """Return where MuJoCo's free camera is that sees the whole model, as Gymnasium's renderer takes it."""
    camera = mujoco.MjvCamera()
    mujoco.mjv_defaultFreeCamera(model, camera)
    return {name: getattr(camera, name) for name in ("lookat", "distance", "azimuth", "elevation")}
