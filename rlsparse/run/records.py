"""The rows that an evaluation adds to progress.csv, and a probe to probe.csv."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rlsparse.explore.choice import INCUMBENT, Choice
from rlsparse.learner.arrays import to_numpy
from rlsparse.learner.records import Counters, EpochStats
from rlsparse.sim.episodes import Scores

if TYPE_CHECKING:
    from rlsparse.run.session import Session


def progress_rows(session: "Session", scores: Scores, metrics: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Return one row per member: its evaluation, its last epoch, its last training episodes, and more `metrics` [S]."""
    learner, counters = session.learner, session.learner.counters
    told = stats_of_updates(session) | metrics
    rows = []
    for member, seed in enumerate(learner.seeds):
        row = {
            "seed": seed,
            "total_steps": counters.total[member],
            "train_steps": counters.train[member],
            "probe_steps": counters.probe[member],
            "eval_steps": counters.eval[member],
            "seconds": round(session.seconds, 3),
            "return_mean": scores.returns[member].mean(),
            "return_std": scores.returns[member].std(),
            "episodes": scores.returns.shape[1],
            "length_mean": scores.lengths[member].mean(),
        }
        rows.append(row | {name: x[member] for name, x in told.items()})
    return rows


def stats_of_updates(session: "Session") -> dict[str, np.ndarray]:
    """Return numbers about the members' last training episodes, policies and last epoch, by their columns, [S] each."""
    recent, log_std = session.collector.recent_returns, to_numpy(session.learner.layout.log_std(session.learner.params))
    last = vars(session.last.stats) | session.last.metrics if session.last else {}
    columns = (*EpochStats.__dataclass_fields__, *session.recipe.advantage.columns)
    return {
        "train_return_mean": np.array([np.nanmean(x) if np.isfinite(x).any() else np.nan for x in recent]),
        "action_std": np.array([np.exp(x).mean() for x in log_std]),
        **{name: last.get(name, np.full(len(recent), np.nan)) for name in columns},
    }


def last_returns(rows: Iterable[Mapping[str, Any]], seeds: Sequence[int]) -> np.ndarray:
    """Return what rows of progress.csv say of each seed's last evaluation, [S]; NaN where there is none."""
    last = {int(row["seed"]): float(row["return_mean"]) for row in rows}
    return np.array([last.get(seed, np.nan) for seed in seeds])


def probe_rows(
    choice: Choice, members: np.ndarray, seeds: Sequence[int], counters: Counters, cycles: np.ndarray
) -> list[dict[str, Any]]:
    """Return one row of probe.csv for each of the members that probed; seeds, counters and cycles are of all [S]."""
    rows = []
    for row, member in enumerate(members):
        best = choice.best[row]
        rows.append(
            {
                "seed": seeds[member],
                "cycle": cycles[member],
                "total_steps": counters.total[member],
                "train_steps": counters.train[member],
                "probe_steps": counters.probe[member],
                "steps": choice.steps[row],
                "accepted": int(choice.accepted[row]),
                "reason": choice.reason[row],
                "probability": choice.probability[row],
                "best": best,
                "best_score": choice.score[row, best],
                "best_error": choice.error[row, best],
                "incumbent_score": choice.score[row, INCUMBENT],
                "incumbent_error": choice.error[row, INCUMBENT],
                "scores": " ".join(f"{x:.6g}" for x in choice.score[row]),
                "errors": " ".join(f"{x:.3g}" for x in choice.error[row]),
            }
        )
    return rows
