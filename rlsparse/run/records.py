"""The rows that an evaluation adds to progress.csv and density.csv."""

from typing import Any

import numpy as np

from rlsparse.learner.arrays import to_numpy
from rlsparse.learner.learner import Learner
from rlsparse.learner.records import EpochStats
from rlsparse.sim.episodes import Scores
from rlsparse.sparse.ast import SubNetworks
from rlsparse.sparse.config import weight_slots


def progress_rows(
    learner: Learner,
    scores: Scores,
    epoch: EpochStats | None,
    recent_returns: np.ndarray,
    seconds: float,
    coverage: np.ndarray | None,
    groups: bool,
    help_tier: np.ndarray | None,
    cloned: np.ndarray | None,
) -> list[dict[str, Any]]:
    """Return one row of progress.csv per member, of its evaluation, its last epoch and its last training episodes.

    `coverage` [S, E] are values of a set function, if there is one; episodes are compared in `groups` or not.
    `help_tier` [S] is the help that these get, and `cloned` [S] the share of updates that cloned, if there is any.
    """
    counters = learner.counters
    log_std = to_numpy(learner.layout.log_std(learner.params))
    sparsity = learner.sparsity_metrics()
    columns = [name for name in EpochStats.__dataclass_fields__ if groups or name != "degenerate_groups"]
    rows = []
    for member, seed in enumerate(learner.seeds):
        stats = {name: x[member] for name, x in epoch.present().items()} if epoch else {}
        recent = recent_returns[member]
        row = {
            "seed": seed,
            "total_steps": counters.total[member],
            "train_steps": counters.train[member],
            "probe_steps": counters.probe[member],
            "eval_steps": counters.eval[member],
            "seconds": round(seconds, 3),
            "return_mean": scores.returns[member].mean(),
            "return_std": scores.returns[member].std(),
            "episodes": scores.returns.shape[1],
            "length_mean": scores.lengths[member].mean(),
            "train_return_mean": np.nanmean(recent) if np.isfinite(recent).any() else np.nan,
            "action_std": np.exp(log_std[member]).mean(),
        }
        row |= {name: stats.get(name, np.nan) for name in columns}
        row |= {} if coverage is None else {"coverage": coverage[member].mean()}
        row |= {} if help_tier is None else {"help_tier": help_tier[member]}
        row |= {} if cloned is None else {"cloned": cloned[member]}
        rows.append(row | {name: x[member] for name, x in sparsity.items()})
    return rows


def density_rows(
    learner: Learner, networks: SubNetworks, each: list[Scores], members: np.ndarray
) -> list[dict[str, Any]]:
    """Return one row of density.csv for each of these members and each density, the densest first."""
    weights = np.concatenate([np.arange(slot.start, slot.stop) for slot in weight_slots(learner.layout, "actor")])
    return [
        {
            "seed": learner.seeds[member],
            "total_steps": learner.counters.total[member],
            "density": round(density, 6),
            "actor_weights": networks.mask(k)[member, weights].sum(),
            "kl": networks.divergence[member, k],
            "return_mean": each[k].returns[member].mean(),
            "return_std": each[k].returns[member].std(),
            "episodes": each[k].returns.shape[1],
            "length_mean": each[k].lengths[member].mean(),
        }
        for member in members
        for k, density in enumerate(networks.densities)
    ]
