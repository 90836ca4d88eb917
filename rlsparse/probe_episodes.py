"""Run whole episodes of many candidate policies at once, within each member's allowance of steps."""

from collections.abc import Callable

import numpy as np
from gymnasium.vector import VectorEnv

from rlsparse.arrays import to_device, to_numpy
from rlsparse.errors import Interrupted
from rlsparse.evaluate import STEP_CAP
from rlsparse.learner import Learner
from rlsparse.normalise import ObsScale
from rlsparse.policy import Actors
from rlsparse.rollout import LARGEST, ActionBox


class ProbeEpisodes:
    """Scores points of the searched part of the parameters; counts steps and keeps to the allowance.

    Everything is of the `members` (indices into the learner) that probe now, S of them. `env(n)` gives n
    environments that do not reset by themselves.
    """

    def __init__(
        self,
        learner: Learner,
        members: np.ndarray,
        searched: slice,
        env: Callable[[int], VectorEnv],
        seeds: list[list[int]],
        allowance: np.ndarray,
        noise: list[np.random.Generator] | None,
        stop: Callable[[], bool],
    ) -> None:
        self._learner, self._members, self._searched = learner, members, searched
        self._env, self._seeds, self._allowance, self._noise, self._stop = env, seeds, allowance, noise, stop
        self.steps = np.zeros(len(members), np.int64)
        self.longest = np.zeros(len(members), np.int64)
        self.exhausted = np.zeros(len(members), bool)

    def __call__(self, points: np.ndarray, first: int, count: int) -> np.ndarray:
        """Return of episodes `first` to `first + count` of every point [S, C, P]; [S, C, count].

        NaN: not run to its end, because the allowance was used up; -inf: parameters, an observation or a reward
        were not finite. Raises Interrupted as soon as `stop`, asked before every step, says so.
        """
        members, candidates = points.shape[:2]
        env = self._env(members * candidates * count)
        actors, std = self._actors(points)
        space = env.single_action_space
        to_native = ActionBox(space.low, space.high)  # type: ignore[attr-defined]
        seeds = [s for own in self._seeds for _ in range(candidates) for s in own[first : first + count]]
        obs, _ = env.reset(seed=seeds)  # type: ignore[arg-type]
        failed = np.repeat(~np.isfinite(points).all(2).ravel(), count)
        returns, lengths, alive = np.zeros(len(seeds)), np.zeros(len(seeds), np.int64), ~failed
        done = np.zeros(len(seeds), bool)
        env.halt(failed)  # type: ignore[attr-defined]
        while alive.any() and lengths.max() < STEP_CAP:
            if self._stop():
                raise Interrupted
            alive &= self._affordable(alive, env)
            action = actors(np.where(alive[:, None], obs, 0.0).reshape(members * candidates, count, -1))
            if self._noise is not None:
                action = action + std * self._draw(count, action.shape[2], candidates)
            obs, reward, terminated, truncated, _ = env.step(to_native(action.reshape(len(seeds), -1)))
            self.steps += alive.reshape(members, -1).sum(1)
            lengths += alive
            broken = alive & ~((np.abs(reward) <= LARGEST) & (np.abs(obs) <= LARGEST).all(1))
            env.halt(broken)  # type: ignore[attr-defined]
            failed |= broken
            returns[alive] += reward[alive]
            done |= alive & (terminated | truncated)
            alive &= ~(done | failed)
        done |= alive
        self.longest = np.maximum(self.longest, lengths.reshape(members, -1).max(1))
        returns = np.where(failed, -np.inf, np.where(done, returns, np.nan))
        return returns.reshape(members, candidates, count)

    def _affordable(self, alive: np.ndarray, env: VectorEnv) -> np.ndarray:
        """Halt the members that cannot pay for the next step of all that are alive; who may go on, [S * C * E]."""
        needed = alive.reshape(len(self.steps), -1).sum(1)
        broke = (self.steps + needed > self._allowance) & (needed > 0)
        self.exhausted |= broke
        halted = np.repeat(broke, len(alive) // len(broke))
        if broke.any():
            env.halt(halted)  # type: ignore[attr-defined]
        return ~halted

    def _actors(self, points: np.ndarray) -> tuple[Actors, np.ndarray]:
        """Return the deterministic policies [S * C] and their action deviations [S * C, 1, A]."""
        learner, candidates = self._learner, points.shape[1]
        owners = np.repeat(self._members, candidates)
        params = to_numpy(learner.params)[owners]
        params[:, self._searched] = points.reshape(len(owners), -1)
        scale = learner.obs_scale()
        scale = ObsScale(scale.mean[owners], scale.inv_std[owners], scale.clip)
        seeds = tuple(learner.seeds[m] for m in owners)
        std = np.exp(learner.layout.log_std(params))[:, None, :]
        return Actors(learner.layout, to_device(params, learner.device), scale, seeds, learner.device), std

    def _draw(self, count: int, action_size: int, candidates: int) -> np.ndarray:
        """Standard normal noise [S * C, count, A], alike for all candidates of a member."""
        assert self._noise is not None
        own = [g.standard_normal((count, action_size), np.float32) for g in self._noise]
        return np.repeat(np.stack(own), candidates, 0)
