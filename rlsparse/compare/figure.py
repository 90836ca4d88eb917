"""The pictures of a report, laid out in inches: nothing overlaps, whatever the number of arms and environments."""

import json
import textwrap
from dataclasses import dataclass
from typing import Any, BinaryIO

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rlsparse.compare import overall
from rlsparse.compare.cells import Panel
from rlsparse.compare.comparison import Comparison, interval_name
from rlsparse.compare.interval import FEWEST
from rlsparse.compare.panels import LEADER, Styles, curve_labels, draw_curves, has_seed_lines, label_width, line_height
from rlsparse.compare.theme import PRINT, Theme, arm_styles, shortened

LEFT, GAP, TITLE, AXIS, MARGIN = 0.75, 0.3, 0.36, 0.36, 0.15
"""Inches: y tick labels, right of labels, title above and x tick labels below a panel, around everything."""

MOST_REMARKS = 8
"""On the picture; the page has all."""


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
    rows = -(-len(comparison.panels) // columns)
    size = _plot_size({1: (5.2, 3.2), 2: (3.2, 2.4), 3: (2.6, 2.1)}[columns], comparison, theme)
    cell_width, cell_height = LEFT + size[0] + _labels(comparison, theme) + GAP, TITLE + size[1] + AXIS
    width = 2 * MARGIN + max(columns * cell_width, 7.0)
    head = _wrapped(_head(comparison, statistic, theme), width)
    foot = _wrapped(_foot(comparison, theme), width)
    legend = [arm for arm in comparison.arms if len(arm) > theme.longest_name]
    parts = overall.parts(comparison, theme)
    overall_height = 0.15 + TITLE + AXIS + overall.rows_height(comparison) if parts else 0.0
    below = MARGIN + _height(foot) + bool(legend) * (0.16 * len(legend) + MARGIN)
    height = MARGIN + _height(head) + rows * cell_height + 0.3 + overall_height + MARGIN + below
    figure = _figure(width, height, theme)
    top = height - MARGIN - _height(head)
    _write_lines(figure, head, height - MARGIN)
    for i, panel in enumerate(comparison.panels):
        left = MARGIN + LEFT + (i % columns) * cell_width
        bottom = top - (i // columns) * cell_height - TITLE - size[1]
        draw_curves(_axes(figure, left, bottom, *size), panel, statistic, styles, theme, size)
    top -= rows * cell_height
    figure.text(
        (MARGIN + LEFT) / width, top / height, f"x: {comparison.x_label}", va="top", fontsize=9, color=theme.ink
    )
    if parts:
        _draw_parts(figure, parts, below + MARGIN + AXIS, overall.rows_height(comparison))
    _draw_legend(figure, legend, styles, theme, below)
    _write_lines(figure, foot, _height(foot) + MARGIN)
    return figure


def draw_panel(panel: Panel, comparison: Comparison, statistic: str, theme: Theme) -> Figure:
    """Draw one environment alone."""
    size = _plot_size((2.4, 2.1), comparison, theme)
    figure = _figure(LEFT + size[0] + _labels(comparison, theme), TITLE + size[1] + AXIS, theme)
    axes = _axes(figure, LEFT, AXIS, *size)
    draw_curves(axes, panel, statistic, arm_styles(comparison.arms, theme), theme, size)
    return figure


def draw_parts(comparison: Comparison, theme: Theme) -> list[Figure]:
    """Draw each of the results over environments alone."""
    figures = []
    for part in overall.parts(comparison, theme):
        inner = overall.rows_height(comparison)
        figure = _figure(part.names + 3.0 + GAP, TITLE + inner + AXIS, theme)
        part.draw(_axes(figure, part.names, AXIS, 3.0, inner))
        figures.append(figure)
    return figures


def _plot_size(size: tuple[float, float], comparison: Comparison, theme: Theme) -> tuple[float, float]:
    """Width and height in inches; high enough for the names of all arms."""
    return size[0], max(size[1], 1.05 * line_height(theme) * len(comparison.arms))


def _labels(comparison: Comparison, theme: Theme) -> float:
    return LEADER + label_width([x for panel in comparison.panels for x in curve_labels(panel, theme).values()], theme)


def _figure(width: float, height: float, theme: Theme) -> Figure:
    figure = Figure(figsize=(width, height), dpi=150, facecolor="white" if theme is PRINT else "none")
    FigureCanvasAgg(figure)
    return figure


def _draw_parts(figure: Figure, parts: list[overall.Part], bottom: float, height: float) -> None:
    """Draw the results over environments side by side."""
    width = figure.get_size_inches()[0]
    plot = min(3.2, (width - 2 * MARGIN - sum(part.names + GAP for part in parts)) / len(parts))
    left = MARGIN
    for part in parts:
        part.draw(_axes(figure, left + part.names, bottom, plot, height))
        left += part.names + plot + GAP


def save(figure: Figure, file: BinaryIO, suffix: str, block: dict[str, Any]) -> None:
    """Write a picture as .png, .pdf or .svg with a machine-readable account of it inside."""
    text = json.dumps(block)
    metadata: dict[str, dict[str, Any]] = {
        ".png": {"Description": text, "Software": "rlsparse"},
        ".pdf": {"Subject": text, "Creator": "rlsparse", "CreationDate": None},
        ".svg": {"Description": text, "Creator": "rlsparse", "Date": None},
    }
    with mpl.rc_context({"svg.hashsalt": "rlsparse"}):  # equal data make equal files
        figure.savefig(file, format=suffix[1:], metadata=metadata[suffix])


def _axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Any:
    w, h = figure.get_size_inches()
    return figure.add_axes((left / w, bottom / h, width / w, height / h))


def _head(comparison: Comparison, statistic: str, theme: Theme) -> list[Line]:
    measure = comparison.measure[0].upper() + comparison.measure[1:]
    lines = [Line(measure, 12, theme.ink, "bold"), Line(caption(comparison, statistic), 8.5, theme.muted)]
    lines += [Line(text, 8.5, theme.muted) for text in [steps_spent(comparison)] if text]
    lines += [Line(f"NOT ALIKE: {text}", 9, theme.warning, "bold") for text in comparison.mismatches]
    if comparison.caution:
        lines.append(Line(comparison.caution, 9, theme.warning, "bold"))
    return lines


def caption(comparison: Comparison, statistic: str) -> str:
    """Say what lines and bands are."""
    cells = [cell for panel in comparison.panels for cell in panel.cells.values() if cell.n]
    names = list(dict.fromkeys(interval_name(statistic, cell.n) for cell in cells if cell.n >= FEWEST))
    band = " / ".join(names) + (" (none where n < 3)" if any(cell.n < FEWEST for cell in cells) else "")
    band = f"; band: {band}" if names else "; no interval, n < 3"
    what = "mean" if statistic == "mean" else "interquartile mean (IQM)"
    thin = "; thin lines: seeds" if any(map(has_seed_lines, comparison.panels)) else ""
    crosses = "; crosses: seeds that stopped early, not averaged" if any(cell.left_out for cell in cells) else ""
    return f"Line: {what} over seeds (n at its end){band}{thin}{crosses}."


def steps_spent(comparison: Comparison) -> str:
    """Say how many steps of each of the three kinds were spent, as far as the logs know."""
    spent = [cell.spent for panel in comparison.panels for cell in panel.cells.values()]
    words = {"train": "training", "probe": "probing", "eval": "evaluation (never counted)"}
    texts = []
    for name, word in words.items():
        steps = sorted({round(x[name]) for x in spent if name in x})
        if steps:
            texts.append(f"{word} {steps[0]:,}" + (f" to {steps[-1]:,}" if len(steps) > 1 else ""))
    return f"Steps per seed: {', '.join(texts)}." if texts else ""


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


def _draw_legend(figure: Figure, arms: list[str], styles: Styles, theme: Theme, top: float) -> None:
    """Write out the names that are cut short elsewhere."""
    w, h = figure.get_size_inches()
    most = int((w - 2 * MARGIN - 0.4) * 72 / (theme.label_size * 0.58))
    for i, arm in enumerate(arms):
        y = (top - 0.16 * (i + 0.5)) / h
        axes = figure.add_axes((MARGIN / w, y, 0.3 / w, 0.01 / h))
        axes.axis("off")
        axes.plot([0, 1], [0, 0], clip_on=False, linewidth=2.2, **styles[arm])
        style: dict[str, Any] = {"fontsize": theme.label_size, "va": "center_baseline", "color": theme.ink}
        figure.text((MARGIN + 0.4) / w, y, shortened(arm, most), **style)
