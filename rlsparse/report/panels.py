"""What is drawn in one pair of axes: curves of an environment, a performance profile, intervals in rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rlsparse.comparison.cells import Cell, Panel
from rlsparse.comparison.contrasts import Overall
from rlsparse.plot import draw_arm, style_axes
from rlsparse.report.theme import Theme, shortened
from rlsparse.statistics.aggregate import Interval

LABEL_SIZE = 8.0
"""Points."""

LONGEST_NAME = 24
"""Characters of an arm's name in a label; the legend has it whole."""

Styles = dict[str, dict[str, Any]]


def label_width(texts: Sequence[str]) -> float:
    """Width in inches that labels beside a line need."""
    return (0.62 * LABEL_SIZE * max(map(len, texts), default=0) + 18) / 72


def curve_labels(panel: Panel) -> dict[str, str]:
    """What stands at the end of each arm's line."""
    return {arm: f"{shortened(arm, LONGEST_NAME)}, {cell.n_text}" for arm, cell in panel.cells.items()}


def draw_curves(axes: Any, panel: Panel, statistic: str, styles: Styles, theme: Theme, height: float) -> None:
    """Draw the arms of an environment, `height` inches high, each named at the end of its line."""
    ends = {}
    for arm, cell in panel.cells.items():
        _draw_left_out(axes, cell, panel, styles[arm])
        center, low, high = cell.mean if statistic == "mean" else cell.iqm
        if cell.n:
            draw_arm(axes, cell.x, center, (low, high), cell.returns, **styles[arm])
            ends[arm] = float(center[-1])
    if panel.end > panel.start:
        axes.set_xlim(min(panel.start, 0.1 * panel.end) if panel.start > 0 else panel.start, panel.end)
    axes.set_title(panel.env, fontsize=10, color=theme.ink, loc="left")
    style_axes(axes)
    _color_axes(axes, theme)
    missing = [arm for arm in panel.cells if arm not in ends]
    _label_ends(axes, curve_labels(panel), ends, missing, styles, theme, height)


def _draw_left_out(axes: Any, cell: Cell, panel: Panel, style: dict[str, Any]) -> None:
    """Draw the seeds that are not averaged, with a cross where they stop."""
    for seed in cell.left_out:
        inside = seed.x <= panel.end
        if inside.any():
            axes.plot(seed.x[inside], seed.y[inside], color=style["color"], alpha=0.5, linewidth=0.7, linestyle=":")
            axes.plot(seed.x[inside][-1:], seed.y[inside][-1:], "x", color=style["color"], markersize=5)


def _color_axes(axes: Any, theme: Theme) -> None:
    axes.tick_params(labelsize=LABEL_SIZE, color=theme.muted, labelcolor=theme.ink)
    for spine in axes.spines.values():
        spine.set_color(theme.muted)
    axes.grid(color=theme.muted, alpha=0.25, linewidth=0.6)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(theme.ink)
    axes.set_facecolor("none")


def _label_ends(
    axes: Any, texts: dict[str, str], ends: dict[str, float], missing: list[str], styles: Styles, theme: Theme,
    height: float,
) -> None:  # fmt: skip
    """Write each arm's name right of its line, moved up or down so that no two overlap."""
    low, high = axes.get_ylim()
    line = 1.35 * LABEL_SIZE / 72 / height
    order = sorted(ends, key=lambda arm: ends[arm], reverse=True)
    places = spread([(ends[arm] - low) / (high - low) for arm in order], line)
    places += [(places[-1] if places else 1.0) - line * (i + 1) for i in range(len(missing))]
    for arm, place in zip(order + missing, places, strict=True):
        if arm in ends:
            at = (ends[arm] - low) / (high - low)
            axes.plot(
                [1, 1.03], [at, place], transform=axes.transAxes, clip_on=False, linewidth=1.2,
                color=styles[arm]["color"],
            )  # fmt: skip
        axes.plot([1.03, 1.08], [place] * 2, transform=axes.transAxes, clip_on=False, linewidth=2.2, **styles[arm])
        axes.text(
            1.095, place, texts[arm], transform=axes.transAxes, fontsize=LABEL_SIZE, va="center_baseline",
            color=theme.ink,
        )  # fmt: skip


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
    axes.set_title("Share of runs above a normalised score", fontsize=10, color=theme.ink, loc="left")
    style_axes(axes)
    _color_axes(axes, theme)


def draw_intervals(
    axes: Any, rows: dict[str, tuple[Interval, dict[str, Any]]], title: str, theme: Theme, reference: float | None
) -> None:
    """Draw estimates with intervals, one row each, named on the left; a dotted line at `reference`."""
    for i, ((center, low, high), style) in enumerate(rows.values()):
        if np.isfinite(low):
            axes.plot([low, high], [i, i], color=style["color"], linewidth=5, alpha=0.35, solid_capstyle="butt")
        axes.plot([center], [i], "o", color=style["color"], markersize=6)
    if reference is not None:
        axes.axvline(reference, color=theme.muted, linewidth=1, linestyle=":")
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [shortened(name, 2 * LONGEST_NAME) for name in rows])
    axes.set_title(title, fontsize=10, color=theme.ink, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    _color_axes(axes, theme)
