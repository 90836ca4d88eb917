"""What a probe is, and probing by whole episodes: run the candidates, then replace the incumbent or not."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

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
from rlsparse.learner.bounds import Count, Probability, Varying


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
    def gives(self) -> frozenset[str]:
        """What other components may rely on."""
        return frozenset()

    def stages(self, candidates: int) -> list[tuple[int, int]]:
        """Return how many policies run, and how many episodes each, one stage after the other; none without episodes.

        The first stage is that of all `candidates`, whatever round they come from; others may have fewer.
        """
        return []

    @property
    def seeds_needed(self) -> int:
        """Return how many of its episodes begin differently."""
        return sum(episodes for _, episodes in self.stages(1))

    def episodes_for(self, candidates: int) -> int:
        """Return how many episodes a probe of so many candidates runs at most."""
        return sum(policies * episodes for policies, episodes in self.stages(candidates))

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


class EpisodeProbe(ProbeKind):
    """What probes that run episodes of their own have in common."""

    needs: ClassVar[Mapping[str, str]] = {
        "environment-return": "compares candidates by their return, and needs advantages of the environment's reward"
    }

    spends: ClassVar[bool] = True

    @property
    def gives(self) -> frozenset[str]:
        """What other components may rely on."""
        return frozenset({"probe-episodes", "stochastic-scores"} if self.stochastic else {"probe-episodes"})

    def run_rounds(
        self, incumbent: np.ndarray, propose: Propose, rounds: int, evaluate: Evaluate, scores_incumbent: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Run the episodes of the first stage: those of the incumbents [S, P] and of the candidates of every round.

        Returns points [S, C, P], the incumbents first, and returns [S, C, E] with room for all stages; NaN: not run.
        """
        episodes, of_all_stages = self.stages(1)[0][1], self.seeds_needed

        def run(points: np.ndarray) -> np.ndarray:
            returns = np.full((*points.shape[:2], of_all_stages), np.nan)
            returns[..., :episodes] = evaluate(points, 0, episodes)
            return returns

        points = incumbent[:, None]
        returns = run(points) if scores_incumbent else np.full((len(points), 1, of_all_stages), np.nan)
        for _ in range(rounds):
            candidates = propose(Probed(points, mean_and_error(returns)[0]))
            points = np.concatenate([points, candidates], 1)
            returns = np.concatenate([returns, run(candidates)], 1)
        return points, returns


@dataclass(frozen=True)
class Episodes(EpisodeProbe):
    """Give every candidate the same whole episodes. With accept = "always" it is the published protocol."""

    episodes: Count = 3
    """Episodes of each candidate; all candidates begin theirs alike."""
    accept: Accept = "posterior"
    """When the best candidate replaces the incumbent; only "always" spares scoring the incumbent."""
    level: Varying[Probability] = 0.9
    """How sure "evidence" and "posterior" must be."""
    stochastic: bool = False
    """Score with the action noise that training has, instead of the mean actions."""

    def check(self, recipe: Any) -> None:
        """Raise UsageError unless there are episodes enough to decide by."""
        check_pairs(self.accept, "episodes", self.episodes)

    def stages(self, candidates: int) -> list[tuple[int, int]]:
        """Return the one stage of all candidates, with the incumbent if it is scored."""
        return [(candidates + (self.accept != "always"), self.episodes)]

    def __call__(self, incumbent: np.ndarray, propose: Propose, rounds: int, evaluate: Evaluate) -> Choice:
        """Probe around the incumbents [S, P]."""
        points, returns = self.run_rounds(incumbent, propose, rounds, evaluate, self.accept != "always")
        if self.accept == "posterior":
            probability = shrunken_probability(returns)
        else:
            probability = t_test(*paired_gains(returns), candidates=returns.shape[1] - 1)
        best = 1 + ranked(mean_and_error(returns)[0][:, 1:])[:, 0]
        probability = np.take_along_axis(probability, best[:, None] - 1, 1)[:, 0]
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


def ranked(score: np.ndarray) -> np.ndarray:
    """Indices from the best to the worst score [S, C]; equal ones in their order, those without a score last."""
    return np.argsort(-np.where(np.isnan(score), -np.inf, score), 1, kind="stable")
