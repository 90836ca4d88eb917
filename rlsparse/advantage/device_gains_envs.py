"""Environments on a device whose reward is what a step adds to a set function of the episode's states."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rlsparse.advantage.environments import WrappedEnvs
from rlsparse.learner.arrays import to_device, to_numpy

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv

    from rlsparse.advantage.submodular import Objective


class DeviceGainsEnvs(WrappedEnvs):
    """Environments that keep what each has collected in its episode; the reward is what a step adds."""

    def __init__(self, env: "VectorEnv", objective: "Objective", device: str) -> None:
        super().__init__(env)
        self.objective, self.device = objective, device
        self._function = objective.function.on_device(len(objective.projection.index), device)
        empty = self._function.empty
        self._empty = empty.expand(env.num_envs, *empty.shape)
        self._gains: list[Tensor] = []

    def reset(self, *, seed: list[int]) -> tuple[Tensor, dict[str, Any]]:
        """Begin episodes with these seeds; first states are given, and add nothing."""
        obs, info = super().reset(seed=seed)
        self.collected = self._begun(obs)
        return obs, info

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Step all environments, and note what the points after the step add."""
        obs, reward, terminated, truncated, info = self.env.step(actions)
        projection, marginal = self.objective.projection, self.objective.advantage.gain == "marginal"
        points = projection(info["final_qpos" if projection.source == "qpos" else "final_obs"])
        gains, after = self._function.add(self.collected, points)
        self._gains.append(gains if marginal else self._function.add(self._empty, points)[0])
        ended = (terminated | truncated).reshape(-1, *[1] * (after.ndim - 1))
        self.collected = torch.where(ended, self._begun(obs), after)
        return obs, reward, terminated, truncated, info

    def _begun(self, obs: Tensor) -> Tensor:
        return self._function.add(self._empty, self.objective.points(self.env, obs))[1]

    def learned_reward(self, reward: Tensor) -> Tensor:
        """Return the rewards to learn from, given the environment's own of the steps since the last call, [T, S, N]."""
        gains, self._gains = torch.stack(self._gains).reshape(reward.shape), []
        learned: Tensor = self.objective.advantage.learned_reward(reward, gains)
        return learned

    def get_state(self) -> dict[str, np.ndarray]:
        """Return all arrays from which the environments continue, by name."""
        return super().get_state() | {"collected": to_numpy(self.collected)}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore the state that `get_state` returned."""
        super().set_state(state)
        self.collected = to_device(state["collected"].copy(), self.device)
