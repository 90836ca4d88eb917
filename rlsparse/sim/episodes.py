"""Run whole episodes of many policies at once, on the CPU or a device: for evaluations and for probes."""

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from rlsparse.errors import DivergenceError, Interrupted
from rlsparse.learner.actors import Actors
from rlsparse.learner.arrays import Array, namespace, to_device, to_numpy
from rlsparse.learner.learner import Learner
from rlsparse.sim.collect import ActionBox
from rlsparse.sim.finite import LARGEST, check_finite, name_of

log = logging.getLogger(__name__)

STEP_CAP = 10_000
"""An episode of an environment without a time limit is cut here."""

STEPS_BETWEEN_QUESTIONS = 50
"""Steps between two waits for a device, to check whether an episode still runs; on the CPU every step checks."""


@dataclass
class Allowance:
    """Steps that each member may still spend; a member that cannot pay a step of all its running episodes stops."""

    left: Array
    """[S] int64."""
    exhausted: Array
    """Members that could not pay, [S] bool."""

    @classmethod
    def unlimited(cls, members: int, device: str) -> "Allowance":
        """Return an allowance without limit."""
        most = np.full(members, np.iinfo(np.int64).max)
        return cls(to_device(most, device), to_device(np.zeros(members, bool), device))

    def spend(self, alive: Array) -> Array:
        """Pay the next step of the running episodes, [S * K] bool; return those that could be paid."""
        rows = alive.reshape(len(self.left), -1)
        self.exhausted = self.exhausted | (rows.sum(1) > self.left)
        rows = rows & ~self.exhausted[:, None]
        self.left = self.left - rows.sum(1)
        return rows.reshape(-1)


@dataclass(frozen=True)
class EpisodeResult:
    """The result of one episode in each of E environments."""

    returns: Array
    """Undiscounted return so far, [E]."""
    lengths: Array
    """Steps taken, [E]."""
    done: Array
    """Whether the episode came to its end, [E] bool."""
    failed: Array
    """Whether an action, an observation or a reward was not finite, [E] bool."""


def run_episodes(
    env: VectorEnv,
    act: Callable[[Any], Array],
    native: Callable[[Array], Array],
    seeds: list[int],
    runs: Array,
    allowance: Allowance,
    stop: Callable[[], bool],
    watch: Callable[[Array], None] = lambda obs: None,
    check: Callable[[Array, Array, str], None] = lambda obs, reward, when: None,
) -> EpisodeResult:
    """Run one episode in each environment that `runs`, [E] bool; `env` must not reset by itself.

    `act` maps obs [E, ...], or a dict of them, to actions [E, A], and `native` these to the environment's own. `watch`
    gets observations at the start and after each step, `check` also rewards and when it was. Raises
    Interrupted as soon as `stop` returns True; it is called before every step on the CPU.
    """
    xp, on_host = namespace(runs), isinstance(runs, np.ndarray)
    obs, _ = env.reset(seed=seeds)  # type: ignore[arg-type]
    check(obs, xp.zeros(len(runs)), "the reset")
    watch(obs)
    alive, done, failed = runs, xp.zeros_like(runs), xp.zeros_like(runs)
    returns, lengths = xp.zeros_like(runs, dtype=xp.float32), xp.zeros_like(runs, dtype=xp.int64)
    for step in range(STEP_CAP):
        if on_host or step % STEPS_BETWEEN_QUESTIONS == 0:
            if stop():
                raise Interrupted
            if not alive.any():
                break
        action = act(_zero_unless(alive, obs))
        failed = failed | (alive & ~xp.isfinite(action).all(1))
        alive = allowance.spend(alive & ~failed)
        if on_host and not alive.any():
            break
        env.halt(~alive)  # type: ignore[attr-defined]
        lengths = lengths + alive
        obs, reward, terminated, truncated, _ = env.step(native(xp.where(alive[:, None], action, 0.0)))
        check(obs, reward, f"step {step}")
        watch(obs)
        failed = failed | (alive & ~((xp.abs(reward) <= LARGEST) & _finite(obs)))
        returns = xp.where(alive, returns + reward, returns)
        done = done | (alive & (terminated | truncated))
        alive = alive & ~(done | failed)
    return EpisodeResult(returns, lengths, done | alive, failed)


def _action_box(env: VectorEnv, device: str) -> ActionBox:
    return ActionBox(env.single_action_space.low, env.single_action_space.high, device)  # type: ignore[attr-defined]


def _zero_unless(alive: Array, obs: Any) -> Any:
    """Return obs [E, ...], or a dict of them, with zeros where nobody is alive [E]: what is there may not be finite."""
    if isinstance(obs, dict):
        return {name: _zero_unless(alive, part) for name, part in obs.items()}
    return namespace(obs).where(alive.reshape(-1, *[1] * (obs.ndim - 1)), obs, 0)


def _finite(obs: Any) -> Array:
    """Whether each of obs [E, ...], or of a dict of them, is finite in float32; [E] bool."""
    if isinstance(obs, dict):
        return np.all([_finite(part) for part in obs.values()], 0)
    return (abs(obs.reshape(len(obs), -1)) <= LARGEST).all(1)


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
    counted once. The normaliser is frozen. `watch` gets observations [S * E, O]. Raises Interrupted when `stop`
    returns True, DivergenceError at numbers that are not finite.
    """
    members, total = len(actors.seeds), env.num_envs

    def act(obs: Array) -> Array:
        return actors(obs.reshape(members, total // members, -1)).reshape(total, -1)

    def check(obs: Array, reward: Array, when: str) -> None:
        if device == "cpu":
            check_finite(env, obs, reward, actors.seeds, f"{when} of an evaluation episode")

    everybody, allowance = to_device(np.ones(total, bool), device), Allowance.unlimited(members, device)
    result = run_episodes(env, act, _action_box(env, device), seeds, everybody, allowance, stop, watch, check)
    failed = to_numpy(result.failed).reshape(members, -1).any(1)
    if failed.any():
        member = int(failed.argmax())
        raise DivergenceError(
            f"an action, an observation or a reward is not finite: seed {actors.seeds[member]}, an evaluation episode; "
            "the policy of the last complete iteration is kept",
            member,
        )
    returns, lengths = (to_numpy(x).reshape(members, -1) for x in (result.returns, result.lengths))
    if lengths.min() >= STEP_CAP and (env.spec is None or env.spec.max_episode_steps != STEP_CAP):
        _tell_of_no_end(name_of(env))
    return Scores(returns.astype(np.float64), lengths)


@cache
def _tell_of_no_end(env_id: str) -> None:
    cut = f"no episode of {env_id} ended within {STEP_CAP:,} steps"
    log.warning(f"{cut}: returns are of cut episodes; give it --env-kwargs.max-episode-steps")


Policies = Callable[[np.ndarray, slice], Callable[[Any], Array]]
"""Gives the policies of points [S, C, P] in so many of their episodes, E of them: actions [S * C * E, A] for obs."""


class ProbeEpisodes:
    """Scores points of the searched parameters by episodes; counts steps and keeps to the allowance of each member.

    `env(n)` gives n environments, at most `most`, that do not reset by themselves. `native` maps actions to
    the environments' own; if it is None, actions are in units of half the action range. `seeds` `[S][E]` are of each
    episode of the S members that probe.
    """

    def __init__(
        self,
        policies: Policies,
        env: Callable[[int], VectorEnv],
        seeds: list[list[int]],
        allowance: np.ndarray,
        stop: Callable[[], bool] = lambda: False,
        device: str = "cpu",
        native: Callable[[Array], Array] | None = None,
        most: int = sys.maxsize,
    ) -> None:
        self._policies, self._env, self._seeds, self._given = policies, env, seeds, allowance
        self._stop, self._device, self._native, self._most = stop, device, native, most
        nobody = np.zeros(len(seeds), bool)
        self._allowance = Allowance(*(to_device(x, device) for x in (allowance.astype(np.int64), nobody)))
        self.longest = np.zeros(len(seeds), np.int64)

    @property
    def steps(self) -> np.ndarray:
        """Environment steps spent so far, [S] int64."""
        return self._given - to_numpy(self._allowance.left)

    @property
    def exhausted(self) -> np.ndarray:
        """Members whose allowance is used up, [S] bool."""
        return to_numpy(self._allowance.exhausted)

    def __call__(self, points: np.ndarray, first: int, count: int, wanted: np.ndarray | None = None) -> np.ndarray:
        """Return of episodes `first` to `first + count` of every point [S, C, P]; [S, C, count].

        NaN: not run to its end, because the allowance was used up or the member is not `wanted` [S]; -inf: parameters,
        an action, an observation or a reward were not finite. Raises Interrupted as soon as `stop` returns True (called
        before every step on the CPU), and EnvironmentFailure; the step that failed counts as taken everywhere.
        """
        members, candidates = points.shape[:2]
        runs = np.repeat(np.ones((members, 1), bool) if wanted is None else wanted[:, None], candidates, 1)
        at_once, episodes = max(1, self._most // (members * count)), slice(first, first + count)
        starts = range(0, candidates, at_once)
        parts = [self._run(points[:, i : i + at_once], runs[:, i : i + at_once], episodes) for i in starts]
        return np.concatenate(parts, 1)

    def _run(self, points: np.ndarray, runs: np.ndarray, episodes: slice) -> np.ndarray:
        """Return of these episodes of points [S, C, P] that `runs` [S, C]; [S, C, E]."""
        seeds = [s for own in self._seeds for _ in range(points.shape[1]) for s in own[episodes]]
        finite = np.isfinite(points.astype(np.float32)).all(2)
        count = len(seeds) // finite.size
        env, rows = self._env(len(seeds)), to_device(np.repeat(runs & finite, count), self._device)
        act, native = self._policies(points, episodes), self._native or _action_box(env, self._device)
        result = run_episodes(env, act, native, seeds, rows, self._allowance, self._stop)
        returns, lengths, done, failed = (to_numpy(x).reshape(*finite.shape, count) for x in vars(result).values())
        self.longest = np.maximum(self.longest, lengths.max((1, 2)))
        failed = failed | (runs & ~finite)[..., None]
        return np.where(failed, -np.inf, np.where(done, returns.astype(np.float64), np.nan))


@dataclass(frozen=True)
class MemberPolicies:
    """Gives the policies of points in place of the members' own numbers."""

    learner: Learner
    members: np.ndarray
    """Indices, [S]."""
    searched: slice
    """Which of their numbers points are."""
    noise_seeds: list[list[int]] | None = None
    """Of the action noise of each episode, `[S][E]`; None for deterministic actions."""

    def __call__(self, points: np.ndarray, episodes: slice) -> Callable[[Array], Array]:
        actors = self.learner.actors_at(points, self.searched, self.members)
        noise_seeds = self.noise_seeds and [own[episodes] for own in self.noise_seeds]
        return acting(actors, noise_seeds, self.learner.simulated_on)


def acting(actors: Actors, noise_seeds: list[list[int]] | None, device: str = "cpu") -> Callable[[Array], Array]:
    """Return how S * C actors act in E episodes each, obs [S * C * E, O]; the noise of each has a seed `[S][E]`."""

    def distribution(obs: Array) -> tuple[Array, Array]:
        return actors.distribution(obs.reshape(len(actors.seeds), -1, obs.shape[-1]))

    if noise_seeds is None:
        return lambda obs: distribution(obs)[0].reshape(len(obs), -1)
    candidates = len(actors.seeds) // len(noise_seeds)
    ones = np.ones((len(noise_seeds), candidates, actors.layout.action_size), np.float32)
    noise = common_noise(ones, noise_seeds, device)

    def sampled(obs: Array) -> Array:
        mean, log_std = distribution(obs)
        return (mean + namespace(mean).exp(log_std) * noise().reshape(mean.shape)).reshape(len(obs), -1)

    return sampled


def common_noise(std: np.ndarray, seeds: list[list[int]], device: str = "cpu") -> Callable[[], Array]:
    """Return what draws the noise of one step, [S * C * E, A], for deviations `std` [S, C, A] and seeds `[S][E]`.

    But for the deviation it is alike for all candidates of a member.
    """
    size, scale = std.shape[-1], to_device(std[:, :, None], device)
    if device == "cpu":
        draw = host_noise(seeds, size)
    else:
        from rlsparse.sim.collect_device import device_noise

        draw = device_noise(seeds, size, device)
    return lambda: (scale * draw()[:, None]).reshape(-1, size)


def host_noise(seeds: list[list[int]], size: int) -> Callable[[], np.ndarray]:
    """Return a function that draws the noise of one step, [S, count, size], with a generator per seed `[S][count]`."""
    streams = [[np.random.default_rng(s) for s in own] for own in seeds]
    return lambda: np.stack([[g.standard_normal(size, np.float32) for g in own] for own in streams])
