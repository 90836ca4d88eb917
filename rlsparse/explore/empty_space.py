"""Empty-space search: move away from where the anchors crowd, as a particle repelled by its nearest neighbours.

A point is represented by weights over the anchors that sum to 1, and a move by weights that sum to 0: the search never
leaves the anchors' affine span, so all lengths follow from the K x K Gram matrix, whatever the number of parameters.

Source: ExploRLer, [arXiv 2509.25876](https://arxiv.org/abs/2509.25876), and the search it takes from
[arXiv 2501.15273](https://arxiv.org/abs/2501.15273).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from rlsparse.explore.anchors import Probed, ProposalKind, Unit, combine, differences, unit_length
from rlsparse.learner.bounds import Count, Fraction, Positive, Varying

STOP = 1e-7
"""An agent on which the net force is smaller stays where it is."""


@dataclass(frozen=True)
class EmptySpace(ProposalKind):
    """Agents pushed away from their nearest anchors; the published form has `reach` 0.06 and `unit` absolute."""

    agents: Count = 5
    """How many points are moved."""
    moves: Count = 60
    """How often each is moved."""
    keep_every: Count = 20
    """A candidate is kept before every so many moves, and one after the last."""
    neighbours: Count = 6
    """Nearest anchors that act on an agent."""
    gamma: Varying[Fraction] = 0.3
    """Momentum: share of the past force that is carried on."""
    reach: Varying[Positive] = 1.0
    """Length of all moves together, in units."""
    unit: Unit = "update"
    """What the reach is a multiple of: 1, the anchors' spread, or the length of the last update."""

    def count(self, num_anchors: int) -> int:
        """Candidates per round."""
        return min(self.agents, num_anchors) * (-(-self.moves // self.keep_every) + 1)

    def trajectories(self, anchors: np.ndarray) -> np.ndarray:
        """Weights [S, agents, kept, K] over the anchors [S, K, P] of the points on each agent's way, start first."""
        from_last = differences(anchors)
        gram = from_last @ from_last.swapaxes(-1, -2)
        start = start_weights(gram, self.agents, self.neighbours)
        step = self.reach * unit_length(anchors, self.unit) / max(self.moves, 1)
        # the published clamp is one published step, so that a step in other units scales the whole search
        return search(
            gram,
            start,
            step,
            moves=self.moves,
            keep_every=self.keep_every,
            neighbours=self.neighbours,
            gamma=self.gamma,
            shortest=step,
        )

    def __call__(self, anchors: np.ndarray, probed: Probed, generators: Sequence[Generator]) -> np.ndarray:
        """Candidates [S, C, P] float64 from anchors [S, K, P], agent by agent; nothing is drawn at random."""
        weights = self.trajectories(anchors)
        return combine(anchors, weights.reshape(len(weights), -1, weights.shape[-1]))


def start_weights(gram: np.ndarray, agents: int, neighbours: int) -> np.ndarray:
    """Weights [..., agents, K] of the start points: means of the other anchors among an anchor's `neighbours` nearest.

    `gram` is [..., K, K]. The agents start around evenly spaced anchors, the first included; fewer anchors than
    agents make fewer agents, and fewer anchors than neighbours fewer neighbours.
    """
    num_anchors = gram.shape[-1]
    distance = distances(gram, np.broadcast_to(np.eye(num_anchors), gram.shape))
    np.einsum("...ii->...i", distance)[...] = -1.0  # its own nearest, before an equal anchor
    nearest = np.argsort(distance, axis=-1, kind="stable")[..., : max(neighbours, 1)]
    others = nearest[..., 1:] if nearest.shape[-1] > 1 else nearest
    weights = np.zeros(gram.shape)
    np.put_along_axis(weights, others, 1 / others.shape[-1], axis=-1)
    agents = min(agents, num_anchors)
    stride = max(1, (num_anchors - 1) // max(agents - 1, 1))
    return weights[..., ::stride, :][..., :agents, :]


def search(
    gram: np.ndarray,
    start: np.ndarray,
    step: np.ndarray | float,
    *,
    moves: int,
    keep_every: int,
    neighbours: int,
    gamma: float,
    shortest: np.ndarray | float,
    epsilon: float = 0.5,
) -> np.ndarray:
    """Weights [..., agents, kept, K] of the points before every `keep_every`-th move and after the last.

    `gram` [..., K, K] and `start` [..., agents, K] belong together; `step` [...] is the length of a move and `shortest`
    [...] the distance to which shorter ones are raised. An agent that feels no force stays, and is kept again.
    """
    step = np.asarray(step, float)[..., None, None]
    shortest = np.asarray(shortest, float)[..., None, None]
    shortest = np.where(shortest > 0, shortest, 1.0)  # steps of no length: nothing moves, all stays finite
    position, heading, magnitude = start, np.zeros_like(start), np.zeros((*start.shape[:-1], 1))
    moving, kept = np.ones_like(magnitude, bool), []
    for move in range(moves):
        if move % keep_every == 0:
            kept.append(position)
        force = net_force(gram, position, neighbours, shortest, epsilon)
        strength = norm(gram, force)
        moving &= strength >= STOP
        velocity = _ratio(force + magnitude * heading, magnitude + strength)
        position = np.where(moving, position + step * velocity, position)
        magnitude = gamma * magnitude + strength
        heading = gamma * heading + velocity
        heading = _ratio(heading, norm(gram, heading))
    return np.stack([*kept, position], axis=-2)


def net_force(
    gram: np.ndarray, weights: np.ndarray, neighbours: int, shortest: np.ndarray | float, epsilon: float = 0.5
) -> np.ndarray:
    """Sum of the nearest anchors' forces on points, as weights [..., C, K] of sum 0; positive pushes away.

    `weights` [..., C, K] are the points. Sigma is the mean of the neighbours' distances; those below `shortest` count
    as `shortest` otherwise.
    """
    distance = distances(gram, weights)
    nearest = np.argsort(distance, axis=-1, kind="stable")[..., :neighbours]
    near = np.take_along_axis(distance, nearest, axis=-1)
    sigma = near.mean(-1, keepdims=True)
    near = np.maximum(near, shortest)
    push = np.zeros_like(weights)
    np.put_along_axis(push, nearest, lennard_jones(near, sigma, epsilon) / near, axis=-1)
    return push.sum(-1, keepdims=True) * weights - push


def lennard_jones(distance: np.ndarray, sigma: np.ndarray, epsilon: float = 0.5) -> np.ndarray:
    """Force at a distance, 6 epsilon (2 (sigma/d)^13 - (sigma/d)^7) / sigma; no sigma, no force."""
    ratio = (sigma / distance) ** 6
    return 6 * epsilon * (2 * ratio**2 - ratio) / distance


def distances(gram: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Distances [..., C, K] of the points with `weights` [..., C, K] to the anchors."""
    products = weights @ gram
    own = (products * weights).sum(-1, keepdims=True)
    of_anchors = np.einsum("...ii->...i", gram)[..., None, :]
    return np.sqrt(np.maximum(own - 2 * products + of_anchors, 0.0))


def norm(gram: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Lengths [..., C, 1] of the vectors with `weights` [..., C, K]."""
    scale = np.abs(weights).max(-1, keepdims=True)
    weights = _ratio(weights, scale)  # the 13th power of a ratio may not be squared
    return scale * np.sqrt(np.maximum(((weights @ gram) * weights).sum(-1, keepdims=True), 0.0))


def _ratio(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Quotient, and 0 where y is."""
    return np.divide(x, y, out=np.zeros_like(x), where=y > 0)
