"""The picture of a landscape: a smooth surface of returns in a plane, what was measured around it, how sure it is."""

import math
import textwrap
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, Polygon
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from rlsparse.compare.plot import INK, MUTED, WARNING
from rlsparse.trained.plane import convex_hull
from rlsparse.trained.surface import Surface
from rlsparse.trained.survey import Kind, Survey

COLORS = colormaps["viridis"]
ACCENT = "#D55E00"
"""Of what the eye should find first: the update, the incumbent, the best sample."""

WIDTH, LEFT, PLOT, BAR, MARGIN, BELOW = 8.4, 0.8, 6.35, 0.16, 0.14, 0.98
"""Inches: the picture; left of the plot; the plot; the colours' scale; around texts; below the plot
for its labels and the legend."""

HEIGHTS = (3.4, 6.2)
"""Inches of the plot, at least and at most."""

TEXT, SMALL = 8.5, 7.5
"""Points of the letters above and below the plot."""

RESOLUTION = 160
"""Points of the surface along each axis."""

PALEST = 0.85
"""How white the surface becomes where nothing is known of it."""


def draw_landscape(survey: Survey, title: str, remarks: list[str], method: list[str], warning: str = "") -> Figure:
    """Draw a survey, `remarks` and `warning` above it and the `method` below, each text beginning a line."""
    above = [*_wrapped(remarks, TEXT, MUTED), *_wrapped([warning], TEXT, WARNING)]
    below = _wrapped(method, SMALL, MUTED)
    limits, plot_height, stretch = _layout(survey)
    bottom = BELOW + _height(below) + MARGIN
    height = bottom + plot_height + 0.2 + _height(above) + 0.42
    figure = Figure(figsize=(WIDTH, height), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    figure.text(MARGIN / WIDTH, 1 - MARGIN / height, title, va="top", fontsize=12, fontweight="bold", color=INK)
    _write(figure, above, height - 0.42)
    _write(figure, below, _height(below) + MARGIN)
    axes: Any = figure.add_axes((LEFT / WIDTH, bottom / height, PLOT / WIDTH, plot_height / height))
    bar: Any = figure.add_axes(((LEFT + PLOT + 0.15) / WIDTH, bottom / height, BAR / WIDTH, plot_height / height))
    axes.set(xlim=limits[0], ylim=limits[1])
    norm = _norm(survey)
    _draw_surface(axes, survey, norm)
    _draw_points(axes, survey, norm)
    _draw_update(axes, survey)
    _style(axes, stretch)
    _draw_bar(figure, bar, survey, norm)
    figure.legend(
        handles=_legend(survey),
        loc="lower left",
        bbox_to_anchor=(0.5 * LEFT / WIDTH, (_height(below) + MARGIN) / height),
        ncols=3,
        frameon=False,
        fontsize=TEXT,
        labelcolor=INK,
        columnspacing=2.0,
        handletextpad=0.6,
    )
    return figure


Line = tuple[str, float, str]
"""A line of text, its size in points, its colour."""


def _wrapped(texts: list[str], size: float, color: str) -> list[Line]:
    letters = int((WIDTH - 2 * MARGIN) * 72 / (0.52 * size))
    return [(line, size, color) for text in texts for line in textwrap.wrap(text, letters)]


def _height(lines: list[Line]) -> float:
    return sum(1.4 * size / 72 for _, size, _ in lines)


def _write(figure: Figure, lines: list[Line], top: float) -> None:
    """Write lines from `top` down, in inches."""
    height = figure.get_size_inches()[1]
    for text, size, color in lines:
        figure.text(MARGIN / WIDTH, top / height, text, va="top", fontsize=size, color=color)
        top -= 1.4 * size / 72


def _layout(survey: Survey) -> tuple[np.ndarray, float, float]:
    """Return the limits of x and y, the plot's height in inches, and by how much y is stretched against x.

    Distances look as they are, unless the points lie so close to a line, or are so few, that nothing would be seen.
    """
    place = survey.coordinates[:, :2]
    low, high = place.min(0), place.max(0)
    extent = high - low
    extent = np.maximum(extent, 0.05 * extent.max())
    centre, extent = (low + high) / 2, 1.12 * extent
    height = PLOT * extent[1] / extent[0]
    if height > HEIGHTS[1]:
        extent[0] *= height / HEIGHTS[1]
    drawn = float(np.clip(height, *HEIGHTS))
    limits = np.stack([centre - extent / 2, centre + extent / 2], 1)
    return limits, drawn, max(drawn / height, 1.0)


def _norm(survey: Survey) -> BoundaryNorm:
    """Colours in steps of round numbers, over all but the outermost fortieths of the measured returns."""
    low, high = np.percentile(survey.mean[survey.finite], [2.5, 97.5])
    levels = MaxNLocator(14, steps=[1, 2, 2.5, 5, 10]).tick_values(low, max(high, low + 1e-6 * max(1.0, abs(low))))
    return BoundaryNorm(levels, COLORS.N, extend="both")


def _draw_surface(axes: Any, survey: Survey, norm: BoundaryNorm) -> None:
    """Fill the convex hull of all measured points with the surface's height in the plane, paler where it is unsure."""
    known = survey.finite
    hull = convex_hull(survey.coordinates[known, :2])
    if len(hull) < 3:
        return
    surface = Surface.fit(survey.coordinates[known], survey.mean[known])
    x, y = (np.linspace(low, high, RESOLUTION) for low, high in (axes.get_xlim(), axes.get_ylim()))
    grid = np.zeros((RESOLUTION**2, survey.coordinates.shape[1]))
    grid[:, :2] = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    height, unsure = (z.reshape(RESOLUTION, RESOLUTION) for z in surface(grid))
    filled = axes.contourf(x, y, height, levels=norm.boundaries, cmap=COLORS, norm=norm, extend="both", zorder=1)
    lines = axes.contour(
        x, y, height, levels=norm.boundaries, colors="white", linewidths=0.6, linestyles="solid", alpha=0.7, zorder=1.1
    )
    veil = np.ones((*unsure.shape, 4))
    veil[..., 3] = PALEST * np.clip(unsure / max(survey.mean[known].std(), 1e-300), 0.0, 1.0)
    extent = (*axes.get_xlim(), *axes.get_ylim())
    white = axes.imshow(veil, extent=extent, origin="lower", aspect="auto", interpolation="bilinear", zorder=1.2)
    outline = Polygon(hull, closed=True, transform=axes.transData)
    for drawn in (filled, lines, white):
        drawn.set_clip_path(outline)


def _draw_points(axes: Any, survey: Survey, norm: BoundaryNorm) -> None:
    """Draw every measured point in the colour of its own mean return."""
    place = survey.coordinates[:, :2]
    color = COLORS(norm(np.where(survey.finite, survey.mean, np.nan)))

    def scatter(kind: Kind, **style: Any) -> None:
        chosen = np.intersect1d(survey.where(kind), np.flatnonzero(survey.finite))
        axes.scatter(*place[chosen].T, c=color[chosen], **style)

    scatter("sample", s=24, marker="o", edgecolors="white", linewidths=0.7, zorder=3)
    scatter("candidate", s=32, marker="D", edgecolors=INK, linewidths=0.8, zorder=4)
    anchors = survey.where("anchor")
    halo = withStroke(linewidth=2.6, foreground="white")
    axes.plot(*place[anchors].T, color=INK, linewidth=1.0, zorder=5, path_effects=[halo])
    scatter("anchor", s=36, marker="o", edgecolors=INK, linewidths=1.1, zorder=6)
    axes.annotate(
        "1",
        place[anchors[0]],
        xytext=(0, 6),
        textcoords="offset points",
        ha="center",
        fontsize=8,
        fontweight="bold",
        path_effects=[halo],
        zorder=9,
    )
    ring = {"marker": "o", "facecolors": "none", "zorder": 7}
    axes.scatter(*place[survey.best], s=110, edgecolors="white", linewidths=3.6, **ring)
    axes.scatter(*place[survey.best], s=110, edgecolors=ACCENT, linewidths=1.9, **ring)
    axes.scatter(*place[~survey.finite].T, s=30, marker="x", color=WARNING, linewidths=1.2, zorder=7)


def _draw_update(axes: Any, survey: Survey) -> None:
    """Draw the arrow from the policy before the update to the one after it, the incumbent."""
    place = survey.coordinates[:, :2]
    before, after = place[survey.where("before")[0]], place[survey.where("incumbent")[0]]
    arrow = FancyArrowPatch(
        before,
        after,
        arrowstyle="-|>",
        mutation_scale=14,
        linewidth=1.6,
        color=ACCENT,
        zorder=5.5,
        shrinkA=0,
        shrinkB=6,
    )
    arrow.set_path_effects([withStroke(linewidth=3.4, foreground="white")])
    axes.add_patch(arrow)
    axes.scatter(*after, s=230, marker="*", color=ACCENT, edgecolors="white", linewidths=1.0, zorder=8)


def _style(axes: Any, stretch: float) -> None:
    axes.set_facecolor("#F5F5F5")
    stretched = f" (stretched {stretch:.1f} times)" if stretch > 1.05 else ""
    axes.set_xlabel("distance along the update, in parameter space", fontsize=9, color=INK)
    axes.set_ylabel(f"distance across it{stretched}", fontsize=9, color=INK)
    axes.tick_params(labelsize=8, color="#999999", labelcolor=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")


def _draw_bar(figure: Figure, bar: Any, survey: Survey, norm: BoundaryNorm) -> None:
    """Draw the colours' scale; on it the incumbent, and to both sides of it its standard error."""
    drawn = figure.colorbar(ScalarMappable(norm, COLORS), cax=bar, spacing="proportional", extendfrac=0.04)
    drawn.minorticks_off()
    drawn.set_label(f"mean return of {survey.returns.shape[1]} episodes", fontsize=9, color=INK)
    drawn.outline.set_visible(False)  # type: ignore[operator]
    bar.tick_params(labelsize=8, color="#999999", labelcolor=INK)
    bar.yaxis.set_major_formatter(lambda y, _: f"{y:,.10g}".replace("-", "\N{MINUS SIGN}"))
    incumbent, error = survey.incumbent
    if math.isfinite(incumbent):
        ends = np.clip([incumbent - error, incumbent + error], norm.boundaries[0], norm.boundaries[-1])
        bar.plot([0.5, 0.5], ends, color=INK, linewidth=1.3, marker="_", markersize=6, zorder=9)
        at = np.clip(incumbent, norm.boundaries[0], norm.boundaries[-1])
        bar.scatter([0.5], [at], s=110, marker="*", color=ACCENT, edgecolors="white", clip_on=False, zorder=10)


def _legend(survey: Survey) -> list[Line2D]:
    def mark(marker: str, label: str, **style: Any) -> Line2D:
        return Line2D([], [], linestyle="none", marker=marker, label=label, **style)

    measured = {"markerfacecolor": COLORS(0.55), "markersize": 6}
    marks = [
        mark("*", "incumbent; on the scale ± its error", color=ACCENT, markersize=12, markeredgecolor="white"),
        mark(r"$\rightarrow$", "the update", color=ACCENT, markersize=14),
        mark("o", "anchors, joined in order of time", markeredgecolor=INK, **measured),
        mark("D", "candidates", markeredgecolor=INK, **measured),
        mark("o", "samples", markeredgecolor="white", **measured),
        mark("o", "best sample", markerfacecolor="none", markeredgecolor=ACCENT, markeredgewidth=1.9, markersize=9),
    ]
    if not survey.finite.all():
        marks.append(mark("x", "a return was not finite", color=WARNING))
    return marks
