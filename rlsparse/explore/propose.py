"""Proposals: what maps the anchors of an update to candidate policies, and the controls of empty-space search."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Protocol

import numpy as np
from annotated_types import MinLen

from rlsparse.explore.anchors import (
    PerMember,
    Probed,
    Unit,
    combine,
    differences,
    random_directions,
    span_basis,
    unit_length,
    with_length,
)
from rlsparse.explore.empty_space import EmptySpace, start_weights
from rlsparse.learner.bounds import Count, Finite, Positive


class ProposalKind(Protocol):
    """Anything that proposes candidates from anchors."""

    @property
    def rounds(self) -> int:
        """How often it is asked within one cycle, each time with the scores of what it proposed before."""

    def count(self, num_anchors: int) -> int:
        """Candidates per round."""

    def __call__(self, anchors: np.ndarray, probed: Probed, generators: Sequence[np.random.Generator]) -> np.ndarray:
        """Candidates [S, C, P] float64 from anchors [S, K, P], in order of time, the last being the incumbent.

        Each member's candidates depend on its own anchors, scores and generator alone.
        """


@dataclass(frozen=True)
class RandomWalk(EmptySpace):
    """Control of empty-space search: its start points and distances, but each agent goes in a random direction.

    The control that was published takes steps in new directions, which cancel: it stays within an eighth of the way.
    """

    span: Literal["in", "out"] = "in"
    """Whether directions lie in the anchors' span or orthogonal to it."""

    def __call__(self, anchors: np.ndarray, probed: Probed, generators: Sequence[np.random.Generator]) -> np.ndarray:
        """Candidates [S, C, P] float64 from anchors [S, K, P], agent by agent."""
        weights = self.trajectories(anchors)
        way = (weights - weights[:, :, :1]) @ differences(anchors)[:, None]
        distance = np.linalg.norm(way, axis=-1, keepdims=True)
        directions = [self.directions(*own, weights.shape[1]) for own in zip(anchors, generators, strict=True)]
        points = combine(anchors, weights[:, :, 0])[:, :, None] + distance * np.stack(directions)[:, :, None]
        return points.reshape(len(points), -1, points.shape[-1])

    def directions(self, anchors: np.ndarray, generator: np.random.Generator, agents: int) -> np.ndarray:
        """Unit vectors [agents, P]; zero where one member's anchors [K, P] leave no direction."""
        basis = span_basis(anchors)
        if self.span == "in":
            return random_directions(basis, agents, generator)
        anywhere = with_length(generator.standard_normal((agents, anchors.shape[-1])), 1.0)
        if len(basis) == anchors.shape[-1]:
            return np.zeros_like(anywhere)
        return with_length(anywhere - anywhere @ basis.T @ basis, 1.0)


@dataclass(frozen=True)
class Averages:
    """Control of empty-space search: its start points, unmoved, and the mean of all anchors."""

    agents: Count = 5
    """How many start points."""
    neighbours: Count = 6
    """Nearest anchors, itself included, of which those other than an anchor itself are averaged."""

    rounds: ClassVar[int] = 1

    def count(self, num_anchors: int) -> int:
        """Candidates per round."""
        return min(self.agents, num_anchors) + 1

    def __call__(self, anchors: np.ndarray, probed: Probed, generators: Sequence[np.random.Generator]) -> np.ndarray:
        """Candidates [S, C, P] float64 from anchors [S, K, P], the mean of all last."""
        from_last = differences(anchors)
        starts = start_weights(from_last @ from_last.swapaxes(-1, -2), self.agents, self.neighbours)
        mean = np.full_like(starts[:, :1], 1 / starts.shape[-1])
        return combine(anchors, np.concatenate([starts, mean], axis=1))


@dataclass(frozen=True)
class Gaussian(PerMember):
    """Samples of the normal distribution fitted to the anchors, which never leave their span."""

    candidates: Count = 20
    """Candidates per round."""
    reach: Positive = 1.0
    """Root-mean-square distance of the samples to the anchors' mean, in units."""
    unit: Unit = "update"
    """What the reach is a multiple of: 1, the anchors' spread, or the length of the last update."""

    rounds: ClassVar[int] = 1

    def count(self, num_anchors: int) -> int:
        """Candidates per round."""
        return self.candidates

    def member(
        self, anchors: np.ndarray, points: np.ndarray, scores: np.ndarray, generator: np.random.Generator
    ) -> np.ndarray:
        """One member's candidates [C, P]."""
        from_last = differences(anchors)
        mean = from_last.mean(0)
        spread = unit_length(anchors, "spread")
        scale = self.reach * unit_length(anchors, self.unit) / spread if spread > 0 else 0.0
        normal = generator.standard_normal((self.candidates, len(anchors))) / np.sqrt(len(anchors))
        return anchors[-1] + mean + scale * normal @ (from_last - mean)


@dataclass(frozen=True)
class Line(PerMember):
    """Points on the line through the first and the last anchor: back along the update and beyond it."""

    fractions: Annotated[tuple[Finite, ...], MinLen(1)] = (0.0, 0.5, 1.5, 2.0)
    """Where: 0 is the first anchor, 1 the incumbent."""

    rounds: ClassVar[int] = 1

    def count(self, num_anchors: int) -> int:
        """Candidates per round."""
        return len(self.fractions)

    def member(
        self, anchors: np.ndarray, points: np.ndarray, scores: np.ndarray, generator: np.random.Generator
    ) -> np.ndarray:
        """One member's candidates [C, P]."""
        beyond = np.array(self.fractions)[:, None] - 1
        return anchors[-1] + beyond * (anchors[-1] - anchors[0])
