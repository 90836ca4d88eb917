"""Controls of empty-space search: what of its gain is due to the search, and what to distance or averaging alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.random import Generator

from rlsparse.explore.anchors import Probed, ProposalKind, combine, differences
from rlsparse.explore.directions import random_directions, span_basis, with_length
from rlsparse.explore.empty_space import EmptySpace, start_weights
from rlsparse.learner.bounds import Count


@dataclass(frozen=True)
class RandomWalk(EmptySpace):
    """Control of empty-space search: its start points and distances, but each agent goes in a random direction.

    The control that was published takes steps in new directions, which cancel: it stays within an eighth of the way.
    """

    span: Literal["in", "out"] = "in"
    """Whether directions lie in the anchors' span or orthogonal to it."""

    def __call__(self, anchors: np.ndarray, probed: Probed, generators: Sequence[Generator]) -> np.ndarray:
        """Candidates [S, C, P] float64 from anchors [S, K, P], agent by agent."""
        weights = self.trajectories(anchors)
        way = (weights - weights[:, :, :1]) @ differences(anchors)[:, None]
        distance = np.linalg.norm(way, axis=-1, keepdims=True)
        directions = [self.directions(*own, weights.shape[1]) for own in zip(anchors, generators, strict=True)]
        points = combine(anchors, weights[:, :, 0])[:, :, None] + distance * np.stack(directions)[:, :, None]
        return points.reshape(len(points), -1, points.shape[-1])

    def directions(self, anchors: np.ndarray, generator: Generator, agents: int) -> np.ndarray:
        """Unit vectors [agents, P]; zero where one member's anchors [K, P] leave no direction."""
        basis = span_basis(anchors)
        if self.span == "in":
            return random_directions(basis, agents, generator)
        anywhere = with_length(generator.standard_normal((agents, anchors.shape[-1])), 1.0)
        if len(basis) == anchors.shape[-1]:
            return np.zeros_like(anywhere)
        return with_length(anywhere - anywhere @ basis.T @ basis, 1.0)


@dataclass(frozen=True)
class Averages(ProposalKind):
    """Control of empty-space search: its start points, unmoved, and the mean of all anchors."""

    agents: Count = 5
    """How many start points."""
    neighbours: Count = 6
    """Nearest anchors, itself included, of which those other than an anchor itself are averaged."""

    def count(self, num_anchors: int) -> int:
        """Candidates per round."""
        return min(self.agents, num_anchors) + 1

    def __call__(self, anchors: np.ndarray, probed: Probed, generators: Sequence[Generator]) -> np.ndarray:
        """Candidates [S, C, P] float64 from anchors [S, K, P], the mean of all last."""
        from_last = differences(anchors)
        starts = start_weights(from_last @ from_last.swapaxes(-1, -2), self.agents, self.neighbours)
        mean = np.full_like(starts[:, :1], 1 / starts.shape[-1])
        return combine(anchors, np.concatenate([starts, mean], axis=1))
