"""Our simulator under Stable-Baselines3: `make_vec_env`, which takes what Stable-Baselines3's own takes."""

import functools
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common import env_util
from stable_baselines3.common.monitor import Monitor, ResultsWriter
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from rlsparse.errors import UsageError
from rlsparse.run.cards import resolve_environment
from rlsparse.run.storage import storage_errors
from rlsparse.sim.arguments import DRAWING
from rlsparse.sim.batched import on_cpu
from rlsparse.sim.environment import entry_point
from rlsparse.sim.tasks import task_class

log = logging.getLogger(__name__)


def make_vec_env(
    env_id: str | Callable[..., gymnasium.Env],
    n_envs: int = 1,
    seed: int | None = None,
    start_index: int = 0,
    monitor_dir: str | os.PathLike[str] | None = None,
    wrapper_class: Callable[..., gymnasium.Env] | None = None,
    env_kwargs: dict[str, Any] | None = None,
    vec_env_cls: type[VecEnv] | None = None,
    vec_env_kwargs: dict[str, Any] | None = None,
    monitor_kwargs: dict[str, Any] | None = None,
    wrapper_kwargs: dict[str, Any] | None = None,
) -> VecEnv:
    """A VecEnv of `n_envs` environments: stable_baselines3.common.env_util.make_vec_env, with the same arguments.

    The MuJoCo v5 tasks, and tasks of yours, are simulated in one batch: observations, rewards, ends, episode infos and
    monitor files hold the same numbers. Arguments that need single environments (`wrapper_class`, `vec_env_cls`, ...)
    are given to Stable-Baselines3's own function, and so is any other environment; for a task, one line says so. A name
    may also be a card's. Raises UsageError for an unknown name, and unless `n_envs` is at least 1.
    """
    if n_envs < 1:
        raise UsageError(f"n_envs is {n_envs}, but at least 1 environment is needed")
    name = resolve_environment(env_id) if isinstance(env_id, str) else ""
    own = entry_point(name) if isinstance(env_id, str) else env_id
    folder = None if monitor_dir is None else os.fspath(monitor_dir)
    if task_class(name):
        single = {"wrapper_class": wrapper_class, "vec_env_cls": vec_env_cls, "vec_env_kwargs": vec_env_kwargs}
        reason = _not_batched(single, env_kwargs or {}, monitor_kwargs or {})
        if not reason:
            names = [] if folder is None else [os.path.join(folder, str(start_index + i)) for i in range(n_envs)]
            env = BatchedVecEnv(on_cpu(name, n_envs, **env_kwargs or {}), names, **monitor_kwargs or {})
            if seed is not None:
                env.action_space.seed(seed + start_index)
            env.seed(seed)
            return env
        log.warning("%s: %s needs single environments, which are slower than the batched ones", name, reason)
    own = functools.partial(gymnasium.make, own) if isinstance(own, EnvSpec) else own  # a class of a file or module
    options = (vec_env_cls, vec_env_kwargs, monitor_kwargs, wrapper_kwargs)
    return env_util.make_vec_env(own, n_envs, seed, start_index, folder, wrapper_class, env_kwargs, *options)  # type: ignore[arg-type]


def _not_batched(single: dict[str, Any], env_kwargs: dict[str, Any], monitor_kwargs: dict[str, Any]) -> str:
    """The first argument that the batched simulator cannot take; "" if there is none."""
    refused = [name for name, value in single.items() if value is not None]
    refused += [f"env_kwargs {name}" for name in env_kwargs if name in (*DRAWING, "render_mode")]
    refused += [f"monitor_kwargs {name}" for name in monitor_kwargs if name != "override_existing"]
    return next(iter(refused), "")


class BatchedVecEnv(VecEnv):
    """One of our vector environments (SAME_STEP) as Stable-Baselines3's VecEnv, each environment with a Monitor.

    `monitors` are the names of the monitor files, one for each environment, if there are to be any. There are no single
    environments behind it: `get_attr` knows only what all have in common. Raises UsageError for any other `env`, and
    StorageError where a monitor file cannot be made.
    """

    def __init__(self, env: VectorEnv, monitors: Sequence[str] = (), override_existing: bool = True):
        if not isinstance(env, VectorEnv) or env.metadata.get("autoreset_mode") is not AutoresetMode.SAME_STEP:
            raise UsageError(f"{env!r} is no vector environment with same-step autoreset: make_vec_env takes an id")
        self._env = env
        self._common = {
            "spec": env.spec,
            "render_mode": None,
            "observation_space": env.single_observation_space,
            "action_space": env.single_action_space,
        }
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self._actions = np.zeros(0)
        self._started = time.time()
        self._returns = np.zeros(env.num_envs)
        self._lengths = np.zeros(env.num_envs, np.int64)
        header: dict[str, float | str] = {"t_start": self._started, "env_id": str(env.spec.id if env.spec else None)}
        self._writers: list[ResultsWriter] = []
        for name in monitors:
            with storage_errors(Path(f"{name}.{Monitor.EXT}")):
                self._writers.append(ResultsWriter(name, header, (), override_existing))

    def reset(self) -> np.ndarray:
        """Start all episodes, with the seeds given to `seed` if it was called since the last time."""
        obs, _ = self._env.reset(seed=self._seeds)  # type: ignore[arg-type]
        self._reset_seeds()
        self._reset_options()
        self._returns[:], self._lengths[:] = 0, 0
        return obs

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions `[num_envs, A]` for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Step; returns observations, rewards (float32), dones and a dict per environment."""
        obs, reward, terminated, truncated, info = self._env.step(self._actions)
        self._returns += reward
        self._lengths += 1
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": False} for _ in range(self.num_envs)]
        done = terminated | truncated
        for i in np.flatnonzero(done).tolist():
            infos[i] = {
                "TimeLimit.truncated": bool(truncated[i] and not terminated[i]),
                "terminal_observation": info["final_obs"][i],
                "episode": {
                    "r": round(float(self._returns[i]), 6),
                    "l": int(self._lengths[i]),
                    "t": round(time.time() - self._started, 6),
                },
            }
            self._returns[i], self._lengths[i] = 0, 0
            self._note(i, infos[i]["episode"])
        return obs, reward.astype(np.float32), done, infos

    def _note(self, i: int, episode: dict[str, float]) -> None:
        """Write an episode; after one that cannot be written all files end, since episodes between would be missed."""
        try:
            if self._writers:
                self._writers[i].write_row(episode)
        except OSError as error:
            log.warning("monitor files end here, and training goes on: %s", error.strerror or error)
            self._writers = []

    def close(self) -> None:
        """Stop the simulator, and close the monitor files."""
        self._env.close()
        for writer in self._writers:
            writer.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """The attribute of each environment in `indices`; AttributeError if they have none of that name."""
        if attr_name not in self._common:
            raise AttributeError(f"batched environments have no attribute {attr_name}, only {', '.join(self._common)}")
        return [self._common[attr_name] for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Raises AttributeError: there is no single environment to set it on."""
        raise AttributeError(f"batched environments cannot take the attribute {attr_name}")

    def env_method(self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **_: Any) -> list[Any]:
        """Raises AttributeError: there is no single environment to call."""
        raise AttributeError(f"batched environments have no method {method_name}")

    def env_is_wrapped(self, wrapper_class: type[gymnasium.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        """Whether the environments do what `wrapper_class` does: true of Monitor alone."""
        return [wrapper_class is Monitor for _ in self._get_indices(indices)]
