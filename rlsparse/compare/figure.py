"""The picture of a comparison: one cell per environment, then what holds over all of them, laid out in inches."""

import json
import textwrap
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, BinaryIO

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from rlsparse.compare.cells import Panel
from rlsparse.compare.comparison import Comparison
from rlsparse.compare.contrasts import Overall
from rlsparse.compare.plot import AS_WRITTEN, INK, MOST_SEED_LINES, MUTED, WARNING, arm_styles, draw_arm, style_axes
from rlsparse.compare.statistics import BOOTSTRAP_FROM, FEWEST

LEFT, GAP, TITLE, AXIS, MARGIN = 0.75, 0.25, 0.36, 0.52, 0.15
"""Inches: y tick labels, right of a plot, title above it and x axis below it, around everything."""

LEGEND_LINE, ROW = 0.165, 0.3
"""Inches: a line of a legend, a row of an interval plot."""

SIZE, SMALL = 8.0, 7.5
"""Points of the letters."""

MOST_REMARKS = 8
"""On the picture; the page has all."""

Styles = dict[str, dict[str, Any]]

Draw = Callable[[Any], None]
"""Draws one cell into axes."""

Row = tuple[str, Sequence[Any], str]
"""A name, an estimate with the ends of its interval, and a colour."""


@dataclass(frozen=True)
class Line:
    """A line of text across the whole picture."""

    text: str
    size: float
    color: str
    weight: str = "normal"


@mpl.rc_context(AS_WRITTEN)
def draw_report(comparison: Comparison, statistic: str = "mean") -> Figure:
    """Draw every environment, what holds over all of them, and everything a reader must know, in one picture."""
    styles, panels, overall = arm_styles(comparison.arms), comparison.panels, comparison.overall
    draw_panel = partial(draw_curves, statistic=statistic, styles=styles, x_label=comparison.x_label)
    cells: list[Draw] = [partial(draw_panel, panel=panel) for panel in panels]
    rows = 0
    if overall:
        cells += _overall_cells(overall, comparison, styles)
        rows = max(len(overall.normalised_iqm), len(overall.probability_of_improvement))
    columns = min(3, len(cells))
    width, height = {1: (6.0, 3.4), 2: (3.4, 2.5), 3: (2.9, 2.1)}[columns]
    height = max(height, ROW * rows)
    cell_width = LEFT + width + GAP
    lines = max(sum(text.count("\n") + 1 for text in legend_labels(panel, width).values()) for panel in panels)
    cell_height = TITLE + height + AXIS + LEGEND_LINE * lines
    total_width = 2 * MARGIN + max(columns * cell_width, 7.0)
    head, foot = _wrapped(_head(comparison, statistic), total_width), _wrapped(_foot(comparison), total_width)
    row_count = -(-len(cells) // columns)
    total_height = 3 * MARGIN + _height(head) + row_count * cell_height + _height(foot)
    if (row_count - 1) * columns >= len(panels):  # the last row has no legends
        total_height -= LEGEND_LINE * lines
    figure = Figure(figsize=(total_width, total_height), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    for i, draw in enumerate(cells):
        left = MARGIN + LEFT + (i % columns) * cell_width
        bottom = total_height - MARGIN - _height(head) - (i // columns) * cell_height - TITLE - height
        place = left / total_width, bottom / total_height, width / total_width, height / total_height
        draw(figure.add_axes(place))
    _write_lines(figure, head, total_height - MARGIN)
    _write_lines(figure, foot, MARGIN + _height(foot))
    return figure


def save(figure: Figure, file: BinaryIO, suffix: str, block: dict[str, Any]) -> None:
    """Write a picture as .png, .pdf or .svg with a machine-readable account of it inside."""
    text = json.dumps(block)
    metadata: dict[str, dict[str, Any]] = {
        ".png": {"Description": text, "Software": "rlsparse"},
        ".pdf": {"Subject": text, "Creator": "rlsparse", "CreationDate": None},
        ".svg": {"Description": text, "Creator": "rlsparse", "Date": None},
    }
    # equal data make equal files, and a letter that the font lacks is no warning
    with mpl.rc_context({"svg.hashsalt": "rlsparse"}), warnings.catch_warnings(action="ignore", category=UserWarning):
        figure.savefig(file, format=suffix[1:], metadata=metadata[suffix])


def draw_curves(axes: Any, panel: Panel, statistic: str, styles: Styles, x_label: str) -> None:
    """Draw the arms of an environment; the legend below names the highest at the end first."""
    ends = {}
    for arm, cell in panel.cells.items():
        faint = {"color": styles[arm]["color"], "zorder": 4}
        for seed in cell.left_out:
            inside = seed.x <= panel.end
            axes.plot(seed.x[inside], seed.y[inside], alpha=0.5, linewidth=0.7, linestyle=":", **faint)
            axes.plot(seed.x[inside][-1:], seed.y[inside][-1:], "x", markersize=6, **faint)
        if cell.n:
            center, low, high = cell.mean if statistic == "mean" else cell.iqm
            seeds = cell.returns if _has_seed_lines(panel) else cell.returns[:0]
            draw_arm(axes, cell.x, center, (low, high), seeds, **styles[arm])
            ends[arm] = float(center[-1])
    if panel.end > panel.start:
        axes.set_xlim(panel.start, panel.end)
    style_axes(axes)
    _finish(axes, panel.env, x_label)
    order = sorted(panel.cells, key=lambda arm: ends.get(arm, -np.inf), reverse=True)
    width, height = axes.get_window_extent().size / axes.figure.dpi
    labels = legend_labels(panel, width)
    axes.legend(
        [Line2D([], [], linewidth=2.2, **styles[arm]) for arm in order],
        [labels[arm] for arm in order],
        loc="upper left",
        bbox_to_anchor=(-LEFT / 2 / width, -(AXIS - 0.06) / height),
        labelspacing=LEGEND_LINE * 72 / SIZE - 1.12,
        handlelength=2.4,
        borderpad=0,
        borderaxespad=0,
        frameon=False,
        fontsize=SIZE,
        labelcolor=INK,
    )


def legend_labels(panel: Panel, width: float) -> dict[str, str]:
    """Return the name of each arm with its n, in lines that fit below a plot of `width` inches."""
    return {arm: textwrap.fill(f"{arm}, {cell.n_text}", int(15 * width) + 5) for arm, cell in panel.cells.items()}


def short_names(arms: list[str], most: int) -> dict[str, str]:
    """Cut long names in their middle, for variants of an arm differ at the end; no two become the same."""
    tail = (most - 1) * 3 // 5
    short = {a: a if len(a) <= most else f"{a[: most - 1 - tail]}…{a[len(a) - tail :]}" for a in arms}
    return short if len(set(short.values())) == len(arms) else short_names(arms, most + 4)


def _has_seed_lines(panel: Panel) -> bool:
    """Whether single seeds are drawn: there are some behind each mean, and not too many."""
    return 1 < sum(cell.n for cell in panel.cells.values()) <= MOST_SEED_LINES


def _finish(axes: Any, title: str, x_label: str) -> None:
    axes.set_title(title, fontsize=SIZE + 1.5, color=INK, loc="left")
    axes.set_xlabel(x_label, fontsize=SMALL, color=MUTED)
    axes.tick_params(labelsize=SIZE, color=MUTED, labelcolor=INK)
    axes.spines[:].set_color(MUTED)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def _overall_cells(overall: Overall, comparison: Comparison, styles: Styles) -> list[Draw]:
    """What there is of normalised IQM per arm, performance profile, and probability of improvement per pair."""
    short = short_names(comparison.arms, 22)
    cells: list[Draw] = []
    if overall.normalised_iqm:
        rows: list[Row] = [(short[arm], x, styles[arm]["color"]) for arm, x in overall.normalised_iqm.items()]
        title = f"Normalised IQM, {len(overall.environments)} environments"
        reference = 1.0 if comparison.baseline else None
        draw = partial(_draw_intervals, rows=rows, title=title, x_label="normalised return", reference=reference)
        cells += [draw, partial(_draw_profile, overall=overall, styles=styles)]
    if overall.probability_of_improvement:
        pairs = overall.probability_of_improvement.items()
        rows = [(f"{short[a]} > {short[b]}", x[:3], styles[a]["color"]) for (a, b), x in pairs]
        title, label = f"P(improvement), {overall.shared} environments", "0.5: as often better as worse"
        draw = partial(_draw_intervals, rows=rows, title=title, x_label=label, reference=0.5, limits=(-0.02, 1.02))
        cells.append(draw)
    return cells


def _draw_intervals(
    axes: Any, rows: list[Row], title: str, x_label: str, reference: float | None, limits: Any = None
) -> None:
    """Draw estimates with intervals, one row each, the name above; a dotted line where there is no difference."""
    for i, (name, (center, low, high), color) in enumerate(rows):
        style = {"fontsize": SMALL, "color": INK, "va": "center", "bbox": {"facecolor": "white", "lw": 0, "pad": 1}}
        axes.text(0.015, i - 0.3, name, transform=axes.get_yaxis_transform(), **style)
        axes.plot([low, high], [i + 0.1] * 2, color=color, linewidth=5, alpha=0.35, solid_capstyle="butt")
        axes.plot([center], [i + 0.1], "o", color=color, markersize=5)
    if reference is not None:
        axes.axvline(reference, color=MUTED, linewidth=1, linestyle=":")
    axes.set(ylim=(len(rows) - 0.5, -0.6), xlim=limits, yticks=[])
    axes.xaxis.set_major_locator(MaxNLocator(5))
    _finish(axes, title, x_label)


def _draw_profile(axes: Any, overall: Overall, styles: Styles) -> None:
    """Draw the share of runs above each normalised score."""
    for arm, (center, low, high) in overall.performance_profile.items():
        draw_arm(axes, overall.thresholds, center, (low, high), np.empty((0, len(center))), **styles[arm])
    axes.set(ylim=(0, 1.02), xlim=(overall.thresholds[0], overall.thresholds[-1]))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    _finish(axes, "Share of runs above a return", "normalised return")


def _head(comparison: Comparison, statistic: str) -> list[Line]:
    captions = filter(None, [caption(comparison, statistic), steps_spent(comparison)])
    lines = [Line(comparison.title, 12, INK, "bold"), *(Line(text, 8.5, MUTED) for text in captions)]
    return lines + [Line(text, 9, WARNING, "bold") for text in comparison.warnings]


def caption(comparison: Comparison, statistic: str) -> str:
    """Say what is drawn: the measure, lines and bands."""
    cells = [cell for cell in comparison.cells if cell.n]
    names = dict.fromkeys(_interval_name(statistic, cell.n) for cell in cells if cell.n >= FEWEST)
    few = " (none where n < 3)" if any(cell.n < FEWEST for cell in cells) else ""
    band = f"; band: {' / '.join(names)}{few}" if names else "; no interval, n < 3"
    what = "mean" if statistic == "mean" else "interquartile mean (IQM)"
    thin = "; thin lines: seeds" if any(map(_has_seed_lines, comparison.panels)) else ""
    crosses = "; crosses: seeds that stopped early, not averaged" if any(x.left_out for x in comparison.cells) else ""
    measure = f"{comparison.measure[:1].upper()}{comparison.measure[1:]}. " if "," in comparison.measure else ""
    return f"{measure}Line: {what} over n seeds{band}{thin}{crosses}."


def _interval_name(statistic: str, n: int) -> str:
    if statistic == "mean":
        return "95 % t interval of the mean"
    return f"95 % {'bootstrap' if n >= BOOTSTRAP_FROM else 't'} interval of the IQM"


def steps_spent(comparison: Comparison) -> str:
    """Say how many steps of each of the three kinds were spent, as far as the logs know."""
    words = {"train": "training", "probe": "probing", "eval": "evaluation (never counted)"}
    texts = []
    for name, word in words.items():
        steps = sorted({round(cell.spent[name]) for cell in comparison.cells if name in cell.spent})
        if steps:
            texts.append(f"{word} {steps[0]:,}" + (f" to {steps[-1]:,}" if len(steps) > 1 else ""))
    return f"Steps per seed: {', '.join(texts)}." if texts else ""


def _foot(comparison: Comparison) -> list[Line]:
    remarks, more = comparison.remarks[:MOST_REMARKS], len(comparison.remarks) - MOST_REMARKS
    return [Line(text, SMALL, MUTED) for text in remarks + [f"{more} more remarks in report.html"] * (more > 0)]


def _wrapped(lines: list[Line], width: float) -> list[Line]:
    """Break lines so that they fit `width` inches."""
    broken = []
    for line in lines:
        most = int((width - 2 * MARGIN) * 72 / (line.size * (0.62 if line.weight == "bold" else 0.55)))
        broken += [replace(line, text=text) for text in textwrap.wrap(line.text, most) or [""]]
    return broken


def _height(lines: list[Line]) -> float:
    return sum(1.4 * line.size for line in lines) / 72


def _write_lines(figure: Figure, lines: list[Line], top: float) -> None:
    w, h = figure.get_size_inches()
    for line in lines:
        style: dict[str, Any] = {"fontsize": line.size, "color": line.color, "fontweight": line.weight}
        figure.text(MARGIN / w, top / h, line.text, va="top", **style)
        top -= 1.4 * line.size / 72
