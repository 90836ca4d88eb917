"""Measure what lies around an update: the true returns of samples, anchors and candidates, and a plane to see them in.

Axes: M points, P searched parameters, E episodes, which begin alike for all points.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from rlsparse.errors import DivergenceError, UsageError
from rlsparse.explore.anchors import Probed
from rlsparse.explore.choice import mean_and_error
from rlsparse.explore.propose import Gaussian
from rlsparse.learner.streams import env_seeds, generator
from rlsparse.run.session import single_episodes
from rlsparse.sim.episodes import ProbeEpisodes, member_policies
from rlsparse.trained.plane import Plane, share_in_plane
from rlsparse.trained.replay import Update
from rlsparse.trained.surface import Spread

Kind = Literal["before", "anchor", "incumbent", "candidate", "sample"]
"""The policy that the update began with, a checkpoint, the policy it ended with, a proposal, a random sample."""

FRESH = 50
"""Fewest episodes, which chose nothing, on which the incumbent and the best sample are compared."""

AT_ONCE = 512
"""Most environments that are stepped together: more are no faster, and take memory."""

Watch = Callable[[int, int], None]
"""Is told how many episodes have been run, and how many are known to be run."""


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
    fresh: np.ndarray
    """Returns of the incumbent and of the best sample on episodes that chose nothing, [2, F]."""
    steps: int
    """Environment steps that all this took."""

    @property
    def mean(self) -> np.ndarray:
        """Mean return of each point, [M]; -inf for one that failed."""
        return mean_and_error(self.returns[None])[0][0]

    @property
    def error(self) -> np.ndarray:
        """Standard error of `mean`, [M]."""
        return mean_and_error(self.returns[None])[1][0]

    @property
    def finite(self) -> np.ndarray:
        """Points that failed in no episode, [M] bool."""
        return np.isfinite(self.returns).all(1)

    def share_in_plane(self, *kinds: Kind) -> float:
        """Share of the variance of points of some kinds that is seen in the plane."""
        return share_in_plane(self.coordinates[np.isin(self.kind, kinds)])

    def where(self, kind: Kind) -> np.ndarray:
        """Indices of the points of a kind."""
        return np.flatnonzero(self.kind == kind)

    @property
    def best(self) -> int:
        """Index of the sample that scored highest."""
        samples = self.where("sample")
        return int(samples[self.mean[samples].argmax()])

    @property
    def spread(self) -> Spread:
        """How far the samples' means lie apart, and what the episodes' luck explains of it."""
        return Spread.of(self.returns[(self.kind == "sample") & self.finite])

    @property
    def sample_error(self) -> float:
        """Standard error of a sample's mean, root mean square over the samples."""
        error = self.error[(self.kind == "sample") & self.finite]
        return float(np.sqrt((error**2).mean()))

    @property
    def incumbent(self) -> tuple[float, float]:
        """Mean return of the incumbent on the samples' episodes, were there no luck but theirs, and its error.

        The episodes that it shares with the samples and its fresh ones, whose starts may be luckier, are weighted by
        their errors.
        """
        spread, fresh = self.spread, self.fresh[0]
        errors = np.array([spread.explained, np.hypot(fresh.std(ddof=1) / len(fresh) ** 0.5, spread.shared)])
        found = np.array([self.mean[self.where("incumbent")[0]], fresh.mean()])
        if errors.min() == 0:
            return float(found[errors.argmin()]), 0.0
        weights = (errors.min() / errors) ** 2
        return float(weights @ found / weights.sum()), float(errors.min() / weights.sum() ** 0.5)

    @property
    def share_above(self) -> tuple[float, float, float]:
        """Share of samples that scored above the incumbent; and if it were one standard error better, or worse."""
        samples, (incumbent, error) = self.mean[self.where("sample")], self.incumbent
        above, if_better, if_worse = (float((samples > incumbent + by).mean()) for by in (0.0, error, -error))
        return above, if_better, if_worse

    def percentile(self, rank: float) -> tuple[float, float]:
        """Percentile of the samples' means; and the same with their spread shrunk to the part that luck leaves."""
        means = self.mean[(self.kind == "sample") & self.finite]
        found, spread = float(np.percentile(means, rank)), self.spread
        kept = spread.true / spread.observed if spread.observed > 0 else 1.0
        return found, float(means.mean() + kept * (found - means.mean()))


def survey(update: Update, samples: int, episodes: int, reach: float, watch: Watch = lambda done, of: None) -> Survey:
    """Run `episodes` deterministic episodes of every point, on seeds of their own, and of the best sample fresh ones.

    Samples are of the normal distribution fitted to the anchors, its scale `reach` times theirs. Raises UsageError if
    the update left fewer than two different anchors, DivergenceError if fewer than two samples have finite returns.
    """
    anchors, incumbent = update.anchors, update.after
    if len(np.unique(anchors, axis=0)) < 2:
        raise UsageError(
            f"update {update.iteration} has one anchor: a landscape needs at least two that differ, so at least two "
            "epochs, or as many iterations, before it"
        )
    measure = _Measure(update, episodes, watch)
    drawn = Gaussian(samples, reach, "spread")(
        anchors[None], Probed.nothing(incumbent[None]), [generator(update.seed, "landscape", update.iteration)]
    )[0]
    parts = [update.before[None], anchors, incumbent[None], drawn]
    measure.expected = sum(map(len, parts)) + update.proposal.count(len(anchors)) * update.proposal.rounds
    kinds = np.repeat(["before", "anchor", "incumbent", "sample"], list(map(len, parts)))
    points = np.concatenate(parts)
    returns = measure(points)
    candidates, scored = _candidates(update, returns[len(anchors) + 1], measure)
    kinds = np.append(kinds, np.full(len(candidates), "candidate"))
    points, returns = np.concatenate([points, candidates]), np.concatenate([returns, scored])

    is_sample = kinds == "sample"
    if np.isfinite(returns[is_sample]).all(1).sum() < 2:
        raise DivergenceError(f"the returns of the samples around update {update.iteration} are not finite")
    best = np.flatnonzero(is_sample)[returns[is_sample].mean(1).argmax()]
    fresh = measure.fresh(np.stack([incumbent, points[best]]))
    plane = Plane.through(np.concatenate([anchors, candidates]), incumbent - update.before)
    return Survey(kinds, plane.coordinates(points), returns, fresh, measure.steps)


def _candidates(update: Update, incumbent_returns: np.ndarray, measure: "_Measure") -> tuple[np.ndarray, np.ndarray]:
    """Ask the proposal as often as a probe would; returns the candidates [C, P] and their returns [C, E]."""
    points, returns = update.after[None], incumbent_returns[None]
    for _ in range(update.proposal.rounds):
        candidates = update.propose(Probed(points[None], mean_and_error(returns[None])[0]))[0]
        points, returns = np.concatenate([points, candidates]), np.concatenate([returns, measure(candidates)])
    return points[1:], returns[1:]


class _Measure:
    """Runs the episodes of points, a number of environments at once."""

    def __init__(self, update: Update, episodes: int, watch: Watch) -> None:
        self._episodes, self._watch = episodes, watch
        self._more = max(episodes, FRESH)
        self.expected = 0
        """Points that will be measured, besides the two of `fresh`."""
        self._done = 0
        seeds = env_seeds(update.seed, "landscape_env", episodes + self._more, update.iteration)
        learner = update.learner
        self._run = ProbeEpisodes(
            member_policies(learner, np.array([update.member]), update.searched, noise_seeds=None),
            cache(single_episodes(update.recipe, learner.device)),
            seeds=[seeds],
            allowance=np.array([np.iinfo(np.int64).max]),
            device=learner.simulated_on,
        )

    @property
    def steps(self) -> int:
        """Environment steps so far."""
        return int(self._run.steps[0])

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Returns [M, E] of points [M, P], all on the same episodes."""
        return self._measured(points, 0, self._episodes)

    def fresh(self, points: np.ndarray) -> np.ndarray:
        """Returns [M, F] of points [M, P] on other episodes."""
        return self._measured(points, self._episodes, self._more)

    def _measured(self, points: np.ndarray, first: int, count: int) -> np.ndarray:
        parts = np.array_split(points, -(-len(points) * count // max(AT_ONCE, count)))
        returns = []
        for part in parts:
            self._watch(self._done, self.expected * self._episodes + 2 * self._more)
            with np.errstate(over="ignore", invalid="ignore"):  # a point may diverge, and counts as failed
                returns.append(self._run(part[None], first, count)[0])
            self._done += len(part) * count
        return np.concatenate(returns)
