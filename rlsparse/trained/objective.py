"""What an update believes: PPO's clipped surrogate of the policies around it, to lay beside their true returns.

Axes: M points, P searched parameters, B samples, R coordinates.
"""

import warnings
from dataclasses import dataclass

import numpy as np

from rlsparse.explore.directions import RANK_TOLERANCE
from rlsparse.learner.arrays import to_device, to_numpy
from rlsparse.learner.gaussian import gaussian_log_prob
from rlsparse.learner.learner import Learner
from rlsparse.learner.records import Rollout

CLIP = 0.2
"""Beyond this change of a ratio a sample promises no more. Source: Schulman et al., arXiv 1707.06347, section 6.1."""

LARGEST_LOG_RATIO = 20.0
"""Beyond it, ratios overflow."""


@dataclass(frozen=True)
class Sampled:
    """What one member did in a rollout, and how much better than expected that was."""

    obs: np.ndarray
    """Raw, [B, O]."""
    action: np.ndarray
    """[B, A]."""
    log_prob: np.ndarray
    """Of the policy that acted, [B]."""
    advantage: np.ndarray
    """[B]."""

    @classmethod
    def of(cls, rollout: Rollout, advantage: np.ndarray, member: int) -> "Sampled":
        """Take a member's steps that are learned from; advantages [T, S, N] are the run's own estimates."""
        kept = np.ones(to_numpy(rollout.reward)[:, member].shape, bool)
        if rollout.valid is not None:
            kept &= to_numpy(rollout.valid)[:, member]
        if rollout.replayed is not None:
            kept &= ~to_numpy(rollout.replayed)[:, member]
        arrays = (rollout.obs, rollout.action, rollout.log_prob, advantage)
        return cls(*(to_numpy(x)[:, member][kept] for x in arrays))

    def surrogate(self, learner: Learner, member: int, searched: slice, points: np.ndarray) -> np.ndarray:
        """Return the clipped surrogate of a member whose numbers `searched` are points [M, P]; [M].

        NaN where a point's action is not finite.
        """
        heights, obs = [], to_device(self.obs[None], learner.simulated_on)
        with np.errstate(over="ignore", invalid="ignore"):  # far points may diverge
            for point in points:
                actors = learner.actors_at(point[None, None], searched, np.array([member]))
                mean, log_std = map(to_numpy, actors.distribution(obs))
                log_prob = gaussian_log_prob((self.action[None] - mean) / np.exp(log_std), log_std)
                heights.append(clipped_surrogate((log_prob - self.log_prob)[0], self.advantage))
        return np.array(heights)


def clipped_surrogate(log_ratio: np.ndarray, advantage: np.ndarray, clip: float = CLIP) -> float:
    """Mean of min(ratio * A, clip(ratio) * A) over samples [B], A being the advantages standardised; 0 at ratios of 1.

    Source: Schulman et al., arXiv 1707.06347, equation 7.
    """
    standard = advantage.astype(np.float64) - advantage.mean(dtype=np.float64)
    standard /= standard.std() or 1.0
    ratio = np.exp(np.minimum(log_ratio.astype(np.float64), LARGEST_LOG_RATIO))
    return float(np.minimum(ratio * standard, ratio.clip(1 - clip, 1 + clip) * standard).mean())


@dataclass(frozen=True)
class Agreement:
    """How far the surrogate orders and slopes as the returns do, over M points; NaN where that cannot be told."""

    correlation: float
    """Rank correlation of surrogate and return."""
    interval: tuple[float, float]
    """Its 95 % interval."""
    cosine: float
    """Of the slopes of both, fitted linearly in the coordinates."""

    @classmethod
    def of(cls, surrogate: np.ndarray, returns: np.ndarray, coordinates: np.ndarray) -> "Agreement":
        """Compare a surrogate [M] with mean returns [M] at points [M, R]."""
        rank = rank_correlation(surrogate, returns)
        return cls(rank, interval_of_rank(rank, len(returns)), cosine_of_slopes(surrogate, returns, coordinates))


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's rank correlation of x [M] and y [M]; NaN if all of one are equal."""
    from scipy.stats import ConstantInputWarning, spearmanr  # slow to import

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        return float(spearmanr(x, y).statistic)


def interval_of_rank(rank: float, points: int) -> tuple[float, float]:
    """Return the 95 % interval of a rank correlation over so many points.

    Source: Bonett and Wright, Psychometrika 65 (2000) 23, equation 4.
    """
    if not points > 3 or not abs(rank) < 1:
        return rank, rank
    half = 1.96 * np.sqrt((1 + rank**2 / 2) / (points - 3))
    low, high = np.tanh(np.arctanh(rank) + np.array([-half, half]))
    return float(low), float(high)


def cosine_of_slopes(x: np.ndarray, y: np.ndarray, coordinates: np.ndarray) -> float:
    """Cosine between the slopes of x [M] and y [M], each fitted by least squares to coordinates [M, R].

    NaN where fewer than two points for each coordinate are there, or one of both is flat.
    """
    centred = coordinates - coordinates.mean(0)
    extent = np.abs(centred).max(0)
    centred = centred[:, extent > RANK_TOLERANCE * extent.max()]
    if len(x) < 2 * centred.shape[1]:
        return float("nan")
    slopes, *_ = np.linalg.lstsq(centred, np.stack([x - x.mean(), y - y.mean()], 1), rcond=None)
    size = np.linalg.norm(slopes[:, 0]) * np.linalg.norm(slopes[:, 1])
    return float(slopes[:, 0] @ slopes[:, 1] / size) if size > 0 else float("nan")
