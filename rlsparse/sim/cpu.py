"""The MuJoCo tasks on the CPU: all environments of a batch stepped by MuJoCo's own thread pool.

Results equal Gymnasium's v5 environments bitwise: the same physics calls, reset noise from the same generators, and
the arithmetic of `tasks`.
"""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.spaces import Box
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from mujoco.batch import Batch, SimulationError

from rlsparse.errors import EnvironmentFailure
from rlsparse.sim.contact import ContactBatch
from rlsparse.sim.mujoco_log import route_warnings
from rlsparse.sim.tasks import TASKS

# Found by path: importing gymnasium.envs.mujoco needs its rendering dependencies.
_ASSETS = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"


def usable_cores() -> int:
    """Number of cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class MujocoVectorEnv(VectorEnv):
    """`num_envs` copies of one of the tasks; see `rlsparse.sim.make`."""

    def __init__(self, env_id: str, num_envs: int, *, autoreset: bool = True):
        route_warnings()
        self.spec = gymnasium.spec(env_id)
        self.task = TASKS[env_id](**self.spec.kwargs)
        self.num_envs = num_envs
        mode = AutoresetMode.SAME_STEP if autoreset else AutoresetMode.DISABLED
        self.metadata = {"autoreset_mode": mode}
        self._autoreset = autoreset

        model = mujoco.MjModel.from_xml_path(str(_ASSETS / self.task.xml_file))
        if not self.task.islands:
            model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_ISLAND
        kind = ContactBatch if "cfrc_ext" in self.task.derived_fields else Batch
        self._batch: Any = kind(model, num_envs, min(usable_cores(), num_envs))
        names = ("qpos", "qvel", "ctrl", *self.task.derived_fields)
        self._fields = SimpleNamespace(
            **{name: self._batch.bind(name) for name in names},
            timestep=model.opt.timestep,
            body_mass=model.body_mass,
        )
        self._start_qpos, self._start_qvel = model.qpos0.copy(), np.zeros(model.nv)
        self._dt = model.opt.timestep * self.task.frame_skip
        self._max_steps = self.spec.max_episode_steps
        self._elapsed = np.zeros(num_envs, np.int64)
        self._rngs: list[np.random.Generator] = []

        low, high = model.actuator_ctrlrange.astype(np.float32).T
        self.single_action_space = Box(low, high, dtype=np.float32)
        width = self.task.observe(self._fields).shape[1]
        self.single_observation_space = Box(-np.inf, np.inf, (width,), np.float64)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode everywhere; an int seed s gives environment i the seed s + i, None keeps the generators."""
        seeds = [seed + i for i in range(self.num_envs)] if isinstance(seed, int) else seed
        seeds = seeds or [None] * self.num_envs
        rngs = self._rngs or [None] * self.num_envs
        self._rngs = [
            rng if rng is not None and s is None else seeding.np_random(s)[0]
            for rng, s in zip(rngs, seeds, strict=True)
        ]
        self._restart(np.arange(self.num_envs))
        return self._observation, {}

    def _restart(self, ids: np.ndarray) -> None:
        fields = self._fields
        self._batch.reset(ids, stage=mujoco.mjtStage.mjSTAGE_NONE.value)
        for i in ids:
            fields.qpos[i], fields.qvel[i] = self.task.reset_noise(self._rngs[i], self._start_qpos, self._start_qvel)
        if self.task.derived_fields:
            self._run(self._batch.forward, ids)
        self._elapsed[ids] = 0
        self._progress = np.array(self.task.progress(fields))
        self._observation = self.task.observe(fields)

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        task, fields = self.task, self._fields
        fields.ctrl[:] = actions
        self._run(self._batch.step, None, task.frame_skip)
        self._elapsed += 1
        progress = np.array(task.progress(fields))
        velocity = (progress - self._progress) / self._dt
        reward, terminated = task.reward(fields, velocity, actions)
        truncated = self._elapsed >= self._max_steps
        self._progress, self._observation = progress, task.observe(fields)
        done = terminated | truncated
        info: dict[str, Any] = {}
        if done.any() and self._autoreset:
            info = self._start_next_episodes(done)
        return self._observation, reward, terminated, truncated, info

    def _start_next_episodes(self, done: np.ndarray) -> dict[str, Any]:
        ids = np.flatnonzero(done)
        final_obs = np.full(self.num_envs, None, dtype=object)
        for i in ids:
            final_obs[i] = self._observation[i]
        self._restart(ids)
        return {"final_obs": final_obs, "_final_obs": done}

    def _run(self, call: Any, *arguments: Any) -> None:
        try:
            call(*arguments)
        except SimulationError as error:
            first = int(error.ids[0])
            raise EnvironmentFailure(
                f"{self.spec.id}: MuJoCo failed in environment {first}: {self._batch.error(first)}"
            ) from error
