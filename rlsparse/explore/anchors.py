"""The geometry of a set of anchors, and what every proposal is given and asked.

Axes: S members, K anchors in order of time (the last is the incumbent), C candidates, P searched parameters.
Positions are measured from the last anchor in float64: anchors differ by far less than their norms.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.random import Generator

Unit = Literal["absolute", "spread", "update"]
"""What lengths are multiples of: 1, the anchors' root-mean-square distance to their mean, or |last - first anchor|."""


@dataclass(frozen=True)
class Probed:
    """What has been scored in this cycle, in order: maybe the incumbent, then the candidates of every round so far."""

    points: np.ndarray
    """[S, M, P]; in the first round M is 0, or 1 with the incumbent."""
    scores: np.ndarray
    """[S, M], higher is better; NaN or infinite where there is no score, or a candidate failed."""

    @classmethod
    def nothing(cls, incumbent: np.ndarray) -> "Probed":
        """What has been scored around the incumbents [S, P] before the first round."""
        return cls(np.zeros((len(incumbent), 0, incumbent.shape[-1])), np.zeros((len(incumbent), 0)))


class ProposalKind:
    """What maps the anchors of an update to candidate policies."""

    rounds: int = 1
    """How often it is asked within one cycle, each time with the scores of what it proposed before."""

    @property
    def fewest_anchors(self) -> int:
        """How many anchors it needs; one is a point, and gives no direction."""
        return 2

    @abstractmethod
    def count(self, num_anchors: int) -> int:
        """Candidates per round."""

    @abstractmethod
    def __call__(self, anchors: np.ndarray, probed: Probed, generators: Sequence[Generator]) -> np.ndarray:
        """Candidates [S, C, P] float64 from anchors [S, K, P], in order of time, the last being the incumbent.

        Each member's candidates depend on its own anchors, scores and generator alone.
        """


class PerMember(ProposalKind):
    """A proposal that treats one member at a time."""

    @abstractmethod
    def member(self, anchors: np.ndarray, points: np.ndarray, scores: np.ndarray, generator: Generator) -> np.ndarray:
        """Candidates [C, P] from one member's float64 anchors [K, P], probed points [M, P] and scores [M]."""

    def __call__(self, anchors: np.ndarray, probed: Probed, generators: Sequence[Generator]) -> np.ndarray:
        """Candidates [S, C, P] float64 from anchors [S, K, P]."""
        anchors, points = np.array(anchors, np.float64), np.array(probed.points, np.float64)
        return np.stack([self.member(*own) for own in zip(anchors, points, probed.scores, generators, strict=True)])


def differences(anchors: np.ndarray) -> np.ndarray:
    """Anchors [..., K, P] less the last of them, float64; exact where anchors are close together."""
    anchors = np.asarray(anchors, np.float64)
    return anchors - anchors[..., -1:, :]


def combine(anchors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Points [..., C, P] that are combinations of the anchors [..., K, P], by weights [..., C, K] of sum 1."""
    return np.asarray(anchors[..., -1:, :], np.float64) + weights @ differences(anchors)


def unit_length(anchors: np.ndarray, unit: Unit) -> np.ndarray:
    """Length [...] of the unit for anchors [..., K, P]; zero if the anchors give none. Raises ValueError."""
    if unit == "absolute":
        return np.ones(np.shape(anchors)[:-2])
    from_last = differences(anchors)
    if unit == "update":
        return np.linalg.norm(from_last[..., 0, :], axis=-1)
    if unit == "spread":
        centred = from_last - from_last.mean(-2, keepdims=True)
        return np.sqrt((centred**2).sum(-1).mean(-1))
    raise ValueError(f"unit: expected absolute, spread or update, got {unit!r}")


def ending_at(anchors: np.ndarray, incumbent: np.ndarray) -> np.ndarray:
    """Return anchors [S, K, P] of which the last is the incumbent [S, P]: if it is not, it displaces the first."""
    newer = (anchors[:, -1] != incumbent).any(1)[:, None, None]
    return np.where(newer, np.concatenate([anchors[:, 1:], incumbent[:, None]], 1), anchors)
