"""The pictures of a report, laid out in inches: nothing overlaps, whatever the number of arms and environments."""

import json
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rlsparse.comparison.cells import Panel
from rlsparse.comparison.compared import Comparison, interval_name
from rlsparse.plot import MOST_SEED_LINES
from rlsparse.report.panels import (
    LABEL_SIZE,
    LONGEST_NAME,
    Styles,
    curve_labels,
    draw_curves,
    draw_intervals,
    draw_profile,
    label_width,
)
from rlsparse.report.theme import PRINT, Theme, arm_styles, shortened

LEFT, GAP, TITLE, AXIS = 0.75, 0.25, 0.38, 0.42
"""Inches: y tick labels, between panels, title above and x tick labels below a panel."""

MOST_REMARKS = 8
"""On the picture; the page has all."""

MARGIN = 0.15


@dataclass(frozen=True)
class Line:
    """A line of text across the whole picture."""

    text: str
    size: float
    color: str
    weight: str = "normal"


def draw_report(comparison: Comparison, statistic: str = "mean", theme: Theme = PRINT) -> Figure:
    """Draw every environment, what holds over all of them, and everything a reader must know, in one picture."""
    styles = arm_styles(comparison.arms, theme)
    columns = min(3, len(comparison.panels))
    plot_width, plot_height = {1: (5.2, 3.2), 2: (3.2, 2.4), 3: (2.6, 2.1)}[columns]
    plot_height = max(plot_height, 1.45 * LABEL_SIZE / 72 * len(comparison.arms))
    labels = max(label_width(list(curve_labels(panel).values())) for panel in comparison.panels)
    cell_width = LEFT + plot_width + labels + 0.1 * plot_width + GAP
    cell_height = TITLE + plot_height + AXIS
    overall_height = _overall_height(comparison)
    width = 2 * MARGIN + max(columns * cell_width, 7.0)
    head = _wrapped(_head(comparison, statistic, theme), width)
    foot = _wrapped(_foot(comparison, theme), width)
    legend = _legend_rows(comparison, width)
    rows = -(-len(comparison.panels) // columns)
    above, below = _height(head) + 2 * MARGIN, _height(foot) + MARGIN + 0.16 * len(legend)
    height = above + rows * cell_height + overall_height + 0.3 + below
    figure = Figure(figsize=(width, height), dpi=150, facecolor="white" if theme is PRINT else "none")
    FigureCanvasAgg(figure)
    _write_lines(figure, head, height - MARGIN)
    for i, panel in enumerate(comparison.panels):
        left = MARGIN + LEFT + (i % columns) * cell_width
        bottom = height - above - (i // columns) * cell_height - TITLE - plot_height
        axes = _axes(figure, left, bottom, plot_width, plot_height)
        draw_curves(axes, panel, statistic, styles, theme, plot_height)
    y = height - above - rows * cell_height
    figure.text(0.5, y / height, comparison.x_label, ha="center", va="top", fontsize=9, color=theme.ink)
    if overall_height:
        _draw_overall(figure, comparison, styles, theme, y - 0.3 - overall_height, overall_height)
    _draw_legend(figure, legend, styles, theme, below - MARGIN)
    _write_lines(figure, foot, _height(foot) + MARGIN)
    return figure


def draw_panel(panel: Panel, comparison: Comparison, statistic: str, theme: Theme) -> Figure:
    """Draw one environment alone."""
    styles = arm_styles(comparison.arms, theme)
    plot_height = max(2.4, 1.45 * LABEL_SIZE / 72 * len(comparison.arms))
    labels = label_width(list(curve_labels(panel).values()))
    width, height = LEFT + 3.0 * 1.1 + labels, TITLE + plot_height + AXIS
    figure = Figure(figsize=(width, height), facecolor="none")
    FigureCanvasAgg(figure)
    draw_curves(_axes(figure, LEFT, AXIS, 3.0, plot_height), panel, statistic, styles, theme, plot_height)
    return figure


def draw_overall(comparison: Comparison, theme: Theme) -> Figure | None:
    """Draw the results over environments alone; None if there are none."""
    height = _overall_height(comparison)
    if not height:
        return None
    figure = Figure(figsize=(7.0, height), facecolor="none")
    FigureCanvasAgg(figure)
    _draw_overall(figure, comparison, arm_styles(comparison.arms, theme), theme, 0.0, height)
    return figure


def save(figure: Figure, path: Path, block: dict[str, Any]) -> None:
    """Write a picture, PNG, PDF or SVG by its extension, with a machine-readable account of it inside."""
    text = json.dumps(block)
    metadata = {
        ".png": {"Description": text, "Software": "rlsparse"},
        ".pdf": {"Subject": text, "Creator": "rlsparse", "CreationDate": None},
        ".svg": {"Description": text, "Creator": "rlsparse", "Date": None},
    }[path.suffix.lower()]
    figure.savefig(path, format=path.suffix[1:].lower(), metadata=metadata)


def _axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Any:
    w, h = figure.get_size_inches()
    return figure.add_axes((left / w, bottom / h, width / w, height / h))


def _head(comparison: Comparison, statistic: str, theme: Theme) -> list[Line]:
    measure = comparison.measure[0].upper() + comparison.measure[1:]
    lines = [Line(measure, 12, theme.ink, "bold"), Line(caption(comparison, statistic), 8.5, theme.muted)]
    lines += [Line(f"NOT ALIKE: {text}", 9, theme.warning, "bold") for text in comparison.mismatches]
    if comparison.caution:
        lines.append(Line(comparison.caution, 9, theme.warning, "bold"))
    return lines


def caption(comparison: Comparison, statistic: str) -> str:
    """Say what lines and bands are."""
    cells = [cell for panel in comparison.panels for cell in panel.cells.values() if cell.n]
    bands = list(dict.fromkeys(interval_name(statistic, cell.n) for cell in cells))
    what = "mean" if statistic == "mean" else "interquartile mean (IQM)"
    thin = "; thin lines: seeds" if any(1 < cell.n <= MOST_SEED_LINES for cell in cells) else ""
    crosses = "; crosses: seeds that stopped early, not averaged" if any(cell.left_out for cell in cells) else ""
    return f"Line: {what} over seeds (n at its end); band: {' / '.join(bands)}{thin}{crosses}."


def _foot(comparison: Comparison, theme: Theme) -> list[Line]:
    shown = comparison.remarks[:MOST_REMARKS]
    if len(comparison.remarks) > MOST_REMARKS:
        shown = [*shown, f"{len(comparison.remarks) - MOST_REMARKS} more remarks in report.html"]
    return [Line(text, 7.5, theme.muted) for text in shown]


def _wrapped(lines: list[Line], width: float) -> list[Line]:
    """Break lines so that they fit `width` inches."""
    broken = []
    for line in lines:
        most = int((width - 2 * MARGIN) * 72 / (line.size * (0.62 if line.weight == "bold" else 0.55)))
        texts = textwrap.wrap(line.text, most) or [""]
        broken += [Line(text, line.size, line.color, line.weight) for text in texts]
    return broken


def _height(lines: list[Line]) -> float:
    return sum(1.4 * line.size for line in lines) / 72


def _write_lines(figure: Figure, lines: list[Line], top: float) -> None:
    w, h = figure.get_size_inches()
    for line in lines:
        figure.text(
            MARGIN / w, top / h, line.text, va="top", fontsize=line.size, color=line.color, fontweight=line.weight
        )
        top -= 1.4 * line.size / 72


def _legend_rows(comparison: Comparison, width: float) -> list[str]:
    """The arms whose names are too long for the labels, and so are written out."""
    return [arm for arm in comparison.arms if len(arm) > LONGEST_NAME]


def _draw_legend(figure: Figure, arms: list[str], styles: Styles, theme: Theme, top: float) -> None:
    w, h = figure.get_size_inches()
    for i, arm in enumerate(arms):
        y = (top - 0.16 * (i + 0.5)) / h
        axes = figure.add_axes((MARGIN / w, y, 0.3 / w, 0.01 / h))
        axes.axis("off")
        axes.plot([0, 1], [0, 0], clip_on=False, linewidth=2.2, **styles[arm])
        most = int((w - 2 * MARGIN - 0.4) * 72 / (LABEL_SIZE * 0.6))
        figure.text(
            (MARGIN + 0.4) / w, y, shortened(arm, most), fontsize=LABEL_SIZE, va="center_baseline", color=theme.ink
        )


def _overall_height(comparison: Comparison) -> float:
    overall = comparison.overall
    if overall is None or not (overall.iqm or overall.improvement):
        return 0.0
    rows = max(len(overall.iqm), len(overall.improvement))
    return TITLE + AXIS + max(1.5 if overall.iqm else 0.3, 0.22 * rows)


def _draw_overall(
    figure: Figure, comparison: Comparison, styles: Styles, theme: Theme, bottom: float, height: float
) -> None:
    """Draw, side by side, what there is of: normalised IQM, performance profile, probability of improvement."""
    overall = comparison.overall
    assert overall is not None
    w, _ = figure.get_size_inches()
    inner, base = height - TITLE - AXIS, bottom + AXIS
    pairs = {f"{a} > {b}": (interval, styles[a]) for (a, b), (interval, _) in overall.improvement.items()}
    arms = {arm: (interval, styles[arm]) for arm, interval in overall.iqm.items()}
    parts: list[tuple[str, float]] = []
    if arms:
        parts += [("iqm", _names_width(list(arms))), ("profile", LEFT)]
    if pairs:
        parts.append(("pairs", _names_width(list(pairs))))
    plot = (w - 2 * MARGIN - sum(names for _, names in parts)) / len(parts) - GAP
    left = MARGIN
    for part, names in parts:
        axes = _axes(figure, left + names, base, plot, inner)
        if part == "iqm":
            title = f"Normalised IQM, {len(overall.environments)} environments"
            draw_intervals(axes, arms, title, theme, 1.0 if comparison.baseline else None)
        elif part == "profile":
            draw_profile(axes, overall, styles, theme)
        else:
            draw_intervals(axes, pairs, f"P(improvement), {overall.shared} environments", theme, 0.5)
            axes.set_xlim(-0.02, 1.02)
        left += names + plot + GAP


def _names_width(names: list[str]) -> float:
    return label_width([shortened(name, 2 * LONGEST_NAME) for name in names])
