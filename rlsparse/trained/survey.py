"""Measure what lies around an update: the true returns of samples, anchors and candidates, and a plane to see them in.

Axes: M points, P searched parameters, E episodes, which begin alike for all points.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Literal

import numpy as np

from rlsparse.errors import DivergenceError, UsageError
from rlsparse.explore.anchors import Probed
from rlsparse.explore.choice import mean_and_error
from rlsparse.explore.propose import Gaussian
from rlsparse.learner.streams import env_seeds, generator
from rlsparse.run.session import single_episodes
from rlsparse.sim.episodes import MemberPolicies, ProbeEpisodes
from rlsparse.trained.objective import Agreement, Sampled
from rlsparse.trained.plane import Plane, limits
from rlsparse.trained.surface import Spread
from rlsparse.trained.update import Update

Kind = Literal["before", "anchor", "incumbent", "candidate", "sample"]
"""The policy that the update began with, a checkpoint, the policy it ended with, a proposal, a random sample."""

FRESH = 50
"""Fewest episodes, which chose nothing, on which the incumbent and the best sample are compared."""

AT_ONCE = 512
"""Most environments that are stepped together: more are no faster, and take memory."""

GRID = 32
"""Points along each axis of the plane in which the surrogate is computed."""

Watch = Callable[[int, int], None]
"""Is told how many episodes have been run, and how many are run now."""

Measure = Callable[[np.ndarray], np.ndarray]
"""Gives the returns [M, E] of points [M, P]."""


@dataclass(frozen=True)
class Survey:
    """Points around an update with their true returns."""

    kind: np.ndarray
    """Kind of each point, [M] str."""
    coordinates: np.ndarray
    """[M, 2 + R], distances in parameter space: along the update; along the principal component of anchors and
    candidates across it; in the other dimensions, in which points lie off this plane."""
    returns: np.ndarray
    """Undiscounted returns of deterministic episodes; -inf where a number was not finite, [M, E]."""
    surrogate: np.ndarray
    """Clipped surrogate of each point on the rollout that the update learned from, and on the next one, [2, M]."""
    height: np.ndarray
    """Clipped surrogate on the first of them over the plane, on a grid within its limits, [GRID, GRID] (y, x)."""
    fresh: np.ndarray
    """Returns of the incumbent and of the best sample on episodes that chose nothing, [2, F]."""
    steps: int
    """Environment steps that the episodes took."""

    @property
    def mean(self) -> np.ndarray:
        """Mean return of each point, [M]; -inf for one that failed."""
        return mean_and_error(self.returns[None])[0][0]

    @property
    def finite(self) -> np.ndarray:
        """Points that failed in no episode, [M] bool."""
        return np.isfinite(self.returns).all(1)

    @property
    def samples(self) -> np.ndarray:
        """Returns of the samples that failed in no episode, [n, E]."""
        return self.returns[(self.kind == "sample") & self.finite]

    @property
    def best(self) -> int:
        """Index of the sample that scored highest."""
        samples = self.where("sample")
        return int(samples[self.mean[samples].argmax()])

    @property
    def agreement(self) -> tuple[Agreement, Agreement]:
        """How far both surrogates order and slope the samples as their returns do."""
        compared = self.finite & np.isfinite(self.surrogate).all(0)
        samples = np.intersect1d(self.where("sample"), np.flatnonzero(compared))
        on = [Agreement.of(x[samples], self.mean[samples], self.coordinates[samples]) for x in self.surrogate]
        return on[0], on[1]

    @property
    def spread(self) -> Spread:
        """How far the samples' means lie apart, and what the episodes' luck explains of it."""
        return Spread.of(self.samples)

    def where(self, kind: Kind) -> np.ndarray:
        """Indices of the points of a kind."""
        return np.flatnonzero(self.kind == kind)


def survey(update: Update, samples: int, episodes: int, reach: float, watch: Watch = lambda done, of: None) -> Survey:
    """Run `episodes` deterministic episodes of every point, on seeds of their own, and of the best sample fresh ones.

    Samples are of the normal distribution fitted to the anchors, its scale `reach` times theirs. Raises UsageError if
    the update left fewer than two different anchors, DivergenceError if fewer than two samples have finite returns.
    """
    anchors, incumbent, more = update.anchors, update.after, max(episodes, FRESH)
    if len(np.unique(anchors, axis=0)) < 2:
        raise UsageError(
            f"update {update.iteration} has one anchor: a landscape needs at least two that differ, so at least two "
            "epochs, or as many iterations, before it"
        )
    run = probe_episodes(update, episodes + more)
    measure = partial(returns_of, run, watch, 0, episodes)
    streams = [generator(update.seed, "landscape", update.iteration)]
    drawn = Gaussian(samples, reach, "spread")(anchors[None], Probed.nothing(incumbent[None]), streams)[0]
    points = np.concatenate([update.before[None], anchors, incumbent[None], drawn])
    returns = measure(points)
    candidates, scored = _candidates(update, returns[len(anchors) + 1], measure)
    points, returns = np.concatenate([points, candidates]), np.concatenate([returns, scored])
    counts = [1, len(anchors), 1, samples, len(candidates)]
    kinds = np.repeat(["before", "anchor", "incumbent", "sample", "candidate"], counts)
    plane = Plane.through(np.concatenate([anchors, candidates]), incumbent - update.before)
    coordinates = plane.coordinates(points)
    surrogate = np.stack([_surrogate(update, x, points) for x in (update.seen, update.unseen)])
    height = _surrogate(update, update.seen, plane.grid(limits(coordinates), GRID)).reshape(GRID, GRID)
    found = Survey(kinds, coordinates, returns, surrogate, height, returns[:0], 0)
    if len(found.samples) < 2:
        raise DivergenceError(f"the returns of the samples around update {update.iteration} are not finite")
    fresh = returns_of(run, watch, episodes, more, np.stack([incumbent, points[found.best]]))
    return replace(found, fresh=fresh, steps=int(run.steps[0]))


def _surrogate(update: Update, sampled: Sampled, points: np.ndarray) -> np.ndarray:
    """Clipped surrogate of points [M, P] on what the member did; [M]."""
    return sampled.surrogate(update.learner, update.member, update.searched, points)


def _candidates(update: Update, incumbent_returns: np.ndarray, measure: Measure) -> tuple[np.ndarray, np.ndarray]:
    """Ask the proposal as often as a probe would; returns the candidates [C, P] and their returns [C, E]."""
    points, returns = update.after[None], incumbent_returns[None]
    for _ in range(update.proposal.rounds):
        candidates = update.propose(Probed(points[None], mean_and_error(returns[None])[0]))[0]
        points, returns = np.concatenate([points, candidates]), np.concatenate([returns, measure(candidates)])
    return points[1:], returns[1:]


def probe_episodes(update: Update, count: int) -> ProbeEpisodes:
    """Return what runs deterministic episodes of the member that was asked for, on `count` seeds of their own."""
    env = cache(single_episodes(update.recipe, update.learner.device))
    seeds = env_seeds(update.seed, "landscape_env", count, update.iteration)
    policies = MemberPolicies(update.learner, np.array([update.member]), update.searched, noise_seeds=None)
    endless = np.array([np.iinfo(np.int64).max])
    return ProbeEpisodes(policies, env, [seeds], endless, device=update.learner.simulated_on)


def returns_of(run: ProbeEpisodes, watch: Watch, first: int, count: int, points: np.ndarray) -> np.ndarray:
    """Returns [M, count] of points [M, P], all on the same episodes, a number of environments at once."""
    returns = np.zeros((0, count))
    for part in np.array_split(points, -(-len(points) * count // max(AT_ONCE, count))):
        watch(returns.size, len(points) * count)
        with np.errstate(over="ignore", invalid="ignore"):  # a point may diverge, and counts as failed
            returns = np.concatenate([returns, run(part[None], first, count)[0]])
    return returns
