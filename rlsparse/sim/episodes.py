"""Run whole episodes of many policies at once, on the CPU or a device: for evaluations and for probes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from gymnasium.vector import VectorEnv

from rlsparse.errors import DivergenceError, Interrupted
from rlsparse.learner.arrays import Array, namespace, to_device, to_numpy
from rlsparse.learner.learner import Learner
from rlsparse.learner.network import Actors
from rlsparse.sim.collect import ActionBox
from rlsparse.sim.finite import LARGEST, check_finite

STEP_CAP = 10_000
"""An episode of an environment without a time limit is cut here."""

STEPS_BETWEEN_QUESTIONS = 50
"""The host waits for a device this often, to learn whether anybody is left; on the CPU it knows at every step."""


@dataclass
class Allowance:
    """Steps that each member may still spend; one that cannot pay a step for all that are alive takes none any more."""

    left: Array
    """[S] int64."""
    exhausted: Array
    """Who could not pay, [S] bool."""

    @classmethod
    def unlimited(cls, members: int, device: str) -> "Allowance":
        """Let everybody spend without end."""
        most = np.full(members, np.iinfo(np.int64).max)
        return cls(to_device(most, device), to_device(np.zeros(members, bool), device))

    def spend(self, alive: Array) -> Array:
        """Pay the next step of those who are alive, [S * K] bool; returns for whom it could be paid."""
        rows = alive.reshape(len(self.left), -1)
        self.exhausted = self.exhausted | (rows.sum(1) > self.left)
        rows = rows & ~self.exhausted[:, None]
        self.left = self.left - rows.sum(1)
        return rows.reshape(-1)


@dataclass(frozen=True)
class EpisodeResult:
    """What became of one episode in each of E environments."""

    returns: Array
    """Undiscounted, as far as it went, [E]."""
    lengths: Array
    """Steps taken, [E]."""
    done: Array
    """It came to its end, [E] bool."""
    failed: Array
    """An action, an observation or a reward was not finite, [E] bool."""


def run_episodes(
    env: VectorEnv,
    act: Callable[[Array], Array],
    seeds: list[int],
    runs: Array,
    allowance: Allowance,
    stop: Callable[[], bool],
    watch: Callable[[Array], None] = lambda obs: None,
    check: Callable[[Array, Array, int], None] = lambda obs, reward, step: None,
) -> EpisodeResult:
    """Run one episode in each environment that `runs`, [E] bool; `env` must not reset by itself.

    `act` maps obs [E, O] to actions in units of half the action range. `watch` sees observations at the start and after
    each step, `check` also rewards, and what number the step had. Raises Interrupted as soon as `stop`, asked before
    every step on the CPU, says so.
    """
    xp, on_host = namespace(runs), isinstance(runs, np.ndarray)
    space = env.single_action_space
    # "cpu" means numpy here, so a device is named with its index
    device = "cpu" if on_host else f"{runs.device.type}:{runs.device.index or 0}"
    to_native = ActionBox(space.low, space.high, device)  # type: ignore[attr-defined]
    obs, _ = env.reset(seed=seeds)  # type: ignore[arg-type]
    watch(obs)
    alive, done, failed = runs, xp.zeros_like(runs), xp.zeros_like(runs)
    returns, lengths = xp.zeros_like(obs[:, 0]), xp.zeros_like(runs, dtype=xp.int64)
    for step in range(STEP_CAP):
        if on_host or step % STEPS_BETWEEN_QUESTIONS == 0:
            if stop():
                raise Interrupted
            if not alive.any():
                break
        action = act(xp.where(alive[:, None], obs, 0.0))
        failed = failed | (alive & ~xp.isfinite(action).all(1))
        alive = allowance.spend(alive & ~failed)
        if on_host and not alive.any():
            break
        env.halt(~alive)  # type: ignore[attr-defined]
        lengths = lengths + alive
        obs, reward, terminated, truncated, _ = env.step(to_native(xp.where(alive[:, None], action, 0.0)))
        check(obs, reward, step)
        watch(obs)
        failed = failed | (alive & ~((xp.abs(reward) <= LARGEST) & (xp.abs(obs) <= LARGEST).all(1)))
        returns = xp.where(alive, returns + reward, returns)
        done = done | (alive & (terminated | truncated))
        alive = alive & ~(done | failed)
    return EpisodeResult(returns, lengths, done | alive, failed)


@dataclass(frozen=True)
class Scores:
    """Undiscounted returns and lengths of whole episodes, [S, E]; the steps they cost are the lengths' sum."""

    returns: np.ndarray
    lengths: np.ndarray


def evaluate(
    env: VectorEnv,
    actors: Actors,
    seeds: list[int],
    stop: Callable[[], bool] = lambda: False,
    watch: Callable[[Array], None] = lambda obs: None,
    device: str = "cpu",
) -> Scores:
    """Run one deterministic episode in each of the S * E environments (index s * E + e), which live on `device`.

    `env` must not reset by itself; an environment whose episode has ended is not stepped any more, so every step is
    counted once. The normaliser is frozen. `watch` sees observations [S * E, O]. Raises Interrupted when `stop` says
    so, DivergenceError at what is not finite.
    """
    members, total = len(actors.seeds), env.num_envs

    def act(obs: Array) -> Array:
        return actors(obs.reshape(members, total // members, -1)).reshape(total, -1)

    def check(obs: Array, reward: Array, step: int) -> None:
        if device == "cpu":
            check_finite(env, obs, reward, actors.seeds, step, "an evaluation episode")

    everybody, allowance = to_device(np.ones(total, bool), device), Allowance.unlimited(members, device)
    result = run_episodes(env, act, seeds, everybody, allowance, stop, watch, check)
    failed = to_numpy(result.failed).reshape(members, -1).any(1)
    if failed.any():
        raise DivergenceError(
            f"an action, an observation or a reward is not finite: seed {actors.seeds[int(failed.argmax())]}, an "
            "evaluation episode; the policy of the last complete iteration is kept"
        )
    returns, lengths = (to_numpy(x).reshape(members, -1) for x in (result.returns, result.lengths))
    return Scores(returns.astype(np.float64), lengths)


class ProbeEpisodes:
    """Scores points of the searched part of the parameters by episodes; counts steps and keeps to the allowance.

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
        self._env, self._seeds, self._given = env, seeds, allowance
        self._noise_seeds, self._stop, self._device = noise_seeds, stop, learner.simulated_on
        nobody = np.zeros(len(members), bool)
        self._allowance = Allowance(*(to_device(x, self._device) for x in (allowance.astype(np.int64), nobody)))
        self.longest = np.zeros(len(members), np.int64)

    @property
    def steps(self) -> np.ndarray:
        """Environment steps spent so far, [S] int64."""
        return self._given - to_numpy(self._allowance.left)

    @property
    def exhausted(self) -> np.ndarray:
        """Whose allowance is used up, [S] bool."""
        return to_numpy(self._allowance.exhausted)

    def __call__(self, points: np.ndarray, first: int, count: int, wanted: np.ndarray | None = None) -> np.ndarray:
        """Return of episodes `first` to `first + count` of every point [S, C, P]; [S, C, count].

        NaN: not run to its end, because the allowance was used up or the member is not `wanted` [S]; -inf: parameters,
        an action, an observation or a reward were not finite. Raises Interrupted as soon as `stop`, asked before every
        step on the CPU, says so, and EnvironmentFailure; then the step that failed counts as taken everywhere.
        """
        members, candidates = points.shape[:2]
        finite = np.isfinite(points.astype(np.float32)).all(2)
        runs = np.broadcast_to(True if wanted is None else wanted[:, None], (members, candidates))
        seeds = [s for own in self._seeds for _ in range(candidates) for s in own[first : first + count]]
        result = run_episodes(
            self._env(members * candidates * count),
            self._actors(points, first, count),
            seeds,
            to_device(np.repeat(runs & finite, count), self._device),
            self._allowance,
            self._stop,
        )
        returns, lengths, done, failed = (
            to_numpy(x).reshape(members, candidates, count)
            for x in (result.returns, result.lengths, result.done, result.failed)
        )
        self.longest = np.maximum(self.longest, lengths.max((1, 2)))
        failed = failed | (runs & ~finite)[..., None]
        return np.where(failed, -np.inf, np.where(done, returns.astype(np.float64), np.nan))

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
        scale = to_device(std, self._device)
        own_seeds = [own[first : first + count] for own in self._noise_seeds]
        draw = host_noise(own_seeds, size) if self._device == "cpu" else device_noise(own_seeds, size, self._device)

        def noise() -> Array:
            own = draw()
            repeated = namespace(own).stack([own] * candidates, 1)  # alike for all candidates of a member
            return repeated.reshape(-1, size)

        return lambda obs: mean(obs) + scale * noise()


def host_noise(seeds: list[list[int]], size: int) -> Callable[[], np.ndarray]:
    """Return what draws the noise of one step, [S, count, size], from a generator for each of the seeds [S][count]."""
    streams = [[np.random.default_rng(s) for s in own] for own in seeds]
    return lambda: np.stack([[g.standard_normal(size, np.float32) for g in own] for own in streams])


def device_noise(seeds: list[list[int]], size: int, device: str) -> Callable[[], Array]:
    """Return what draws the noise of one step on a device, [S, count, size], from a generator for each member."""
    import torch

    streams = [torch.Generator(device).manual_seed(own[0]) for own in seeds]
    draw = partial(torch.randn, len(seeds[0]), size, device=device)
    return lambda: torch.stack([draw(generator=stream) for stream in streams])
