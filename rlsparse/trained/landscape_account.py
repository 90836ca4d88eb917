"""A landscape in words, numbers and files: title, remark, plain data, the table of all points, the picture."""

import csv
import io
import math
from pathlib import Path
from typing import Any

import numpy as np

from rlsparse.compare.figure import save
from rlsparse.explore.choice import mean_and_error
from rlsparse.learner.kinds import kind_of
from rlsparse.run.storage import write_atomic
from rlsparse.trained.landscape_picture import draw_landscape
from rlsparse.trained.objective import Agreement
from rlsparse.trained.plane import share_in_plane
from rlsparse.trained.survey import Survey
from rlsparse.trained.update import Update

CERTAIN = 0.05
"""Samples differ if a spread like theirs is less probable than this among equal policies."""


def title(update: Update) -> str:
    """Say where this is."""
    steps = int(update.learner.counters.total[update.member])
    return f"Returns around update {update.iteration:,}: {update.recipe.env}, seed {update.seed}, {steps:,} steps"


def remark(update: Update, found: Survey) -> str:
    """Say what was found, and how sure it is."""
    p = found.spread.p_value
    verdict = "they differ" if p < CERTAIN else "no difference is shown"
    incumbent, best = map(with_error, found.fresh)
    return (
        f"{len(found.where('sample')):,} samples, {found.returns.shape[1]} episodes each: {verdict} "
        f"(p {f'= {p:.2g}' if p >= 0.001 else '< 0.001'}); "
        f"on {found.fresh.shape[1]} fresh episodes: incumbent {incumbent}, best sample {best} (mean ± standard error)"
        + ("" if update.made_by_run else ". The run itself made no such update.")
    )


def belief(found: Survey) -> str:
    """Say how far the surrogate orders the samples as their returns do."""
    own, following = found.agreement
    return (
        f"clipped surrogate against returns of the samples, rank correlation: {_ranked(own)} on the rollout that the "
        f"update learned from, {_ranked(following)} on the next one"
    )


def _ranked(agreement: Agreement) -> str:
    if math.isnan(agreement.correlation):
        return "none to tell"
    low, high = agreement.interval
    return f"{agreement.correlation:.2f} (95 % interval {low:.2f} to {high:.2f})"


def _agreement(agreement: Agreement) -> dict[str, Any]:
    """Return it as plain data; what cannot be told is null."""
    correlation, (low, high), cosine = vars(agreement).values()
    ranks = {"rank_correlation": correlation, "low": low, "high": high, "cosine_of_slopes": cosine}
    return {name: x if math.isfinite(x) else None for name, x in ranks.items()}


def summary(update: Update, found: Survey) -> dict[str, Any]:
    """Return everything but the points as plain data."""
    spread, means = found.spread, found.samples.mean(1)
    counters, fitted = update.learner.counters, np.isin(found.kind, ("anchor", "candidate"))
    return {
        "env": update.recipe.env,
        "seed": update.seed,
        "iteration": update.iteration,
        "made_by_run": update.made_by_run,
        "total_steps": int(counters.total[update.member]),
        "probe_steps": int(counters.probe[update.member]),
        "anchors": len(update.anchors),
        "proposal": kind_of(type(update.proposal)),
        "episodes": found.returns.shape[1],
        "before": _mean_and_error(found.returns[found.where("before")[0]]),
        "incumbent": _mean_and_error(found.fresh[0]),
        "best_sample": _mean_and_error(found.fresh[1]),
        "gain": _mean_and_error(found.fresh[1] - found.fresh[0]),
        "samples": {"count": len(found.where("sample")), "finite": len(means), "mean": float(means.mean())},
        "share_above_incumbent": float((means > found.mean[found.where("incumbent")[0]]).mean()),
        "spread": {"observed": spread.observed, "explained": spread.explained, "p_value": spread.p_value},
        "surrogate": dict(zip(("own_rollout", "next_rollout"), map(_agreement, found.agreement), strict=True)),
        "share_in_plane": {
            "anchors_and_candidates": share_in_plane(found.coordinates[fitted]),
            "samples": share_in_plane(found.coordinates[found.where("sample")]),
        },
        "steps": found.steps,
    }


def _mean_and_error(returns: np.ndarray) -> dict[str, Any]:
    error = float(returns.std(ddof=1)) / math.sqrt(len(returns))
    return {"mean": float(returns.mean()), "standard_error": error, "episodes": len(returns)}


def with_error(returns: np.ndarray) -> str:
    """Mean and standard error, to the error's second digit."""
    mean, error, _ = _mean_and_error(returns).values()
    decimals = min(max(1 - math.floor(math.log10(error)), 0), 9) if 0 < error < math.inf else 0
    return f"{mean:,.{decimals}f}\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{error:,.{decimals}f}"


def points_csv(found: Survey) -> str:
    """Return what each point is, where it lies and what it scored; the two with fresh episodes again at the end."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    heights = ("surrogate", "surrogate_on_next_rollout")
    writer.writerow(["kind", "along", "across", "off_plane", "mean", "standard_error", "episodes", *heights])
    kinds = [*found.kind, "incumbent, fresh", "best sample, fresh"]
    point = [*range(len(found.kind)), found.where("incumbent")[0], found.best]
    for kind, i, returns in zip(kinds, point, [*found.returns, *found.fresh], strict=True):
        place, surrogate = found.coordinates[i], found.surrogate[:, i].tolist()
        scores = (float(x[0, 0]) for x in mean_and_error(returns[None, None]))
        off_plane = float(np.linalg.norm(place[2:]))
        writer.writerow([kind, float(place[0]), float(place[1]), off_plane, *scores, len(returns), *surrogate])
    return file.getvalue()


def write(update: Update, found: Survey, picture: Path) -> Path:
    """Write the picture and, beside it, the table of all points, which is returned; each is replaced whole."""
    figure = draw_landscape(found, title(update), remark(update, found), belief(found))
    content, table = io.BytesIO(), picture.with_suffix(".csv")
    save(figure, content, picture.suffix.lower(), summary(update, found))
    write_atomic(table, points_csv(found))
    write_atomic(picture, content.getvalue())
    return table
