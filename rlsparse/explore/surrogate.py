"""Scores without a step: importance-weighted advantages on a rollout that the gradient has not seen yet."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from rlsparse.explore.choice import Accept, Choice
from rlsparse.explore.probe import Episodes, Evidence, ProbeKind, check_pairs
from rlsparse.learner.bounds import Count, Probability, Varying

LARGEST_RATIO = 10.0
"""Importance ratios are cut here: beyond, a single step would decide a score."""


@dataclass(frozen=True)
class Surrogate(ProbeKind):
    """Score candidates on the next rollout before its update; no environment step is spent.

    The rollout is cut into blocks of time that play the part of episodes. Source of the estimate: the surrogate of
    Schulman et al., arXiv 1502.05477, equation 3.
    """

    needs: ClassVar = {
        "critic": "judges candidates by a critic, and needs advantages with one",
        "own-rollout": "judges by the rollout, and needs one of the policy itself",
    }

    blocks: Count = 16
    """Parts of the rollout whose differences give the standard error."""
    accept: Accept = "posterior"
    """When the best candidate replaces the incumbent."""
    level: Varying[Probability] = 0.9
    """How sure "evidence" and "posterior" must be."""

    def check(self, recipe: Any) -> None:
        """Raise UsageError unless there are blocks enough to decide by."""
        check_pairs(self.accept, "blocks", self.blocks)

    def judge(self, evidence: Evidence) -> Choice:
        """Judge candidates as by episodes, with block scores in place of returns."""
        as_episodes = Episodes(self.blocks, self.accept, self.level)
        return as_episodes(evidence.incumbent, evidence.propose, evidence.rounds, _BlockScores(evidence))


class _BlockScores:
    """Scores of points on one rollout, in the form in which episodes are scored; they cost no step."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        members = len(evidence.incumbent)
        self.steps, self.exhausted = np.zeros(members, np.int64), np.zeros(members, bool)

    def __call__(self, points: np.ndarray, first: int, count: int, wanted: np.ndarray | None = None) -> np.ndarray:
        """Return block scores of every point [S, C, P]; [S, C, count]."""
        return block_scores(self._evidence.log_ratio(points), self._evidence.advantage, count)


def block_scores(log_ratio: np.ndarray, advantage: np.ndarray, blocks: int) -> np.ndarray:
    """Mean of ratio * advantage over each of `blocks` stretches of time, [S, C, blocks]; -inf: a ratio is not finite.

    `log_ratio` = log pi_candidate - log pi_behaviour [S, C, T, N]; `advantage` [S, T, N] under the incumbent's critic.
    Advantages are taken less their mean: that changes no expected gain, but else a candidate under which all that was
    done is unlikely would score 0, better than the incumbent wherever the critic promised too much.
    """
    log_ratio = log_ratio.astype(np.float64)
    finite = np.isfinite(log_ratio).all((2, 3))
    ratio = np.exp(np.minimum(log_ratio, np.log(LARGEST_RATIO)))
    centred = advantage - advantage.mean((1, 2), keepdims=True, dtype=np.float64)
    weighted = ratio * centred[:, None]
    parts = np.array_split(np.arange(weighted.shape[2]), min(blocks, weighted.shape[2]))
    scores = np.stack([weighted[:, :, part].mean((2, 3)) for part in parts], -1)
    scores = np.where(finite[..., None], scores, -np.inf)
    missing = blocks - scores.shape[-1]
    return np.pad(scores, ((0, 0), (0, 0), (0, missing)), constant_values=np.nan)
