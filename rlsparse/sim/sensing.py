"""What lies between a robot and its policy: sensors that err, actions that arrive late, and a memory of observations.

Arguments of any MuJoCo task; `sensing_warp` has them on a GPU.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from rlsparse.errors import UsageError
from rlsparse.sim.arguments import flag
from rlsparse.sim.counter_numbers import normal
from rlsparse.sim.vector import StepResult, chosen_environments, seed_each

LONGEST = 1_000
"""Most steps of a delay and of a memory."""


class SensedEnv(VectorEnv):
    """Environments behind sensors and a delay; all else is as it is in them.

    `sensor_noise`: deviation of a normal error of every number of the observation, one for all or [O].
    `action_delay`: steps that pass before an action arrives; until the first one does, the middle of their range acts.
    `history`: how many of the last observations are seen, the oldest first; those before the start are the first one.
    The errors of an episode come from its seed and its number. Raises UsageError for other values.
    """

    def __init__(
        self, env: Any, sensor_noise: float | Sequence[float] = 0.0, action_delay: int = 0, history: int = 1
    ) -> None:
        self._env, self.num_envs, self.metadata, self.spec = env, env.num_envs, env.metadata, env.spec
        check_sensing(action_delay, history)
        space: Box = env.single_observation_space
        self._noise = deviations(sensor_noise, space.low.size)
        self.single_action_space, self.action_space = env.single_action_space, env.action_space
        self.single_observation_space = Box(np.tile(space.low, history), np.tile(space.high, history), dtype=np.float64)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self._rest = (env.single_action_space.low + env.single_action_space.high) / 2
        self._waiting = np.tile(self._rest, (self.num_envs, action_delay, 1))
        self._seen = np.zeros((self.num_envs, history, space.low.size))
        self._keys = np.zeros((self.num_envs, 3), np.int64)  # seed, episode, step
        self._keys[:, 0] = np.random.SeedSequence().generate_state(self.num_envs, np.uint64) >> 1
        self._over = np.zeros(self.num_envs, bool)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_env":
            raise AttributeError(name)
        return getattr(self._env, name)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode everywhere, or where the mask of the options says so."""
        chosen = chosen_environments(options, self.num_envs)
        for i, given in enumerate(seed_each(seed, self.num_envs)):
            if given is not None and chosen[i]:
                self._keys[i, :2] = given % 2**63, 0
        obs, info = self._env.reset(seed=seed, options=options)
        self._begin(chosen, obs)
        return self._told(), info

    def _begin(self, where: np.ndarray, obs: np.ndarray) -> None:
        """Begin the episodes of some environments, of which these are the first observations [N, O]."""
        self._keys[where, 1] += 1
        self._keys[where, 2] = 0
        self._over[where] = False
        self._waiting[where] = self._rest
        self._seen[where] = self._measured(obs)[where, None]

    def _measured(self, obs: np.ndarray) -> np.ndarray:
        return obs + self._noise * normal(self._keys, obs.shape[1]) if self._noise.any() else obs

    def _told(self) -> np.ndarray:
        return self._seen.reshape(self.num_envs, -1).copy()

    def step(self, actions: np.ndarray) -> StepResult:
        """Advance every environment by the action that arrives; returns as `MujocoVectorEnv.step` does."""
        over, mode = self._over, self.metadata["autoreset_mode"]
        obs, reward, terminated, truncated, info = self._env.step(self._arriving(np.asarray(actions)))
        final = info.get("_final_obs", np.zeros(self.num_envs, bool))
        last = obs.copy()
        for i in np.flatnonzero(final):
            last[i] = info["final_obs"][i]
        self._keys[~over, 2] += 1
        measured = self._measured(last)
        self._seen[~over] = np.concatenate([self._seen[~over, 1:], measured[~over, None]], 1)
        if final.any():
            told = self._told()
            for i in np.flatnonzero(final):
                info["final_obs"][i] = told[i]
        ended = terminated | truncated
        stands = {AutoresetMode.DISABLED: over | ended, AutoresetMode.NEXT_STEP: ended & ~over}
        self._over = stands.get(mode, np.zeros_like(over))
        starts = over if mode is AutoresetMode.NEXT_STEP else final
        if starts.any():
            self._begin(starts, obs)
        return self._told(), reward, terminated, truncated, info

    def _arriving(self, actions: np.ndarray) -> np.ndarray:
        if not self._waiting.shape[1]:
            return actions
        arriving = np.where(self._over[:, None], actions, self._waiting[:, 0])
        later = np.concatenate([self._waiting[:, 1:], actions[:, None]], 1)
        self._waiting = np.where(self._over[:, None, None], self._waiting, later)
        return arriving

    def halt(self, where: np.ndarray) -> None:
        """Let some environments stand still until `reset`."""
        self._env.halt(where)
        self._over = self._over | where

    def _own(self) -> dict[str, np.ndarray]:
        return {"waiting": self._waiting, "seen": self._seen, "keys": self._keys, "stands": self._over}

    def get_state(self) -> dict[str, np.ndarray]:
        """As that of the environments, and what is under way."""
        return self._env.get_state() | {f"sensing_{name}": x.copy() for name, x in self._own().items()}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Continue exactly from a `get_state` of the same task and num_envs, else raise UsageError."""
        self._env.set_state(state)
        for name, array in self._own().items():
            array[...] = state[f"sensing_{name}"]

    def snapshots(self) -> np.ndarray:
        """As those of the environments, and what is under way in each, [num_envs, K]."""
        own = [x.reshape(self.num_envs, -1).astype(np.float64) for x in (self._waiting, self._seen, self._keys[:, 2:])]
        return np.concatenate([*own, self._env.snapshots()], 1)

    def restore(self, i: int, snapshot: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, int]:
        """Put environment i into the state of a snapshot of any one; return its observation, and the steps taken."""
        first, second = self._waiting[i].size, self._waiting[i].size + self._seen[i].size
        _, steps = self._env.restore(i, snapshot[second + 1 :], actions)
        self._waiting[i] = snapshot[:first].reshape(self._waiting[i].shape)
        self._seen[i] = snapshot[first:second].reshape(self._seen[i].shape)
        self._keys[i, 2], self._over[i] = int(snapshot[second]), False
        return self._told()[i], steps

    def close_extras(self, **kwargs: Any) -> None:
        """Close the environments."""
        self._env.close()


def check_sensing(action_delay: int, history: int) -> None:
    """Raise UsageError for what is no delay and no length of a memory."""
    for name, value, least in (("action_delay", action_delay, 0), ("history", history, 1)):
        if type(value) is not int or not least <= value <= LONGEST:
            raise UsageError(f"{flag(name)} is {value}: expected a whole number from {least} to {LONGEST:,}")


def deviations(given: float | Sequence[float], size: int) -> np.ndarray:
    """Return the deviation of each of O errors, [O]; raises UsageError for what is none."""
    try:
        noise = np.broadcast_to(np.asarray(given, np.float64), (size,))
    except ValueError:
        count = len(given) if isinstance(given, Sequence) else 1
        raise UsageError(f"{flag('sensor_noise')} has {count} numbers: expected one, or {size}") from None
    if not (np.isfinite(noise) & (noise >= 0)).all():
        raise UsageError(f"{flag('sensor_noise')} is {given}: expected numbers of zero or more")
    return noise
