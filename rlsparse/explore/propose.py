"""The two simplest proposals: samples of a normal distribution, and points on a line."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import MinLen
from numpy.random import Generator

from rlsparse.explore.anchors import PerMember, Unit, differences, unit_length
from rlsparse.learner.bounds import Count, Finite, Positive, Varying


@dataclass(frozen=True)
class Gaussian(PerMember):
    """Samples of the normal distribution fitted to the anchors, which never leave their span."""

    candidates: Count = 20
    """Candidates per round."""
    reach: Varying[Positive] = 1.0
    """Root-mean-square distance of the samples to the anchors' mean, in units."""
    unit: Unit = "update"
    """What the reach is a multiple of: 1, the anchors' spread, or the length of the last update."""

    def count(self, num_anchors: int) -> int:
        """Candidates per round."""
        return self.candidates

    def member(self, anchors: np.ndarray, points: np.ndarray, scores: np.ndarray, generator: Generator) -> np.ndarray:
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

    def count(self, num_anchors: int) -> int:
        """Candidates per round."""
        return len(self.fractions)

    def member(self, anchors: np.ndarray, points: np.ndarray, scores: np.ndarray, generator: Generator) -> np.ndarray:
        """One member's candidates [C, P]."""
        beyond = np.array(self.fractions)[:, None] - 1
        return anchors[-1] + beyond * (anchors[-1] - anchors[0])
