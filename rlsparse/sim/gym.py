"""Any Gymnasium environment with real observations and bounded actions, one after the other in this process.

Episode k of environment i always starts from `reset(seed=...)` with a seed derived from (seed of i, k). So a
state is small and portable: seeds, episode numbers and the actions of the running episodes, which `set_state`
replays.
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
from rlsparse.sim.cpu import chosen_environments, route_warnings, seed_each

logger = logging.getLogger("rlsparse.sim")

StepResult = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]


def supported_spaces(env_id: str, observation: Space, action: Space) -> tuple[Box, Box]:
    """Both spaces, unchanged, if `observation` is a Box of numbers and `action` a bounded Box of reals.

    Raises UnsupportedEnvironment otherwise.
    """
    if not isinstance(action, Box) or action.low.dtype.kind != "f" or not action.is_bounded():
        raise UnsupportedEnvironment(
            f"{env_id} has the action space {action}, but only a Box of real numbers with finite bounds is supported"
        )
    if not isinstance(observation, Box):
        raise UnsupportedEnvironment(
            f"{env_id} has the observation space {observation}, but only a Box of numbers is supported"
        )
    if observation.low.ndim != 1 and observation.low.dtype.kind != "f":
        raise UnsupportedEnvironment(
            f"{env_id} has observations of shape {observation.shape} and type {observation.dtype}, but only "
            "vectors and arrays of real numbers are supported, not images"
        )
    return observation, action


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
        first = self._guard(0, "make", gymnasium.make, env_id)
        observation, action = supported_spaces(env_id, first.observation_space, first.action_space)
        others = [self._guard(i, "make", gymnasium.make, env_id) for i in range(1, num_envs)]
        self._envs: list[gymnasium.Env] = [first, *others]
        self.spec = first.spec

        self._action_shape, self._action_dtype = action.low.shape, action.low.dtype
        self._action_width = action.low.size
        self.single_action_space = Box(action.low.ravel(), action.high.ravel(), dtype=action.low.dtype.type)
        low, high = (bound.ravel().astype(np.float64) for bound in (observation.low, observation.high))
        self.single_observation_space = Box(low, high, dtype=np.float64)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)

        self._seeds: list[int] = []
        self._episode = np.zeros(num_envs, np.int64)
        self._episode_seeds = np.zeros(num_envs, np.uint64)  # of the running episodes
        self._actions: list[list[np.ndarray]] = [[] for _ in range(num_envs)]  # of the running episodes
        self._observation = np.zeros((num_envs, low.size))
        self._terminated = np.zeros(num_envs, bool)
        self._truncated = np.zeros(num_envs, bool)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode everywhere, or only where the bool array options["reset_mask"] `[num_envs]` is set.

        An int seed s gives environment i the seed s + i; None continues with each environment's next episode.
        """
        if not self._seeds:
            self._seeds = np.random.SeedSequence().generate_state(self.num_envs, np.uint64).tolist()
            self._episode[:] = -1
        chosen = chosen_environments(options, self.num_envs)
        if self._episode.min() < 0 and not chosen.all():
            raise ResetNeeded("the first reset() must start every environment")
        for i, given in enumerate(seed_each(seed, self.num_envs)):
            if not chosen[i]:
                continue
            self._episode[i] += 1
            if given is not None:
                self._seeds[i], self._episode[i] = given, 0
            self._start_episode(i)
        self._terminated[chosen] = self._truncated[chosen] = False
        return self._observation.copy(), {}

    def _start_episode(self, i: int) -> None:
        self._start_from(i, episode_seed(self._seeds[i], int(self._episode[i])))

    def _start_from(self, i: int, seed: int) -> None:
        self._episode_seeds[i] = seed
        observation, _ = self._guard(i, "reset", self._envs[i].reset, seed=seed)
        self._store(i, observation)
        self._actions[i] = []

    def step(self, actions: np.ndarray) -> StepResult:
        """Advance every environment by one action `[num_envs, A]`; returns as `MujocoVectorEnv.step` does."""
        actions, expected = np.array(actions, self._action_dtype), self.action_space.shape
        if actions.shape != expected:
            raise ValueError(f"actions have shape {actions.shape}, expected {expected}")
        if not self._seeds:
            raise ResetNeeded("call reset() before step()")
        reward = np.zeros(self.num_envs)
        # Without autoreset, finished environments stand still and repeat their last results.
        for i in np.flatnonzero(~(self._terminated | self._truncated) | self._autoreset).tolist():
            reward[i], self._terminated[i], self._truncated[i] = self._step_one(i, actions[i])
        terminated, truncated = self._terminated.copy(), self._truncated.copy()
        over, info = terminated | truncated, dict[str, Any]()
        if self._autoreset and over.any():
            info = {"final_obs": np.full(self.num_envs, None, dtype=object), "_final_obs": over}
            for i in np.flatnonzero(over).tolist():
                info["final_obs"][i] = self._observation[i].copy()
                self._episode[i] += 1
                self._start_episode(i)
        return self._observation.copy(), reward, terminated, truncated, info

    def halt(self, where: np.ndarray) -> None:
        """Let the environments `where` (bool `[num_envs]`) stand still until `reset`; only without autoreset."""
        self._truncated |= where

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

    def snapshots(self) -> np.ndarray:
        """The seed with which every environment's episode began, `[num_envs, 1]` float64, for `restore`."""
        return self._episode_seeds[:, None].astype(np.float64)

    def restore(self, i: int, snapshot: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, int]:
        """Put environment i into the state of a snapshot of any one; return its observation, and the steps taken.

        `actions` `[n, A]` are those from the start of that episode on, which are taken again; later episodes of i are
        the same as without this call.
        """
        self._start_from(i, int(snapshot[0]))
        for action in np.asarray(actions, self._action_dtype):
            self._step_one(i, action)
        self._terminated[i] = self._truncated[i] = False
        return self._observation[i].copy(), len(actions)

    def get_state(self) -> dict[str, np.ndarray]:
        """Seeds, episode numbers and the actions of the running episodes; call after reset."""
        actions = [action for episode in self._actions for action in episode]
        return {
            "seed": np.array(self._seeds, np.uint64),
            "episode": self._episode.copy(),
            "episode_seeds": self._episode_seeds.copy(),
            "length": np.array([len(episode) for episode in self._actions], np.int64),
            "actions": np.array(actions, self._action_dtype).reshape(-1, self._action_width),
            "observation": self._observation.copy(),
            "terminated": self._terminated.copy(),
            "truncated": self._truncated.copy(),
        }

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Replay the running episodes of a `get_state`; warn if the environment does not reproduce them.

        Raises UsageError if the state is of another environment or of another number of environments.
        """
        if state["observation"].shape != self._observation.shape:
            raise UsageError(
                f"the saved simulator state has observations of shape {state['observation'].shape}, but "
                f"{self.num_envs} environments of {self._env_id} have {self._observation.shape}"
            )
        self._seeds = [int(seed) for seed in state["seed"]]
        self._episode = state["episode"].copy()
        episode_seeds = state["episode_seeds"].tolist()
        episodes = np.split(state["actions"], np.cumsum(state["length"])[:-1])
        for i, actions in enumerate(episodes):
            self._start_from(i, episode_seeds[i])
            for action in actions:
                self._step_one(i, action)
        if not np.array_equal(self._observation, state["observation"], equal_nan=True):
            logger.warning(
                "%s is not deterministic: replaying the saved actions led to another observation, so the "
                "resumed run will differ from an uninterrupted one",
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
            kind = type(error).__name__
            message = f"{self._env_id}: environment {i} failed in {doing} with {kind}: {error}"
            raise EnvironmentFailure(message) from error
