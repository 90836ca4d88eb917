"""Any Gymnasium environment with real-valued observations and bounded actions, one after the other in this process.

Episode k of environment i always starts from `reset(seed=...)` with a seed derived from (seed of i, k). So a state is
small and portable: the seeds, the episode numbers and the actions of the running episodes, which `set_state` replays.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box, Space
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from rlsparse.errors import EnvironmentFailure, UnsupportedEnvironment, UsageError
from rlsparse.sim.mujoco_log import route_warnings

logger = logging.getLogger("rlsparse.sim")

StepResult = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]


def check_spaces(env_id: str, observation: Space, action: Space) -> None:
    """Raise UnsupportedEnvironment unless `action` is a bounded float Box and `observation` a Box of numbers."""
    if not isinstance(action, Box) or action.dtype.kind != "f" or not action.is_bounded():
        raise UnsupportedEnvironment(
            f"{env_id} has the action space {action}, but only a Box of real numbers with finite bounds is supported"
        )
    if not isinstance(observation, Box):
        raise UnsupportedEnvironment(
            f"{env_id} has the observation space {observation}, but only a Box of numbers is supported"
        )
    if len(observation.shape) != 1 and observation.dtype.kind != "f":
        raise UnsupportedEnvironment(
            f"{env_id} has observations of shape {observation.shape} and type {observation.dtype}, but only vectors "
            "and arrays of real numbers are supported, not images"
        )


def episode_seed(seed: int, episode: int) -> int:
    """The seed, in [0, 2^32), that starts episode number `episode` of the environment with seed `seed`."""
    return int(np.random.SeedSequence([seed, episode]).generate_state(1)[0])


class GymVectorEnv(VectorEnv):
    """`num_envs` copies of a Gymnasium environment; see `rlsparse.sim.make`."""

    def __init__(self, env_id: str, num_envs: int, *, autoreset: bool = True):
        route_warnings()
        self._env_id = env_id
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP if autoreset else AutoresetMode.DISABLED}
        self._autoreset = autoreset
        self._envs: list[gymnasium.Env] = []
        for i in range(num_envs):
            self._envs.append(self._guard(i, "make", gymnasium.make, env_id))
            if i == 0:
                check_spaces(env_id, self._envs[0].observation_space, self._envs[0].action_space)
        first = self._envs[0]
        self.spec = first.spec
        self._action_shape = first.action_space.shape
        low, high, dtype = first.action_space.low, first.action_space.high, first.action_space.dtype
        self.single_action_space = Box(low.ravel(), high.ravel(), dtype=dtype)
        low, high = first.observation_space.low, first.observation_space.high
        self.single_observation_space = Box(
            low.ravel().astype(float), high.ravel().astype(float), dtype=np.float64
        )
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)

        self._seeds: list[int] = []
        self._episode = np.zeros(num_envs, np.int64)
        self._actions: list[list[np.ndarray]] = [[] for _ in range(num_envs)]  # of the running episodes
        self._observation = np.zeros(self.observation_space.shape)
        self._terminated = np.zeros(num_envs, bool)
        self._truncated = np.zeros(num_envs, bool)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode everywhere; an int seed s gives environment i the seed s + i, None goes on to the next one."""
        seeds = [seed + i for i in range(self.num_envs)] if isinstance(seed, int) else seed
        if seeds is None:
            seeds = [None] * self.num_envs
        kept = self._seeds or [None] * self.num_envs
        self._seeds = []
        for i, (old, given) in enumerate(zip(kept, seeds, strict=True)):
            goes_on = given is None and old is not None
            self._episode[i] = self._episode[i] + 1 if goes_on else 0
            fresh = int(np.random.SeedSequence().generate_state(1, np.uint64)[0]) if given is None else given
            self._seeds.append(old if goes_on else fresh)
            self._start_episode(i)
        self._terminated[:] = self._truncated[:] = False
        return self._observation.copy(), {}

    def _start_episode(self, i: int) -> None:
        seed = episode_seed(self._seeds[i], int(self._episode[i]))
        observation, _ = self._guard(i, "reset", self._envs[i].reset, seed=seed)
        self._store(i, observation)
        self._actions[i] = []

    def step(self, actions: np.ndarray) -> StepResult:
        """Advance every environment by one action `[num_envs, A]`; returns as `MujocoVectorEnv.step` does."""
        actions = np.array(actions, self.single_action_space.dtype)
        if actions.shape != self.action_space.shape:
            raise ValueError(f"actions have shape {actions.shape}, expected {self.action_space.shape}")
        if not self._seeds:
            raise ResetNeeded("call reset() before step()")
        reward = np.zeros(self.num_envs)
        # Without autoreset, finished environments stand still and repeat their last results.
        for i in np.flatnonzero(~(self._terminated | self._truncated) | self._autoreset):
            reward[i], self._terminated[i], self._truncated[i] = self._step_one(i, actions[i])
        terminated, truncated = self._terminated.copy(), self._truncated.copy()
        over, info = terminated | truncated, {}
        if self._autoreset and over.any():
            info = {"final_obs": np.full(self.num_envs, None, dtype=object), "_final_obs": over}
            for i in np.flatnonzero(over):
                info["final_obs"][i] = self._observation[i].copy()
                self._episode[i] += 1
                self._start_episode(i)
        return self._observation.copy(), reward, terminated, truncated, info

    def _step_one(self, i: int, action: np.ndarray) -> tuple[float, bool, bool]:
        shaped = action.reshape(self._action_shape)
        observation, reward, terminated, truncated, _ = self._guard(i, "step", self._envs[i].step, shaped)
        self._store(i, observation)
        self._actions[i].append(action)
        return reward, terminated, truncated

    def _store(self, i: int, observation: Any) -> None:
        flat, expected = np.ravel(observation), self._observation.shape[1]
        if flat.size != expected:
            raise EnvironmentFailure(
                f"{self._env_id}: environment {i} returned an observation of {flat.size} numbers, not {expected}"
            )
        self._observation[i] = flat

    def get_state(self) -> dict[str, np.ndarray]:
        """Seeds, episode numbers and the actions of the running episodes, as numeric arrays; call after reset."""
        actions = [action for episode in self._actions for action in episode]
        return {
            "seed": np.array(self._seeds, np.uint64),
            "episode": self._episode.copy(),
            "length": np.array([len(episode) for episode in self._actions], np.int64),
            "actions": np.array(actions, self.single_action_space.dtype).reshape(
                -1, *self.single_action_space.shape
            ),
            "observation": self._observation.copy(),
            "terminated": self._terminated.copy(),
            "truncated": self._truncated.copy(),
        }

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Replay the running episodes of a `get_state`; logs a warning if the environment does not reproduce them.

        Raises UsageError if the state is of another number of environments or another environment.
        """
        if state["observation"].shape != self._observation.shape:
            raise UsageError(
                f"the saved simulator state has observations of shape {state['observation'].shape}, but "
                f"{self.num_envs} environments of {self._env_id} have {self._observation.shape}"
            )
        self._seeds = [int(seed) for seed in state["seed"]]
        self._episode = state["episode"].copy()
        episodes = np.split(state["actions"], np.cumsum(state["length"])[:-1])
        for i, actions in enumerate(episodes):
            self._start_episode(i)
            for action in actions:
                self._step_one(i, action)
        if not np.array_equal(self._observation, state["observation"], equal_nan=True):
            logger.warning(
                "%s is not deterministic: replaying the saved actions led to another observation, so the resumed run "
                "will differ from an uninterrupted one",
                self._env_id,
            )
        self._terminated, self._truncated = state["terminated"].copy(), state["truncated"].copy()

    def close_extras(self, **kwargs: Any) -> None:
        """Close every environment."""
        for i, env in enumerate(self._envs):
            self._guard(i, "close", env.close)

    def _guard(self, i: int, doing: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        try:
            return call(*arguments, **options)
        except (gymnasium.error.UnregisteredEnv, gymnasium.error.DeprecatedEnv) as error:
            raise UsageError(f"no environment called {self._env_id}: {error}") from error
        except Exception as error:
            message = (
                f"{self._env_id}: environment {i} failed in {doing} with {type(error).__name__}: {error}"
            )
            raise EnvironmentFailure(message) from error
