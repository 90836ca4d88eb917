"""Any Gymnasium environment with real observations and bounded actions, one after the other in this process.

Episode k of environment i always starts from `reset(seed=...)` with a seed derived from (seed of i, k). So a
state is small and portable: seeds, episode numbers and the actions of the running episodes, which `set_state`
replays.
"""

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from rlsparse.errors import EnvironmentFailure, UsageError, in_one_line
from rlsparse.sim.cpu import logger, route_warnings
from rlsparse.sim.environment import Environment, as_environment, make_single
from rlsparse.sim.finite import place
from rlsparse.sim.spaces import NUMBERS, supported_spaces
from rlsparse.sim.vector import StepResult, chosen_environments, seed_each


def episode_seed(seed: int, episode: int) -> int:
    """The seed, in [0, 2^32), that starts episode number `episode` of the environment with seed `seed`."""
    return int(np.random.SeedSequence([seed, episode]).generate_state(1)[0])


def as_number(reward: Any) -> float:
    """Return a reward, an array of one number too, as a float; raises TypeError for anything else."""
    return reward if isinstance(reward, float) else float(as_vector(reward, 1, "a reward")[0])


def as_vector(given: Any, size: int, what: str = "an observation") -> np.ndarray:
    """Return an array as a vector [size]; raises TypeError if it does not hold so many numbers."""
    flat = np.ravel(given)
    if flat.size != size or flat.dtype.kind not in NUMBERS:
        held = f"{type(given).__name__} of {flat.size} {flat.dtype}"
        raise TypeError(f"{what} must be {size} number{'s' * (size > 1)}, not {held}")
    return flat


def check_fits(state: dict[str, np.ndarray], observation: np.ndarray, env_id: str) -> None:
    """Raise UsageError unless a saved state is of environments with such observations, [num_envs, O]."""
    if state["observation"].shape != observation.shape:
        raise UsageError(
            f"the saved simulator state has observations of shape {state['observation'].shape}, but "
            f"{len(observation)} environments of {env_id} have {observation.shape}"
        )


class GymVectorEnv(VectorEnv):
    """`num_envs` copies of a Gymnasium environment; see `rlsparse.sim.make`."""

    def __init__(
        self, environment: Environment | str, num_envs: int, *, autoreset: bool = True, seeds: Sequence[int] = ()
    ):
        route_warnings()
        self._environment = as_environment(environment)
        self._env_id = self._environment.id
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP if autoreset else AutoresetMode.DISABLED}
        self._autoreset = autoreset
        self._members = seeds
        first = self._make(0)
        spaces = self._guard(0, "make", attrgetter("observation_space", "action_space"), first)
        observation, action = supported_spaces(self._env_id, *spaces)
        self._envs = [first, *map(self._make, range(1, num_envs))]
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
        self._reward = np.zeros(num_envs)
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
        self._episode_seeds[i], self._actions[i] = seed, []
        self._guard(i, "reset", self._reset_one, i, seed)

    def _reset_one(self, i: int, seed: int) -> None:
        observation, _ = self._envs[i].reset(seed=seed)
        self._observation[i] = as_vector(observation, self._observation.shape[1])

    def _replay(self, i: int, seed: int, actions: Iterable[np.ndarray]) -> None:
        self._start_from(i, seed)
        for action in actions:
            self._step_one(i, action)

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
            reward[i], self._terminated[i], self._truncated[i] = self._advance(i, actions[i])
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

    def _advance(self, i: int, action: np.ndarray) -> tuple[float, bool, bool]:
        """Step one environment as a part of `step`."""
        return self._step_one(i, action)

    def _step_one(self, i: int, action: np.ndarray) -> tuple[float, bool, bool]:
        return self._guard(i, "step", self._take_step, i, action)

    def _take_step(self, i: int, action: np.ndarray) -> tuple[float, bool, bool]:
        # all that comes back is unpacked here, so that what is wrong with it is told as what the environment raises
        observation, reward, terminated, truncated, _ = self._envs[i].step(action.reshape(self._action_shape))
        outcome = as_number(reward), bool(terminated), bool(truncated)
        self._observation[i] = as_vector(observation, self._observation.shape[1])
        self._reward[i] = outcome[0]
        self._actions[i].append(action)
        return outcome

    def snapshots(self) -> np.ndarray:
        """The seed with which every environment's episode began, `[num_envs, 1]` float64, for `restore`."""
        return self._episode_seeds[:, None].astype(np.float64)

    def restore(self, i: int, snapshot: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, int]:
        """Put environment i into the state of a snapshot of any one; return its observation, and the steps taken.

        `actions` `[n, A]` are those from the start of that episode on, which are taken again; later episodes of i are
        the same as without this call.
        """
        self._replay(i, int(snapshot[0]), np.asarray(actions, self._action_dtype))
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
            "reward": self._reward.copy(),
            "terminated": self._terminated.copy(),
            "truncated": self._truncated.copy(),
        }

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Replay the running episodes of a `get_state`; warn if the environment does not reproduce them.

        Raises UsageError if the state is of another environment or of another number of environments.
        """
        check_fits(state, self._observation, self._env_id)
        self._seeds = [int(seed) for seed in state["seed"]]
        self._episode = state["episode"].copy()
        episode_seeds = state["episode_seeds"].tolist()
        episodes = np.split(state["actions"], np.cumsum(state["length"])[:-1])
        for i, actions in enumerate(episodes):
            self._replay(i, episode_seeds[i], actions)
        stepped = state["length"] > 0
        told = {
            "observation": (self._observation, state["observation"]),
            "reward": (self._reward[stepped], state["reward"][stepped]),
        }
        if other := [name for name, (now, then) in told.items() if not np.array_equal(now, then, equal_nan=True)]:
            logger.warning(
                "%s is not deterministic: replaying the saved actions led to another %s, so the "
                "resumed run will differ from an uninterrupted one",
                self._env_id,
                other[0],
            )
        self._reward = state["reward"].copy()
        self._terminated, self._truncated = state["terminated"].copy(), state["truncated"].copy()

    def close_extras(self, **kwargs: Any) -> None:
        """Close every environment; one that cannot be closed is told of, and left."""
        for i, env in enumerate(self._envs):
            try:
                self._guard(i, "close", env.close)
            except EnvironmentFailure as error:
                logger.warning("%s", error)

    def _make(self, i: int) -> gymnasium.Env:
        return self._guard(i, "make", make_single, self._environment)

    def _guard(self, i: int, doing: str, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except UsageError:
            raise
        except (gymnasium.error.UnregisteredEnv, gymnasium.error.DeprecatedEnv) as error:
            raise UsageError(f"no environment called {self._env_id}: {error}") from error
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # sys.exit does not end the program, nor what compiled code of Rust raises
            failed = f"{self.where(i)} failed in {self.told(i, doing)} with {in_one_line(error)}"
            raise EnvironmentFailure(failed) from error

    def where(self, i: int) -> str:
        """Say which environment i is, and whose."""
        return f"{self._env_id}: {place(i, self.num_envs, self._members)}"

    def told(self, i: int, doing: str) -> str:
        """Say what environment i is doing (make, reset, step or close), so that it can be done again."""
        reset = f"reset(seed={self._episode_seeds[i]})" if doing in ("reset", "step") else doing
        return f"step {len(self._actions[i]) + 1} after {reset}" if doing == "step" else reset
