"""What is drawn in one pair of axes: curves of an environment, a performance profile, intervals in rows."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from matplotlib.textpath import TextPath

from rlsparse.compare.cells import Cell, Panel
from rlsparse.compare.over_environments import Overall
from rlsparse.compare.plot import MOST_SEED_LINES, draw_arm, style_axes
from rlsparse.compare.statistics import Interval
from rlsparse.compare.theme import Theme, shortened

LEADER = 0.42
"""Inches between the end of a line and its name."""

Styles = dict[str, dict[str, Any]]

Row = tuple[str, Interval, dict[str, Any]]
"""A name, an estimate with its interval, and the style of its arm."""


def label_width(texts: Sequence[str], theme: Theme) -> float:
    """Width in inches that labels need."""
    return max((text_width(text, theme.label_size) for text in texts), default=0.0)


@cache
def text_width(text: str, size: float) -> float:
    """Width in inches of a line of text, `size` in points."""
    return float(TextPath((0, 0), text, size=size).get_extents().width) / 72 + 0.03


def line_height(theme: Theme) -> float:
    """Inches from one label to the next."""
    return 1.35 * theme.label_size / 72


def curve_labels(panel: Panel, theme: Theme) -> dict[str, str]:
    """What stands at the end of each arm's line."""
    return {arm: f"{shortened(arm, theme.longest_name)}, {cell.n_text}" for arm, cell in panel.cells.items()}


def has_seed_lines(panel: Panel) -> bool:
    """Whether single seeds are drawn: there are some behind each mean, and not too many."""
    return 1 < sum(cell.n for cell in panel.cells.values()) <= MOST_SEED_LINES


def draw_curves(
    axes: Any, panel: Panel, statistic: str, styles: Styles, theme: Theme, size: tuple[float, float]
) -> None:
    """Draw the arms of an environment, each named at the end of its line; `size` of the axes in inches."""
    ends = {}
    for arm, cell in panel.cells.items():
        _draw_left_out(axes, cell, panel, styles[arm])
        center, low, high = cell.mean if statistic == "mean" else cell.iqm
        if cell.n:
            seeds = cell.returns if has_seed_lines(panel) else cell.returns[:0]
            draw_arm(axes, cell.x, center, (low, high), seeds, **styles[arm])
            ends[arm] = float(center[-1])
    if panel.end > panel.start:
        axes.set_xlim(panel.start, panel.end)
    _finish(axes, panel.env, theme)
    style_axes(axes)
    _label_ends(axes, curve_labels(panel, theme), ends, styles, theme, size)


def _draw_left_out(axes: Any, cell: Cell, panel: Panel, style: dict[str, Any]) -> None:
    """Draw the seeds that are not averaged, with a cross where they stop."""
    for seed in cell.left_out:
        inside = seed.x <= panel.end
        if inside.any():
            axes.plot(seed.x[inside], seed.y[inside], color=style["color"], alpha=0.5, linewidth=0.7, linestyle=":")
            axes.plot(seed.x[inside][-1:], seed.y[inside][-1:], "x", color=style["color"], markersize=6, zorder=5)


def _finish(axes: Any, title: str, theme: Theme) -> None:
    axes.set_title(title, fontsize=theme.label_size + 1.5, color=theme.ink, loc="left")
    axes.tick_params(labelsize=theme.label_size, color=theme.muted, labelcolor=theme.ink)
    axes.spines[:].set_color(theme.muted)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_facecolor("none")


def _label_ends(
    axes: Any, texts: dict[str, str], ends: dict[str, float], styles: Styles, theme: Theme, size: tuple[float, float]
) -> None:
    """Write each arm's name right of its line, moved up or down so that no two overlap; lineless arms come last."""
    width, height = size
    low, high = axes.get_ylim()
    at = {arm: (end - low) / (high - low) for arm, end in ends.items()}
    order = sorted(texts, key=lambda arm: at.get(arm, -1.0), reverse=True)
    places = spread([at.get(arm, 0.0) for arm in order], line_height(theme) / height)
    bend, swatch, text = (1 + x * LEADER / width for x in (0.25, 0.88, 1.0))
    free = {"transform": axes.transAxes, "clip_on": False}
    for arm, place in zip(order, places, strict=True):
        if arm in at:
            axes.plot([1, bend], [at[arm], place], color=styles[arm]["color"], linewidth=1.2, **free)
        axes.plot([bend, swatch], [place] * 2, linewidth=2.2, **free, **styles[arm])
        style = {"fontsize": theme.label_size, "color": theme.ink, "va": "center_baseline"}
        axes.text(text, place, texts[arm], **free, **style)


def spread(places: list[float], gap: float) -> list[float]:
    """Move falling places apart to a distance of `gap` at least, as little as possible, within 0 to 1 if they fit."""
    blocks: list[list[float]] = []  # of neighbours that touch: sum of wishes for the first one, how many
    for i, place in enumerate(places):
        blocks.append([min(1.0, max(0.0, place)) + i * gap, 1.0])
        while len(blocks) > 1 and blocks[-1][0] / blocks[-1][1] > blocks[-2][0] / blocks[-2][1]:
            wishes, members = blocks.pop()
            blocks[-1] = [blocks[-1][0] + wishes, blocks[-1][1] + members]
    firsts = [wishes / members for wishes, members in blocks for _ in range(int(members))]
    apart = [first - i * gap for i, first in enumerate(firsts)]
    for i in reversed(range(len(apart))):
        apart[i] = max(apart[i], 0.0 if i == len(apart) - 1 else apart[i + 1] + gap)
    for i in range(len(apart)):
        apart[i] = min(apart[i], 1.0 if i == 0 else apart[i - 1] - gap)
    return apart


def draw_profile(axes: Any, overall: Overall, styles: Styles, theme: Theme) -> None:
    """Draw the share of runs above each normalised score."""
    for arm, (center, low, high) in overall.profiles.items():
        draw_arm(axes, overall.thresholds, center, (low, high), np.empty((0, len(center))), **styles[arm])
    axes.set(ylim=(0, 1.02), xlim=(overall.thresholds[0], overall.thresholds[-1]))
    axes.grid(alpha=0.25)
    _finish(axes, "Share of runs above a score", theme)


def draw_intervals(axes: Any, rows: Sequence[Row], title: str, theme: Theme, reference: float | None) -> None:
    """Draw estimates with intervals, one row each, named on the left; a dotted line at `reference`."""
    for i, ((center, low, high), style) in enumerate(row[1:] for row in rows):
        if np.isfinite(low):
            axes.plot([low, high], [i, i], color=style["color"], linewidth=5, alpha=0.35, solid_capstyle="butt")
        axes.plot([center], [i], "o", color=style["color"], markersize=6)
    if reference is not None:
        axes.axvline(reference, color=theme.muted, linewidth=1, linestyle=":")
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [row[0] for row in rows])
    axes.grid(axis="x", alpha=0.25)
    _finish(axes, title, theme)
