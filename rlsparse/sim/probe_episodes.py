"""Run whole episodes of many candidate policies at once, within each member's allowance of steps."""

from collections.abc import Callable

import numpy as np
from gymnasium.vector import VectorEnv

from rlsparse.errors import Interrupted
from rlsparse.learner.arrays import Array, to_device, to_numpy
from rlsparse.learner.learner import Learner
from rlsparse.sim.collect import LARGEST, ActionBox
from rlsparse.sim.episodes import STEP_CAP


class ProbeEpisodes:
    """Scores points of the searched part of the parameters; counts steps and keeps to the allowance.

    Everything is of the `members` (indices into the learner) that probe now, S of them. `env(n)` gives n
    environments that do not reset by themselves; `seeds` and `noise_seeds` [S][E] are of each episode, the latter None
    for deterministic actions.
    """

    def __init__(
        self,
        learner: Learner,
        members: np.ndarray,
        searched: slice,
        env: Callable[[int], VectorEnv],
        seeds: list[list[int]],
        allowance: np.ndarray,
        noise_seeds: list[list[int]] | None,
        stop: Callable[[], bool],
    ) -> None:
        self._learner, self._members, self._searched = learner, members, searched
        self._env, self._seeds, self._allowance = env, seeds, allowance
        self._noise_seeds, self._stop = noise_seeds, stop
        self.steps = np.zeros(len(members), np.int64)
        self.longest = np.zeros(len(members), np.int64)
        self.exhausted = np.zeros(len(members), bool)

    def __call__(self, points: np.ndarray, first: int, count: int, wanted: np.ndarray | None = None) -> np.ndarray:
        """Return of episodes `first` to `first + count` of every point [S, C, P]; [S, C, count].

        NaN: not run to its end, because the allowance was used up or the member is not `wanted` [S]; -inf: parameters,
        an action, an observation or a reward were not finite. Raises Interrupted as soon as `stop`, asked before every
        step, says so, and EnvironmentFailure; then the step that failed counts as taken everywhere.
        """
        members, candidates = points.shape[:2]
        env = self._env(members * candidates * count)
        act = self._actors(points, first, count)
        space = env.single_action_space
        to_native = ActionBox(space.low, space.high)  # type: ignore[attr-defined]
        seeds = [s for own in self._seeds for _ in range(candidates) for s in own[first : first + count]]
        obs, _ = env.reset(seed=seeds)  # type: ignore[arg-type]
        failed = np.repeat(~np.isfinite(points.astype(np.float32)).all(2).ravel(), count)
        runs = np.repeat(np.ones(members, bool) if wanted is None else wanted, candidates * count)
        failed &= runs
        returns, lengths, alive = np.zeros(len(obs)), np.zeros(len(obs), np.int64), runs & ~failed
        done = np.zeros(len(obs), bool)
        while alive.any() and lengths.max() < STEP_CAP:
            if self._stop():
                raise Interrupted
            action = act(np.where(alive[:, None], obs, 0.0))
            failed |= alive & ~np.isfinite(action).all(1)
            alive &= ~failed
            alive &= self._affordable(alive)
            if not alive.any():
                break
            env.halt(~alive)  # type: ignore[attr-defined]
            self.steps += alive.reshape(members, -1).sum(1)
            lengths += alive
            obs, reward, terminated, truncated, _ = env.step(to_native(action))
            failed |= alive & ~((np.abs(reward) <= LARGEST) & (np.abs(obs) <= LARGEST).all(1))
            returns[alive] += reward[alive]
            done |= alive & (terminated | truncated)
            alive &= ~(done | failed)
        done |= alive
        self.longest = np.maximum(self.longest, lengths.reshape(members, -1).max(1))
        returns = np.where(failed, -np.inf, np.where(done, returns, np.nan))
        return returns.reshape(members, candidates, count)

    def _affordable(self, alive: np.ndarray) -> np.ndarray:
        """Who may take the next step, [S * C * E]: nobody of a member that cannot pay it for all that are alive."""
        needed = alive.reshape(len(self.steps), -1).sum(1)
        self.exhausted |= self.steps + needed > self._allowance
        return np.repeat(~self.exhausted, len(alive) // len(needed))

    def _actors(self, points: np.ndarray, first: int, count: int) -> Callable[[Array], Array]:
        """Return the points' policies [S, C, P] as a function of obs [S * C * count, O], called once a step."""
        learner, candidates = self._learner, points.shape[1]
        actors = learner.actors_at(points, self._searched, self._members)
        policies, size = len(actors.seeds), learner.layout.action_size

        def mean(obs: Array) -> Array:
            return actors(obs.reshape(policies, count, -1)).reshape(-1, size)

        if self._noise_seeds is None:
            return mean
        std = np.repeat(np.exp(to_numpy(learner.layout.log_std(actors.params))), count, 0)
        scale, noise = to_device(std, learner.simulated_on), self._noise(first, count, candidates)
        return lambda obs: mean(obs) + scale * noise()

    def _noise(self, first: int, count: int, candidates: int) -> Callable[[], Array]:
        """Return what draws the noise of one step [S * C * count, A], alike for all candidates of a member."""
        assert self._noise_seeds is not None
        streams = [[np.random.default_rng(s) for s in own[first : first + count]] for own in self._noise_seeds]
        size = self._learner.layout.action_size

        def draw() -> np.ndarray:
            noise = np.stack([[g.standard_normal(size, np.float32) for g in own] for own in streams])
            return np.repeat(noise, candidates, 0).reshape(-1, size)

        return draw
