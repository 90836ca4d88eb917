"""Final returns against each number that differs between arms, as the picture of a search for settings."""

import io
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rlsparse.compare.plot import AS_WRITTEN, COLORS, INK, MUTED, style_axes
from rlsparse.compare.statistics import mean_interval
from rlsparse.run.storage import write_atomic

MOST_PANELS = 6
"""Environments, and fields, that are drawn."""

MOST_NAMED = 7
"""Lines that have colours and names; more are faint."""

RATIO = 4.0
"""Numbers whose largest is so many times the smallest lie on a logarithmic axis."""


@dataclass(frozen=True)
class Result:
    """What an arm with a setting has come to in an environment."""

    arm: str
    environment: str
    setting: dict[str, Any] = field(hash=False)
    """Value of each field, by the name that is shown."""
    returns: tuple[float, ...]
    """Of the last evaluation of each seed."""


@dataclass(frozen=True)
class Line:
    """Results that differ in one field alone."""

    name: str
    """Arm and values of the other fields."""
    values: tuple[Any, ...]
    returns: tuple[tuple[float, ...], ...]
    """Of the seeds, at each of the values."""


def lines(results: Sequence[Result], name: str) -> list[Line]:
    """Return the results of one environment as lines along the field `name`, whose values are in order."""
    found: dict[Hashable, list[Result]] = {}
    for x in sorted(results, key=_order):
        others = [f"{key} {value}" for key, value in x.setting.items() if key != name]
        found.setdefault(", ".join([x.arm, *others]), []).append(x)
    order = values_of(results, name)
    drawn = []
    for key, own in found.items():
        own = sorted(own, key=lambda x: order.index(x.setting.get(name)))
        drawn.append(Line(str(key), tuple(x.setting.get(name) for x in own), tuple(x.returns for x in own)))
    return drawn


def _order(x: Result) -> tuple[Any, ...]:
    return x.arm, *((float(v) if _is_number(v) else np.inf, str(v)) for v in x.setting.values())


def values_of(results: Sequence[Result], name: str) -> list[Any]:
    """Return the different values of a field: numbers in order, others as they come."""
    values = list(dict.fromkeys(x.setting.get(name) for x in results))
    return sorted(values) if all(_is_number(x) for x in values) else values


def draw_settings(results: Sequence[Result], path: Path) -> bool:
    """Draw mean final returns against each field that has several values, a row for each; whether there is one.

    The thick line is the mean of all others: what a value is worth where nothing is known of the other fields.
    """
    names = list(dict.fromkeys(name for x in results for name in x.setting))
    names = [name for name in names if len(values_of(results, name)) > 1][:MOST_PANELS]
    environments = list(dict.fromkeys(x.environment for x in results))[:MOST_PANELS]
    if not names:
        return False
    with mpl.rc_context(AS_WRITTEN):
        figure = Figure(figsize=(1.5 + 3.6 * len(environments), 1.2 + 3.2 * len(names)), layout="constrained", dpi=130)
        panels = figure.subplots(len(names), len(environments), squeeze=False)
        for name, row in zip(names, panels, strict=True):
            for env, axes in zip(environments, row, strict=True):
                _draw(axes, [x for x in results if x.environment == env], name)
                axes.set_xlabel(name, fontsize=9)
                axes.set_title(env if name == names[0] else "", fontsize=10)
        figure.supylabel("return of the last evaluation, mean over seeds and 95 % interval", fontsize=9)
        told = "thick: mean of all other lines; the highest of many points is a maximum, and no score"
        figure.supxlabel(told, fontsize=8, color=MUTED)
        content = io.BytesIO()
        FigureCanvasAgg(figure).print_png(content)
    write_atomic(path, content.getvalue())
    return True


def _draw(axes: Any, results: Sequence[Result], name: str) -> None:
    drawn, values = lines(results, name), values_of(results, name)
    places = _places(axes, values)
    many = len(drawn) > MOST_NAMED
    for i, line in enumerate(drawn):
        means, halves = np.array([mean_interval(np.array(x)) for x in line.returns]).T
        x = [places[value] for value in line.values]
        style = {"color": MUTED, "alpha": 0.4} if many else {"color": COLORS[i % len(COLORS)], "label": line.name}
        bars = None if many else np.nan_to_num(halves)
        axes.errorbar(x, means, bars, marker="o", markersize=3, capsize=2, elinewidth=0.7, **style)
    if len(drawn) > 1:
        all_of = {
            x: [np.mean(r) for line in drawn for v, r in zip(line.values, line.returns, strict=True) if v == x]
            for x in values
        }
        label = None if many else "mean"
        axes.plot([places[x] for x in values], [np.mean(x) for x in all_of.values()], color=INK, lw=2.6, label=label)
    if not many and len(drawn) > 1:
        axes.legend(frameon=False, fontsize=6)


def _places(axes: Any, values: Sequence[Any]) -> dict[Any, float]:
    """Return where on the axis each value lies: numbers where they are, others side by side."""
    style_axes(axes)
    numbers = all(_is_number(x) for x in values)
    places = {x: float(x) if numbers else float(i) for i, x in enumerate(values)}
    if numbers and min(values) > 0 and max(values) >= RATIO * min(values):
        axes.set_xscale("log")
    axes.minorticks_off()
    axes.set_xticks([*places.values()], [f"{x:g}" if _is_number(x) else str(x) for x in values], fontsize=8)
    return places


def _is_number(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool)
