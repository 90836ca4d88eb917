"""What `sensing` does, for tasks on a GPU: every operation is a masked write, and none waits for the device."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from rlsparse.sim.counter_random import EpisodeStream, signed
from rlsparse.sim.sensing import check_sensing, deviations
from rlsparse.sim.vector import seed_each
from rlsparse.sim.warp import StepResult, WarpVectorEnv, write_rows

_OWN_STREAM = 0x14057B7EF767814F
"""Added to seeds, so that errors are independent of where episodes start."""


class WarpSensedEnv(VectorEnv):
    """As `sensing.SensedEnv`, of environments on a GPU; the errors are drawn there, and are others than on the CPU."""

    def __init__(
        self,
        env: WarpVectorEnv,
        sensor_noise: float | Sequence[float] = 0.0,
        action_delay: int = 0,
        history: int = 1,
    ) -> None:
        check_sensing(action_delay, history)
        self._env, self.num_envs, self.metadata, self.spec = env, env.num_envs, env.metadata, env.spec
        actions, seen = cast(Box, env.single_action_space), cast(Box, env.single_observation_space)
        width, device = seen.shape[0], env.device
        self._noise = torch.as_tensor(deviations(sensor_noise, width).copy(), device=device)
        self._errs = bool(self._noise.any())
        self.single_action_space, self.action_space = actions, env.action_space
        self.single_observation_space = Box(np.tile(seen.low, history), np.tile(seen.high, history), dtype=np.float32)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self._rest = torch.as_tensor((actions.low + actions.high) / 2, device=device)
        self._waiting = self._rest.expand(self.num_envs, action_delay, -1).clone()
        self._seen = torch.zeros(self.num_envs, history, width, device=device)
        entropy = np.random.SeedSequence().generate_state(self.num_envs, np.uint64)
        self._seed = torch.tensor([signed(int(word)) for word in entropy], device=device)
        self._episode, self._step = torch.zeros_like(self._seed), torch.zeros_like(self._seed)
        self._over = torch.zeros(self.num_envs, dtype=torch.bool, device=device)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_env":
            raise AttributeError(name)
        return getattr(self._env, name)

    @torch.no_grad()
    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Start an episode everywhere, or where the mask of the options says so."""
        obs, info = self._env.reset(seed=seed, options=options)
        mask = (options or {}).get("reset_mask")
        chosen = torch.ones_like(self._over) if mask is None else torch.as_tensor(mask, device=self._over.device)
        if seed is not None:
            seeds = seed_each(seed, self.num_envs)
            fresh = chosen & torch.tensor([given is not None for given in seeds], device=chosen.device)
            write_rows(self._seed, fresh, torch.tensor([signed(given or 0) for given in seeds], device=chosen.device))
            write_rows(self._episode, fresh, 0)
        self._begin(chosen, obs)
        return self._told(), info

    def _begin(self, where: Tensor, obs: Tensor) -> None:
        """Begin the episodes of some environments, of which these are the first observations [N, O]."""
        self._episode += where
        write_rows(self._step, where, 0)
        write_rows(self._over, where, False)
        write_rows(self._waiting, where, self._rest)
        write_rows(self._seen, where, self._measured(obs)[:, None])

    def _measured(self, obs: Tensor) -> Tensor:
        if not self._errs:
            return obs
        stream = EpisodeStream(self._seed + _OWN_STREAM, self._episode).of_step(self._step)
        return (obs + self._noise * stream.standard_normal(obs.shape[1])).float()

    def _told(self) -> Tensor:
        return self._seen.reshape(self.num_envs, -1).clone()

    @torch.no_grad()
    def step(self, actions: Tensor) -> StepResult:
        """Advance every environment by the action that arrives; returns as `WarpVectorEnv.step` does."""
        going = ~self._over
        obs, reward, terminated, truncated, info = self._env.step(self._arriving(actions, going))
        self._step += going
        measured = self._measured(info["final_obs"])
        write_rows(self._seen, going, torch.cat([self._seen[:, 1:], measured[:, None]], 1))
        info = info | {"final_obs": self._told()}
        ended = terminated | truncated
        if self.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP:
            self._begin(ended, obs)
        else:
            self._over |= ended
        return self._told(), reward, terminated, truncated, info

    def _arriving(self, actions: Tensor, going: Tensor) -> Tensor:
        if not self._waiting.shape[1]:
            return actions
        arriving = torch.where(going[:, None], self._waiting[:, 0], actions)
        write_rows(self._waiting, going, torch.cat([self._waiting[:, 1:], actions[:, None]], 1))
        return arriving

    def halt(self, where: Tensor) -> None:
        """Let some environments stand still until `reset`."""
        self._env.halt(where)
        self._over |= torch.as_tensor(where, device=self._over.device)

    def _own(self) -> dict[str, Tensor]:
        names = ("waiting", "seen", "seed", "episode", "step", "over")
        return {f"sensing_{name}": getattr(self, f"_{name}") for name in names}

    def get_state(self) -> dict[str, np.ndarray]:
        """As that of the environments, and what is under way."""
        return self._env.get_state() | {name: x.cpu().numpy().copy() for name, x in self._own().items()}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Continue exactly from a `get_state` of the same task and num_envs, else raise UsageError."""
        self._env.set_state(state)
        for name, array in self._own().items():
            array.copy_(torch.as_tensor(state[name]))

    def close_extras(self, **kwargs: Any) -> None:
        """Close the environments."""
        self._env.close()
