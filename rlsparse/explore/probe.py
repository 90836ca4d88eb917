"""What a probe is, and probing by whole episodes: run the candidates, then replace the incumbent or not."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Annotated, Any, ClassVar, Protocol

import numpy as np
from annotated_types import MinLen

from rlsparse.errors import require
from rlsparse.explore.anchors import Probed
from rlsparse.explore.choice import (
    INCUMBENT,
    Accept,
    Choice,
    mean_and_error,
    paired_gains,
    shrunken_probability,
    t_test,
)
from rlsparse.learner.bounds import Count, FractionAboveZero, Probability


class Evaluate(Protocol):
    """Runs episodes of the S members' policies and counts what they cost."""

    @property
    def steps(self) -> np.ndarray:
        """Environment steps spent so far, [S] int64."""

    @property
    def exhausted(self) -> np.ndarray:
        """The member's allowance is used up: what it still asks for comes back as NaN, [S] bool."""

    def __call__(self, points: np.ndarray, first: int, count: int, wanted: np.ndarray | None = None) -> np.ndarray:
        """Return of episodes `first` to `first + count` of every point [S, C, P]; [S, C, count].

        Episode e begins alike for all points of a member. NaN: not run to its end, or of a member that is not
        `wanted` [S] bool; -inf: the policy failed.
        """


Propose = Callable[[Probed], np.ndarray]
"""Asks the proposal for its next candidates [S, C, P], given what was scored so far."""


def check_pairs(accept: Accept, name: str, given: int) -> None:
    """Raise UsageError if episodes are compared by their differences, and the probe's field gives only one."""
    enough = given >= 2 or accept not in ("evidence", "posterior")
    require(enough, f"explore.probe.{name}", given, f'2 or more, which --explore.probe.accept "{accept}" needs')


@dataclass(frozen=True)
class Evidence:
    """What S members' rollout of T steps in N environments says, before any gradient has seen it."""

    incumbent: np.ndarray
    """The members' own policies, [S, P]."""
    acting: np.ndarray | None
    """Who acted in each environment, [S, N, P]; None: the incumbents in all."""
    advantage: np.ndarray
    """Of what was done, under the incumbents' critic, [S, T, N]."""
    log_ratio: Callable[[np.ndarray], np.ndarray]
    """Log of how much more likely points [S, C, P] would have done it, [S, C, T, N]."""
    propose: Propose
    rounds: int
    """How often candidates are asked for."""


class ProbeKind:
    """What every kind of probe can be asked. One that `spends` is called; any other acts in a rollout or judges by it.

    By itself it does nothing.
    """

    spends: ClassVar[bool] = False
    """It runs episodes of its own, whose steps are counted."""
    acts: ClassVar[bool] = False
    """Candidates act in the rollout that they are judged by."""
    stochastic: bool = False
    """Its episodes have the action noise that training has."""

    @property
    def seeds_needed(self) -> int:
        """Return how many of its episodes begin differently."""
        return 0

    def episodes_for(self, candidates: int, rounds: int) -> int:
        """Return how many episodes a probe runs at most."""
        return 0

    def tried(self, proposed: int, num_envs: int) -> int:
        """Return how many of the proposed candidates are tried, where `num_envs` environments of a member act."""
        return proposed

    def acting(self, propose: Propose, incumbent: np.ndarray, num_envs: int) -> np.ndarray | None:
        """Return who acts in each environment of the next rollout, [S, N, P]; None: the incumbents [S, P] in all."""
        return None

    def judge(self, evidence: Evidence) -> Choice | None:
        """Judge candidates by a rollout; None: that is not how they are judged."""
        return None

    def __call__(self, incumbent: np.ndarray, propose: Propose, rounds: int, evaluate: Evaluate) -> Choice:
        """Probe around the incumbents [S, P] by episodes, which `evaluate` runs."""
        raise NotImplementedError


@dataclass(frozen=True)
class Episodes(ProbeKind):
    """Give every candidate the same whole episodes. With accept = "always" it is the published protocol."""

    needs: ClassVar = {
        "environment-return": "compares candidates by their return, and needs advantages of the environment's reward"
    }

    episodes: Count = 3
    """Episodes of each candidate; all candidates begin theirs alike."""
    accept: Accept = "posterior"
    """When the best candidate replaces the incumbent; only "always" spares scoring the incumbent."""
    level: Probability = 0.9
    """How sure "evidence" and "posterior" must be."""
    stochastic: bool = False
    """Score with the action noise that training has, instead of the mean actions."""

    @property
    def gives(self) -> frozenset[str]:
        """What other components may rely on."""
        return frozenset({"probe-episodes", "stochastic-scores"} if self.stochastic else {"probe-episodes"})

    def check(self, recipe: Any) -> None:
        """Raise UsageError unless there are episodes enough to decide by."""
        check_pairs(self.accept, "episodes", self.episodes)

    def width(self, candidates: int, rounds: int) -> int:
        """Return how many episodes run at once, at most."""
        return candidates * self.episodes

    spends: ClassVar[bool] = True

    @property
    def seeds_needed(self) -> int:
        """Return `episodes`."""
        return self.episodes

    def episodes_for(self, candidates: int, rounds: int) -> int:
        """Return how many episodes a probe runs at most."""
        return self.episodes * (candidates * rounds + (self.accept != "always"))

    def __call__(self, incumbent: np.ndarray, propose: Propose, rounds: int, evaluate: Evaluate) -> Choice:
        """Probe around the incumbents [S, P]."""
        points, returns = _first(incumbent, self.episodes)
        if self.accept != "always":
            returns[:] = evaluate(points, 0, self.episodes)
        for _ in range(rounds):
            candidates = propose(Probed(points, mean_and_error(returns)[0]))
            points = np.concatenate([points, candidates], 1)
            returns = np.concatenate([returns, evaluate(candidates, 0, self.episodes)], 1)
        return self._choose(points, returns, evaluate)

    def _choose(self, points: np.ndarray, returns: np.ndarray, evaluate: Evaluate) -> Choice:
        if self.accept == "posterior":
            probability = shrunken_probability(returns)
        else:
            probability = t_test(*paired_gains(returns), candidates=returns.shape[1] - 1)
        best = 1 + _best(mean_and_error(returns)[0][:, 1:])
        probability = np.take_along_axis(probability, best[:, None] - 1, 1)[:, 0]
        return decide(points, returns, best, probability, self.accept, self.level, evaluate)


@dataclass(frozen=True)
class Racing(ProbeKind):
    """Successive halving: after each round the worse candidates leave; the last one duels with the incumbent.

    The duel's episodes are its own, so that the luck by which a candidate came through counts for nothing; there is
    none where the incumbent, which runs all rounds beside the candidates, is ahead of them.
    Source: Jamieson and Talwalkar, arXiv 1502.07943 (the race); paired episodes as in common random numbers.
    """

    needs: ClassVar = {
        "environment-return": "compares candidates by their return, and needs advantages of the environment's reward"
    }

    episodes: Annotated[tuple[Count, ...], MinLen(1)] = (1, 2)
    """Episodes of the incumbent and of every candidate that is still in the race, in each round."""
    keep: FractionAboveZero = 0.25
    """Share of the candidates that goes on to the next round."""
    duel: Count = 4
    """Episodes of the last candidate and of the incumbent against each other."""
    accept: Accept = "evidence"
    """When the last candidate replaces the incumbent."""
    level: Probability = 0.8
    """How sure "evidence" must be."""
    stochastic: bool = False
    """Score with the action noise that training has, instead of the mean actions."""

    @property
    def gives(self) -> frozenset[str]:
        """What other components may rely on."""
        return frozenset({"probe-episodes", "stochastic-scores"} if self.stochastic else {"probe-episodes"})

    def check(self, recipe: Any) -> None:
        """Raise UsageError unless the duel has episodes enough to decide by."""
        check_pairs(self.accept, "duel", self.duel)

    def width(self, candidates: int, rounds: int) -> int:
        """Return how many episodes run at once, at most."""
        later = zip(self.survivors(candidates * rounds)[1:], self.episodes[1:], strict=True)
        return max(candidates * self.episodes[0], 2 * self.duel, *(n * e for n, e in later))

    spends: ClassVar[bool] = True

    @property
    def seeds_needed(self) -> int:
        """Return the episodes of all rounds and of the duel."""
        return sum(self.episodes) + self.duel

    def survivors(self, candidates: int) -> list[int]:
        """Return how many candidates run in each round."""
        return [max(1, ceil(candidates * self.keep**r)) for r in range(len(self.episodes))]

    def episodes_for(self, candidates: int, rounds: int) -> int:
        """Return how many episodes a probe runs at most."""
        rest = zip(self.survivors(candidates * rounds)[1:], self.episodes[1:], strict=True)
        return (1 + candidates * rounds) * self.episodes[0] + sum((1 + n) * e for n, e in rest) + 2 * self.duel

    def __call__(self, incumbent: np.ndarray, propose: Propose, rounds: int, evaluate: Evaluate) -> Choice:
        """Probe around the incumbents [S, P]."""
        first = self.episodes[0]
        points, returns = _first(incumbent, sum(self.episodes) + self.duel)
        returns[..., :first] = evaluate(points, 0, first)
        for _ in range(rounds):
            candidates = propose(Probed(points, mean_and_error(returns)[0]))
            points = np.concatenate([points, candidates], 1)
            new = np.full((*candidates.shape[:2], returns.shape[2]), np.nan)
            new[..., :first] = evaluate(candidates, 0, first)
            returns = np.concatenate([returns, new], 1)
        done = first
        race = 1 + _ranked(mean_and_error(returns)[0][:, 1:])
        for survivors, episodes in zip(self.survivors(points.shape[1] - 1)[1:], self.episodes[1:], strict=True):
            race = race[:, :survivors]
            _run(points, returns, np.pad(race, ((0, 0), (1, 0)), constant_values=INCUMBENT), done, episodes, evaluate)
            done += episodes
            # among themselves: those that left have other, fewer episodes
            order = _ranked(np.take_along_axis(mean_and_error(returns)[0], race, 1))
            race = np.take_along_axis(race, order, 1)
        best = race[:, 0]
        pair = np.stack([np.full_like(best, INCUMBENT), best], 1)
        race_score = np.take_along_axis(mean_and_error(returns)[0], pair, 1)
        _run(points, returns, pair, done, self.duel, evaluate, race_score[:, 1] > race_score[:, 0])
        duel = np.take_along_axis(returns[..., done:], pair[..., None], 1)
        probability = t_test(*paired_gains(duel), candidates=1)[:, 0]
        return decide(points, returns, best, probability, self.accept, self.level, evaluate)


def decide(
    points: np.ndarray,
    returns: np.ndarray,
    best: np.ndarray,
    probability: np.ndarray,
    accept: Accept,
    level: float,
    evaluate: Evaluate,
) -> Choice:
    """Apply the acceptance rule to the best candidate [S] of points [S, C, P]; a probe cut short accepts nothing."""
    score, error = mean_and_error(returns)
    ran = np.isfinite(np.take_along_axis(score, best[:, None], 1)[:, 0])
    sure = probability >= level if accept in ("evidence", "posterior") else np.full(len(best), accept == "always")
    accepted = sure & ran & ~evaluate.exhausted
    verdict = np.select(
        [evaluate.exhausted, ~ran, accepted],
        ["out of steps", "every candidate failed", "accepted"],
        "never accepts" if accept == "never" else "no evidence",
    )
    chosen = np.where(accepted, best, INCUMBENT)
    point = np.take_along_axis(points, chosen[:, None, None], 1)[:, 0]
    reason = tuple(str(word) for word in verdict)
    return Choice(score, error, best, probability, accepted, reason, evaluate.steps.copy(), point)


def _first(incumbent: np.ndarray, episodes: int) -> tuple[np.ndarray, np.ndarray]:
    return incumbent[:, None], np.full((len(incumbent), 1, episodes), np.nan)


def _ranked(score: np.ndarray) -> np.ndarray:
    """Indices from the best to the worst score [S, C]; equal ones in their order, those without a score last."""
    return np.argsort(-np.where(np.isnan(score), -np.inf, score), 1, kind="stable")


def _best(score: np.ndarray) -> np.ndarray:
    return _ranked(score)[:, 0]


def _run(
    points: np.ndarray,
    returns: np.ndarray,
    chosen: np.ndarray,
    first: int,
    count: int,
    evaluate: Evaluate,
    wanted: np.ndarray | None = None,
) -> None:
    """Run episodes first .. first + count of the points `chosen` [S, n] and note their returns."""
    new = evaluate(np.take_along_axis(points, chosen[..., None], 1), first, count, wanted)
    old = np.take_along_axis(returns, chosen[..., None], 1)
    old[..., first : first + count] = new
    np.put_along_axis(returns, chosen[..., None], old, 1)
