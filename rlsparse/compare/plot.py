"""Reward curves as pictures: colours and drawing of an arm, for the picture of one run and for comparisons."""

import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter

from rlsparse.compare.record import AXIS_LABELS, EVALUATION
from rlsparse.compare.statistics import mean_interval
from rlsparse.run.storage import write_atomic

BLUE = "#0072B2"
INK, MUTED, WARNING = "#111111", "#555555", "#B03A00"

COLORS = (BLUE, "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", INK)
"""Colours that colour-blind readers tell apart (Okabe and Ito, 2008), without pale yellow."""

DASHES: tuple[Any, ...] = ("solid", (0, (2.2, 1.1)), (0, (1, 0.7)), (0, (3, 0.8, 1, 0.8)))

AS_WRITTEN: dict[Any, Any] = {"text.parse_math": False}
"""Dollar signs in a name begin no formula."""

MOST_SEED_LINES = 40
"""With more seeds in one pair of axes, only mean and interval are drawn."""

MOST_POINTS = 10_000
"""Of a curve; ten for each pixel of a picture."""


def curves(rows: list[dict[str, float]]) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Return steps [P], mean returns [seeds, P] and the seeds, from the rows of progress.csv.

    Seeds that were evaluated after other numbers of steps, as probing makes them, are read off between theirs. P is at
    most MOST_POINTS, evenly spread over the evaluations.
    """
    seed, at, score = (np.array([row[name] for row in rows]) for name in ("seed", "total_steps", "return_mean"))
    order, steps = np.lexsort((score, at, seed)), np.unique(at)
    if len(steps) > MOST_POINTS:
        steps = steps[np.linspace(0, len(steps) - 1, MOST_POINTS).round().astype(int)]
    own = np.split(order, np.flatnonzero(np.diff(seed[order])) + 1)
    return steps, np.array([np.interp(steps, at[i], score[i]) for i in own]), [int(x) for x in np.unique(seed)]


def arm_styles(arms: list[str]) -> dict[str, dict[str, Any]]:
    """Return colour and line style of each arm: seven colours, then the same ones dashed."""
    return {
        arm: {"color": COLORS[i % len(COLORS)], "linestyle": DASHES[i // len(COLORS) % len(DASHES)]}
        for i, arm in enumerate(arms)
    }


def draw_arm(
    axes: Any, x: np.ndarray, center: np.ndarray, ends: tuple[np.ndarray, np.ndarray], seeds: np.ndarray, **style: Any
) -> None:
    """Draw a line [P], the band between its ends where they are numbers, and each of the seeds [n, P] faintly."""
    if 1 < len(seeds) <= MOST_SEED_LINES:
        axes.plot(x, seeds.T, color=style["color"], alpha=0.3, linewidth=0.7)
    if np.isfinite(ends[0]).all():
        axes.fill_between(x, *ends, color=style["color"], alpha=0.18, linewidth=0)
    marker = {"marker": "o", "markersize": 3} if len(x) == 1 else {}
    axes.plot(x, center, **{"linewidth": 2, **marker, **style})


def style_axes(axes: Any) -> None:
    """Short numbers on both axes, a faint grid, no box."""
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.10g}".replace("-", "\N{MINUS SIGN}")))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


@mpl.rc_context(AS_WRITTEN)
def draw_curve(rows: list[dict[str, float]], title: str, path: Path) -> None:
    """Draw return against environment steps: each seed faintly, their mean, its 95 % interval from 3 seeds on."""
    steps, returns, seeds = curves(rows)
    mean, half_width = mean_interval(returns)
    figure = Figure(figsize=(7, 4.2), layout="constrained", dpi=150)
    axes = figure.add_subplot()
    label = f"mean of {len(seeds)} seeds" if len(seeds) > 1 else f"seed {seeds[0]}"
    if np.isfinite(half_width).all():
        label += ", 95 % interval"
    draw_arm(axes, steps, mean, (mean - half_width, mean + half_width), returns, color=BLUE, label=label)
    axes.set(title=title, xlabel=AXIS_LABELS["steps"], ylabel=EVALUATION, xlim=(0, None))
    style_axes(axes)
    axes.legend(loc="lower right", frameon=False)
    FigureCanvasAgg(figure)
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix[1:])
    write_atomic(path, content.getvalue())
