"""A landscape in words and numbers: the texts of its picture, the table for the terminal, plain data, the CSV."""

import csv
import io
import math
from typing import Any

import numpy as np

from rlsparse.learner.kinds import kind_of
from rlsparse.trained.replay import Update
from rlsparse.trained.survey import Survey

CERTAIN = 0.05
"""Samples differ if a spread like theirs is less probable than this among equal policies."""


def title(update: Update) -> str:
    """Say where this is."""
    where = f"update {update.iteration:,} of {update.iterations:,}"
    return f"Returns around {where}: {update.recipe.env}, seed {update.seed}"


def remarks(update: Update, found: Survey, reach: float) -> list[str]:
    """Say what was measured, and how sure it is."""
    spread = found.spread
    samples, episodes = len(found.where("sample")), found.returns.shape[1]
    observed, explained, error = (rounded(x) for x in (spread.observed, spread.explained, found.sample_error))
    incumbent, best = (with_error(x).replace("+-", "±").replace("-", "\N{MINUS SIGN}") for x in found.fresh)
    return [
        f"After {_steps(update)}; {samples:,} samples of a normal distribution fitted to {len(update.anchors)} "
        f"anchors, {reach:g} times as wide; {episodes} deterministic episodes each.",
        f"A sample's mean has standard error {error}; on equal starts the means spread by {observed}, equal policies' "
        f"by {explained}: {verdict(found)}.".replace(" < ", "\N{NO-BREAK SPACE}<\N{NO-BREAK SPACE}"),
        f"On {found.fresh.shape[1]} fresh episodes: incumbent {incumbent}, best sample {best} (mean ± standard error).",
    ]


def method(update: Update, found: Survey) -> list[str]:
    """Say how the picture was made."""
    fitted, shown = (100 * found.share_in_plane(*x) for x in (("anchor", "candidate"), ("sample",)))
    return [
        f"Plane: along the update and, across it, the principal component of anchors and "
        f"{kind_of(type(update.proposal))} candidates; it shows {fitted:.0f}\N{NO-BREAK SPACE}% of their variance, "
        f"{shown:.0f}\N{NO-BREAK SPACE}% of the samples'. Surface: Gaussian process fitted to all means in all "
        "dimensions (length and noise by maximum likelihood) where the plane cuts it, paler where it is unsure. Marks: "
        "the measured means, at their feet in the plane; every policy's episodes begin alike."
    ]


def verdict(found: Survey) -> str:
    """Say whether the samples differ by more than their episodes' luck."""
    p = found.spread.p_value
    said = f"p = {p:.2g}" if p >= 0.001 else "p < 0.001"
    return f"they differ ({said})" if p < CERTAIN else f"no difference is shown ({said})"


def warning(update: Update) -> str:
    """Say that the replay is not the run, if that is known; otherwise empty."""
    if update.differs_at is None:
        return ""
    return (
        f"at {update.differs_at:,} steps the replay is not what the run recorded: it ran on another machine or with "
        "other versions, so this is around another policy than the run's"
    )


def text(update: Update, found: Survey) -> str:
    """Return the table for the terminal."""
    numbers = summary(update, found)
    episodes, fresh = found.returns.shape[1], found.fresh.shape[1]
    gain, share = numbers["gain"], numbers["share_above_incumbent"]
    percentile, luck = numbers["percentile_90"], found.spread.explained
    before = found.returns[found.where("before")[0]]
    ends = sorted(100 * share[name] for name in ("if_incumbent_better", "if_incumbent_worse"))
    rows = [
        ("", "return", ""),
        ("before the update", with_error(before), f"{episodes} episodes"),
        ("incumbent", with_error(found.fresh[0]), f"{fresh} fresh episodes"),
        (
            "best sample",
            with_error(found.fresh[1]),
            f"{fresh} fresh episodes, {signed(gain['mean'], gain['standard_error'])} +- "
            f"{rounded(gain['standard_error'])} against the incumbent",
        ),
        (
            "samples",
            rounded(numbers["samples"]["mean"], luck),
            f"mean of {numbers['samples']['count']:,}, {episodes} episodes each; standard error of one "
            f"{rounded(found.sample_error)}",
        ),
        (
            "90th percentile",
            rounded(percentile["measured"], luck),
            f"{rounded(percentile['without_luck'], luck)} without the luck of the episodes",
        ),
        (
            "above incumbent",
            f"{100 * share['measured']:.0f} %",
            f"{ends[0]:.0f} to {ends[1]:.0f} % within one standard error of the incumbent",
        ),
        (
            "spread",
            rounded(found.spread.observed),
            f"equal policies {rounded(found.spread.explained)}: {verdict(found)}",
        ),
        ("steps spent", f"{found.steps:,}", "outside the run's budget"),
    ]
    lines = [f"{name:<18}{value:>22}   {note}".rstrip() for name, value, note in rows]
    return "\n".join([f"{title(update)}, after {_steps(update)}", *lines])


def summary(update: Update, found: Survey) -> dict[str, Any]:
    """Return everything but the points as plain data."""
    spread, finite = found.spread, found.mean[(found.kind == "sample") & found.finite]
    percentile, without_luck = found.percentile(90)
    above, if_better, if_worse = found.share_above
    level, error = found.incumbent
    train, probe = _counted(update)
    return {
        "env": update.recipe.env,
        "seed": update.seed,
        "iteration": update.iteration,
        "iterations": update.iterations,
        "total_steps": train + probe,
        "probe_steps": probe,
        "anchors": len(update.anchors),
        "proposal": kind_of(type(update.proposal)),
        "episodes": found.returns.shape[1],
        "before": _mean_and_error(found.returns[found.where("before")[0]]),
        "incumbent": _mean_and_error(found.fresh[0]),
        "best_sample": _mean_and_error(found.fresh[1]),
        "gain": _mean_and_error(found.fresh[1] - found.fresh[0]),
        "samples": {"count": len(found.where("sample")), "finite": len(finite), "mean": float(finite.mean())},
        "sample_standard_error": found.sample_error,
        "percentile_90": {"measured": percentile, "without_luck": without_luck},
        "incumbent_among_samples": {"mean": level, "standard_error": error},
        "share_above_incumbent": {"measured": above, "if_incumbent_better": if_better, "if_incumbent_worse": if_worse},
        "spread": {"observed": spread.observed, "explained": spread.explained, "p_value": spread.p_value},
        "share_in_plane": {
            "anchors_and_candidates": found.share_in_plane("anchor", "candidate"),
            "samples": found.share_in_plane("sample"),
        },
        "steps": found.steps,
        "replay_differs_at": update.differs_at,
    }


def _counted(update: Update) -> tuple[int, int]:
    counters = update.learner.counters
    return int(counters.train[update.member]), int(counters.probe[update.member])


def _steps(update: Update) -> str:
    train, probe = _counted(update)
    return f"{train + probe:,} steps" + (f", {probe:,} of them for probing" if probe else "")


def _mean_and_error(returns: np.ndarray) -> dict[str, Any]:
    error = float(returns.std(ddof=1)) / math.sqrt(len(returns))
    return {"mean": float(returns.mean()), "standard_error": error, "episodes": len(returns)}


def with_error(returns: np.ndarray) -> str:
    """Mean and standard error, to the error's second digit."""
    found = _mean_and_error(returns)
    error = found["standard_error"]
    return f"{rounded(found['mean'], error)} +- {rounded(error)}"


def rounded(x: float, like: float | None = None) -> str:
    """Write a number with the decimals of the second digit of `like`, or of its own."""
    size = abs(x if like is None else like)
    decimals = min(max(1 - math.floor(math.log10(size)), 0), 9) if 0 < size < math.inf else 0
    return f"{x:,.{decimals}f}"


def signed(x: float, like: float) -> str:
    """Write a difference as `rounded` does, with its sign."""
    return ("+" if x >= 0 else "") + rounded(x, like)


def points_csv(found: Survey) -> str:
    """Return what each point is, where it lies and what it scored; the two with fresh episodes again at the end."""
    again = (("incumbent, fresh", int(found.where("incumbent")[0])), ("best sample, fresh", found.best))
    points = [
        *zip(found.kind, found.coordinates, found.returns, strict=True),
        *((kind, found.coordinates[i], fresh) for (kind, i), fresh in zip(again, found.fresh, strict=True)),
    ]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["kind", "along", "across", "off_plane", "mean", "standard_error", "episodes"])
    for kind, place, returns in points:
        scored = _mean_and_error(returns) if np.isfinite(returns).all() else {}
        numbers = [float(place[0]), float(place[1]), float(np.linalg.norm(place[2:]))]
        numbers += [scored.get("mean", -math.inf), scored.get("standard_error", math.nan)]
        writer.writerow([kind, *numbers, len(returns)])
    return file.getvalue()
