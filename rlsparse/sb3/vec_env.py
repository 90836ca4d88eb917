"""Stable-Baselines3 on our simulator: the same script, faster by one changed line.

env = rlsparse.sb3.make_vec_env("HalfCheetah", num_envs=8)
PPO("MlpPolicy", env).learn(1_000_000)
"""

import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from rlsparse import sim
from rlsparse.run.cards import resolve_environment


def make_vec_env(env_id: str, num_envs: int = 1, seed: int | None = None) -> VecEnv:
    """A VecEnv of `num_envs` copies of `env_id`, as stable_baselines3.common.env_util.make_vec_env gives.

    On the MuJoCo v5 tasks, observations, rewards, ends and episode infos are the same numbers. The name may be a
    card's or any id that `rlsparse.sim.make` takes; raises UsageError as that does.
    """
    env = BatchedVecEnv(sim.make(resolve_environment(env_id), num_envs))
    if seed is not None:
        env.action_space.seed(seed)
    env.seed(seed)
    return env


class BatchedVecEnv(VecEnv):
    """One of our vector environments (SAME_STEP) as Stable-Baselines3's VecEnv, each environment with a Monitor.

    There are no single environments behind it: `get_attr` knows only what all have in common.
    """

    def __init__(self, env: VectorEnv):
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
        return obs, reward.astype(np.float32), done, infos

    def close(self) -> None:
        """Stop the simulator."""
        self._env.close()

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
