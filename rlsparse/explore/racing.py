"""Probing by a race: the worse candidates leave round by round, and the last duels with the incumbent."""

from dataclasses import dataclass
from math import ceil
from typing import Annotated, Any

import numpy as np
from annotated_types import MinLen

from rlsparse.explore.choice import INCUMBENT, Accept, Choice, mean_and_error, paired_gains, t_test
from rlsparse.explore.probe import EpisodeProbe, Evaluate, Propose, check_pairs, decide, ranked
from rlsparse.learner.bounds import Count, FractionAboveZero, Probability, Varying


@dataclass(frozen=True)
class Racing(EpisodeProbe):
    """Successive halving: after each round the worse candidates leave; the last one duels with the incumbent.

    The duel's episodes are its own, so that the luck by which a candidate came through counts for nothing; there is
    none where the incumbent, which runs all rounds beside the candidates, is ahead of them.
    Source: Jamieson and Talwalkar, arXiv 1502.07943 (the race); paired episodes as in common random numbers.
    """

    episodes: Annotated[tuple[Count, ...], MinLen(1)] = (1, 2)
    """Episodes of the incumbent and of every candidate that is still in the race, in each round."""
    keep: FractionAboveZero = 0.25
    """Share of the candidates that goes on to the next round."""
    duel: Count = 4
    """Episodes of the last candidate and of the incumbent against each other."""
    accept: Accept = "evidence"
    """When the last candidate replaces the incumbent."""
    level: Varying[Probability] = 0.8
    """How sure "evidence" must be."""
    stochastic: bool = False
    """Score with the action noise that training has, instead of the mean actions."""

    def check(self, recipe: Any) -> None:
        """Raise UsageError unless the duel has episodes enough to decide by."""
        check_pairs(self.accept, "duel", self.duel)

    def stages(self, candidates: int) -> list[tuple[int, int]]:
        """Return the rounds of the race, with the incumbent in each, and the duel."""
        survivors = [max(1, ceil(candidates * self.keep**r)) for r in range(len(self.episodes))]
        return [(1 + n, episodes) for n, episodes in zip(survivors, self.episodes, strict=True)] + [(2, self.duel)]

    def __call__(self, incumbent: np.ndarray, propose: Propose, rounds: int, evaluate: Evaluate) -> Choice:
        """Probe around the incumbents [S, P]."""
        points, returns = self.run_rounds(incumbent, propose, rounds, evaluate)
        done = self.episodes[0]

        def run(chosen: np.ndarray, episodes: int, wanted: np.ndarray | None = None) -> None:
            """Run the next episodes of the points `chosen` [S, n] and note their returns."""
            new = evaluate(np.take_along_axis(points, chosen[..., None], 1), done, episodes, wanted)
            np.put_along_axis(returns[..., done : done + episodes], chosen[..., None], new, 1)

        race = 1 + ranked(mean_and_error(returns)[0][:, 1:])
        for policies, episodes in self.stages(points.shape[1] - 1)[1:-1]:
            race = race[:, : policies - 1]
            run(np.pad(race, ((0, 0), (1, 0)), constant_values=INCUMBENT), episodes)
            done += episodes
            # among themselves: those that left have other, fewer episodes
            order = ranked(np.take_along_axis(mean_and_error(returns)[0], race, 1))
            race = np.take_along_axis(race, order, 1)
        best = race[:, 0]
        pair = np.stack([np.full_like(best, INCUMBENT), best], 1)
        race_score = np.take_along_axis(mean_and_error(returns)[0], pair, 1)
        run(pair, self.duel, race_score[:, 1] > race_score[:, 0])
        duel = np.take_along_axis(returns[..., done:], pair[..., None], 1)
        probability = t_test(*paired_gains(duel), candidates=1)[:, 0]
        return decide(points, returns, best, probability, self.accept, self.level, evaluate)
