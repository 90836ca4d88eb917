"""The standing of a study in text: a table for a terminal, lines for everything else."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rlsparse.compare.statistics import mean_interval
from rlsparse.study.columns import GAP, Columns, fitted
from rlsparse.study.standing import Standing, State, count

ORDER: tuple[State, ...] = ("failed", "in use", "running", "interrupted", "waiting", "finished")
"""What a reader wants to see first, where not all cells fit."""

TITLES = ("", "environment", "seeds", "state", "steps", "steps/s", "return")

NUMBERS = ("steps", "steps/s", "return")
"""Columns that are set to the right."""

LARGE = 10_000_000
"""Steps of a study of which so many are told in few characters, so that a line has room for the time."""

LAST_BEFORE_REASON = "state"
"""Column after which a terminal shows why a cell failed, in the place of the others."""


def table(standings: Sequence[Standing], height: int | None = None, width: int | None = None, cut: bool = True) -> str:
    """Return a line for each cell, at most so many lines in all, and how the whole study stands.

    With a `width` columns for which there is no room are left out; lines that reasons make longer are `cut`.
    """
    shown = [*standings]
    if height is not None and len(standings) + 2 > height:
        shown = sorted(standings, key=lambda x: ORDER.index(x.state))[: max(0, height - 3)]
    rows = [row(x) for x in shown]
    columns = {title: [line[i] for line in rows] for i, title in enumerate(TITLES)}
    if width is not None:
        columns = fitted(columns, shown, width)
    lines = _lines(columns, [x.reason for x in shown], whole=width is None)
    if left_out := len(standings) - len(shown):
        lines.append(f"and {left_out:,} more cells")
    return "\n".join(line[: width if cut else None] for line in [*lines, summary(standings)])


def _lines(columns: Columns, reasons: Sequence[str], whole: bool) -> list[str]:
    """Return titles and rows as lines, each with its reason at the end, or, if not `whole`, after the state."""
    widths = {title: max(map(len, [title, *texts])) for title, texts in columns.items()}
    lines = [GAP.join(_justified(title, title, widths[title]) for title in columns).rstrip()]
    for i, reason in enumerate(reasons):
        texts = {title: _justified(title, columns[title][i], widths[title]) for title in columns}
        titles = [*columns]
        until = len(titles) if whole or not reason else titles.index(LAST_BEFORE_REASON) + 1
        lines.append(GAP.join([*(texts[title] for title in titles[:until]), reason]).rstrip())
    return lines


def row(x: Standing) -> tuple[str, ...]:
    """Return what a cell's line says, by TITLES."""
    steps = short(x.steps) if x.steps >= x.budget else f"{short(x.steps)} of {short(x.budget)}"
    rate = f"{x.rate * len(x.seeds):,.0f}" if x.rate and x.state == "running" else ""
    return (x.label, x.env, seeds_text(x.seeds), state_text(x), steps, rate, returns_text(x.returns))


def _justified(title: str, text: str, width: int) -> str:
    return text.rjust(width) if title in NUMBERS else text.ljust(width)


def short(number: float) -> str:
    """Return a number in few characters, as 250k."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= size:
            return f"{number / (size if size > 1e4 else 1e3):.4g}{letter}"
    return f"{number:,.0f}"


def seeds_text(seeds: range) -> str:
    """Return seeds as "0 to 4"."""
    return f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else ", ".join(map(str, seeds))


def returns_text(returns: Sequence[float]) -> str:
    """Return the mean over seeds, with half of its 95 % interval where there are seeds enough for one."""
    if not returns:
        return ""
    mean, half_width = mean_interval(np.array(returns))
    return f"{mean:,.1f}" if np.isnan(half_width) else f"{mean:,.1f} +- {half_width:,.1f}"


def state_text(x: Standing) -> str:
    """Return the state of a cell: of a running one how long it will take still, if that is known."""
    left = x.seconds_left if x.state == "running" else None
    return x.state if left is None else f"{duration(left)} left"


def summary(standings: Sequence[Standing], seconds: float | None = None) -> str:
    """Return in one line how the whole study stands, after so many seconds if given."""
    states = [f"{number:,} {state}" for state in reversed(ORDER) if (number := count(standings, state))]
    total = sum(x.budget * len(x.seeds) for x in standings)
    done = sum(x.share * x.budget * len(x.seeds) for x in standings)
    rate = sum(x.rate * len(x.seeds) for x in standings if x.state == "running")
    cells = f"{len(standings):,} cell{'s' * (len(standings) != 1)}"
    budget = short(total) if total >= LARGE else f"{total:,}"
    line = f"{cells}: {', '.join(states)}; {100 * done / total if total else 0:.1f} % of {budget} steps"
    if rate:
        left = sum((1 - x.share) * x.budget * len(x.seeds) for x in standings if x.state in ("running", "waiting"))
        line += f", {rate:,.0f} steps/s, {duration(left / rate)} left"
    return f"{line}, {duration(seconds)}" if seconds is not None else line


def record(x: Standing) -> dict[str, Any]:
    """Return how a cell stands as plain values."""
    cell: dict[str, Any] = {"label": x.label, "arm": x.arm, "setting": x.setting, "env": x.env, "seeds": [*x.seeds]}
    cell |= {"state": x.state, "reason": x.reason, "total_steps": x.steps, "returns": [*x.returns]}
    return {**cell, "run_dir": str(x.folder) if x.folder else None}


def news(before: Standing, now: Standing) -> str:
    """Return what to say of a cell whose state has changed, nothing if it has not."""
    if before.state == now.state:
        return ""
    where = name(now)
    at = f" at {now.steps:,} steps" if now.steps and now.state in ("running", "interrupted", "failed") else ""
    reason = f": {now.reason}" if now.reason else ""
    reward = f", return {returns_text(now.returns)}" if now.state == "finished" and now.returns else ""
    return f"{where}: {now.state}{at}{reason}{reward}"


def name(x: Standing) -> str:
    """Return a cell's label, environment and seeds in words."""
    seeds = f", seed{'s' * (len(x.seeds) > 1)} {seeds_text(x.seeds)}" if x.seeds else ""
    return f"{x.label} on {x.env}{seeds}"


def duration(seconds: float) -> str:
    """Return seconds as 1:02:03."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
