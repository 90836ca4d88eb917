"""Episodes of a probe cut into parts for other processes, and their outcomes put together: what one process would give.

A part holds episodes of one member. Every number of an episode depends on its policy and its seed alone, and so do the
bits, as long as its policy acts in as many episodes at once. Whole episodes are run at first; from their lengths it is
then told where the allowance of the member would have ended them. What was run beyond that is thrown away.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, NamedTuple

import numpy as np
from gymnasium.vector import VectorEnv

from rlsparse.errors import EnvironmentFailure
from rlsparse.learner.actors import Actors
from rlsparse.learner.layout import Layout
from rlsparse.learner.normaliser import ObsScale
from rlsparse.sim.collect import ActionBox
from rlsparse.sim.episodes import STEP_CAP, Allowance, ProbeEpisodes, acting, run_episodes

NEVER = 2 * STEP_CAP
"""An iteration that no episode reaches."""


@dataclass(frozen=True)
class Part:
    """Some of the E episodes of some policies of one member, and all that another process needs to run them."""

    member: int
    """Of those that probe."""
    first: int
    """Number of its first environment among those of all parts."""
    layout: Layout
    policies: np.ndarray
    """Actor and log-std of each policy, [n, P]."""
    scale: ObsScale
    """The member's, [1, O]."""
    seeds: list[int]
    """Of each policy's episodes, [E]."""
    noise_seeds: list[int] | None
    """Of the action noise of each policy's episodes, [E]; None for deterministic actions."""
    runs: np.ndarray
    """Which of all its episodes are run, [n * E] bool; the others belong to a neighbouring part, or to none."""
    left: int
    """Steps that the member may still spend."""
    until: int = NEVER
    """The step from which on nothing is run."""


@dataclass(frozen=True)
class Outcome:
    """What became of a part's episodes."""

    returns: np.ndarray
    """So far, [n * E]."""
    lengths: np.ndarray
    """Steps taken, [n * E]."""
    done: np.ndarray
    """Whether the episode came to its end, [n * E] bool."""
    failed: np.ndarray
    """Whether an action, an observation or a reward was not finite, [n * E] bool."""
    stopped_at: int = NEVER
    """The step that could not be paid."""
    failed_at: int = NEVER
    """The step in which an environment failed, -1 for its start."""
    failure: str = ""
    """Its message."""


Execute = Callable[[list[Part], Callable[[], bool]], list[Outcome]]
"""Runs parts somewhere and returns their outcomes, in order; raises Interrupted as soon as the function says so."""


def pieces(episodes: int, members: int, workers: int) -> int:
    """Return into how many parts the episodes of each of so many members are cut, for so many workers.

    So that the largest share of a worker is as small as it can be; with as few parts as that takes.
    """
    if not members:
        return 1
    most = range(1, min(episodes, workers) + 1)
    return min(most, key=lambda n: (ceil(members * n / workers) * ceil(episodes / n), n))


def cut(
    actors: Actors,
    runs: np.ndarray,
    seeds: list[list[int]],
    noise_seeds: list[list[int]] | None,
    left: np.ndarray,
    workers: int,
) -> list[Part]:
    """Cut the episodes of the policies of S members, S * C `actors`, that `runs` [S, C] into parts.

    `seeds` and those of the noise are [S][E]; `left` [S] is what a member may spend.
    """
    members, candidates = runs.shape
    episodes = len(seeds[0])
    number = pieces(candidates * episodes, int(runs.any(1).sum()), workers)
    bounds = [candidates * episodes * k // number for k in range(number + 1)]
    parts = []
    for member in np.flatnonzero(runs.any(1)).tolist():
        for begin, end in zip(bounds, bounds[1:], strict=False):
            low, high = begin // episodes, ceil(end / episodes)
            rows = np.arange(low * episodes, high * episodes)
            wanted = np.repeat(runs[member, low:high], episodes) & (rows >= begin) & (rows < end)
            if not wanted.any():
                continue
            own = slice(member * candidates + low, member * candidates + high)
            parts.append(
                Part(
                    member,
                    (member * candidates + low) * episodes,
                    actors.layout,
                    actors.params[own, actors.layout.policy],
                    actors.scale.only(own.start),
                    seeds[member],
                    None if noise_seeds is None else noise_seeds[member],
                    wanted,
                    int(left[member]),
                )
            )
    return parts


class _Counted(Allowance):
    """An allowance of one member that counts the steps of each episode, and ends at a given step."""

    def __init__(self, part: Part) -> None:
        super().__init__(np.array([part.left]), np.zeros(1, bool))
        self.lengths = np.zeros(len(part.runs), np.int64)
        self.step, self._until = -1, part.until

    def spend(self, alive: np.ndarray) -> np.ndarray:
        """Pay the next step of the running episodes, [E] bool; return those that could be paid."""
        self.step += 1
        self.exhausted = self.exhausted | (self.step >= self._until)
        paid = super().spend(alive)
        self.lengths += paid
        return paid


def run_part(env: Callable[[int], VectorEnv], part: Part) -> Outcome:
    """Run the episodes of a part in what `env(n)` gives: n environments that do not reset by themselves."""
    count, layout = len(part.policies), part.layout
    params = np.zeros((count, layout.size), np.float32)
    params[:, layout.policy] = part.policies
    scale = ObsScale(np.repeat(part.scale.mean, count, 0), np.repeat(part.scale.inv_std, count, 0), part.scale.clip)
    noise_seeds = None if part.noise_seeds is None else [part.noise_seeds]
    act = acting(Actors(layout, params, scale, (0,) * count), noise_seeds)
    allowance, nothing = _Counted(part), np.zeros(len(part.runs), bool)
    try:
        envs = env(len(part.runs))
        space: Any = envs.single_action_space  # type: ignore[attr-defined]
        native = ActionBox(space.low, space.high, "cpu")
        result = run_episodes(envs, act, native, part.seeds * count, part.runs, allowance, lambda: False)
    except EnvironmentFailure as error:
        failure = _numbered(str(error), part.first)
        return Outcome(nothing * 0.0, allowance.lengths, nothing, nothing, NEVER, allowance.step, failure)
    stopped_at = allowance.step if allowance.exhausted[0] else NEVER
    return Outcome(result.returns, result.lengths, result.done, result.failed, stopped_at)


def _numbered(failure: str, first: int) -> str:
    """Return what a failed environment said, with its number among those of all parts."""
    return re.sub(r"(?<=: environment )\d+(?= failed in )", lambda found: str(int(found[0]) + first), failure, count=1)


class Account(NamedTuple):
    """What the parts of a call come to, as if one process had run them step by step together."""

    returns: np.ndarray
    """[S, C * E]; NaN: not run to its end; -inf: failed."""
    lengths: np.ndarray
    """Steps that count, [S, C * E]."""
    exhausted: np.ndarray
    """Whose allowance is used up, [S] bool."""
    failure: str
    """What a failed environment said, if one ended the call."""
    again: dict[int, Part]
    """Parts to be run once more, by number: an environment failed in them where no episode would have come."""


def joined(
    parts: list[Part], outcomes: list[Outcome], shape: tuple[int, int], left: np.ndarray, exhausted: np.ndarray
) -> Account:
    """Put the outcomes of parts together, of `shape` (S, C * E); `left` [S] could be spent by those not `exhausted`."""
    lengths, returns = np.zeros(shape, np.int64), np.full(shape, np.nan)
    stopped_at = np.full(shape[0], NEVER)
    for part, outcome in zip(parts, outcomes, strict=True):
        lengths[part.member, _columns(part, shape)] = outcome.lengths[part.runs]
        stopped_at[part.member] = min(stopped_at[part.member], outcome.stopped_at)
    ends_at = np.minimum(stopped_at, [first_unpaid(*each) for each in zip(lengths, left, strict=True)])
    again, failures = {}, []
    for i, (part, outcome) in enumerate(zip(parts, outcomes, strict=True)):
        if outcome.failed_at < ends_at[part.member]:
            failures.append((outcome.failed_at, part.first + int(part.runs.argmax()), outcome.failure))
        elif outcome.failure:
            again[i] = replace(part, until=int(ends_at[part.member]))
        known = outcome.lengths <= ends_at[part.member]
        score = np.where(outcome.failed, -np.inf, np.where(outcome.done, outcome.returns, np.nan))
        returns[part.member, _columns(part, shape)] = np.where(known, score, np.nan)[part.runs]
    step, _, failure = min(failures, default=(NEVER, 0, ""))
    last = np.minimum(ends_at, step + 1)
    exhausted = exhausted | ((ends_at <= step) & (ends_at < NEVER))
    return Account(returns, np.minimum(lengths, last[:, None]), exhausted, failure, again)


def first_unpaid(lengths: np.ndarray, left: int) -> int:
    """Return the first step of episodes of these lengths that `left` cannot pay, all together; NEVER if it can."""
    running = len(lengths) - np.cumsum(np.bincount(lengths))  # in steps 0, 1, ...: those that are longer
    unpaid = np.cumsum(running) > left
    return int(unpaid.argmax()) if unpaid.any() else NEVER


def _columns(part: Part, shape: tuple[int, int]) -> np.ndarray:
    """Which episodes of its member a part runs."""
    return part.first - part.member * shape[1] + np.flatnonzero(part.runs)


class PartedEpisodes(ProbeEpisodes):
    """As ProbeEpisodes of MemberPolicies; `workers()` processes run the episodes, by `execute`."""

    def __init__(self, execute: Execute, workers: Callable[[], int], policies: Any, *arguments: Any) -> None:
        super().__init__(policies, *arguments)
        self._execute, self._workers = execute, workers

    def _run(self, points: np.ndarray, runs: np.ndarray, episodes: slice) -> np.ndarray:
        """Return of these episodes of points [S, C, P] that `runs` [S, C]; [S, C, E]."""
        policies, allowance = self._policies, self._allowance
        actors = policies.learner.actors_at(points, policies.searched, policies.members)  # type: ignore[attr-defined]
        seeds, noise = ([x[episodes] for x in own or []] for own in (self._seeds, policies.noise_seeds))  # type: ignore[attr-defined]
        finite = np.isfinite(points.astype(np.float32)).all(2)
        shape = (*finite.shape, len(seeds[0]))
        left = np.where(allowance.exhausted, 0, allowance.left)
        parts = cut(actors, runs & finite, seeds, noise or None, left, self._workers())
        outcomes = self._execute(parts, self._stop)
        settle = (shape[0], shape[1] * shape[2]), left, allowance.exhausted
        account = joined(parts, outcomes, *settle)
        while account.again and not account.failure:
            redone = self._execute(list(account.again.values()), self._stop)
            outcomes = [*outcomes]
            for i, outcome in zip(account.again, redone, strict=True):
                outcomes[i] = outcome
            account = joined(parts, outcomes, *settle)
        allowance.left = allowance.left - account.lengths.sum(1)
        allowance.exhausted = account.exhausted
        if account.failure:
            raise EnvironmentFailure(account.failure)
        self.longest = np.maximum(self.longest, account.lengths.max(1))
        return np.where((runs & ~finite)[..., None], -np.inf, account.returns.reshape(shape))
