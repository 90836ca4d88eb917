"""The picture of a landscape: what was measured, a smooth surface through it, and what the update believed."""

import textwrap
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rlsparse.compare.plot import AS_WRITTEN, INK, MUTED, WARNING
from rlsparse.trained.plane import limits
from rlsparse.trained.surface import Surface
from rlsparse.trained.survey import Kind, Survey

COLORS = colormaps["viridis"]
ACCENT = "#D55E00"
"""Of what the eye should find first: the update, the incumbent, the best sample."""

RESOLUTION = 160
"""Points of the surface along each axis."""

PALEST = 0.9
"""How white the surface becomes where nothing is known of it."""

LETTERS = 104
"""That fit into a line above the plot."""


@mpl.rc_context(AS_WRITTEN)
def draw_landscape(survey: Survey, title: str, remark: str, belief: str) -> Figure:
    """Draw a survey under its title: the returns under a remark, and beside them what the update believed."""
    bounds = limits(survey.coordinates)
    ratio = float(np.ptp(bounds[1]) / np.ptp(bounds[0]))
    to_scale = 0.4 < ratio < 1.2  # else the points lie so close to a line that nothing would be seen
    figure = Figure(figsize=(15.4, 1.55 + 6.4 * (ratio if to_scale else 0.7)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
    panels: Any = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, text in zip(panels, (remark, belief), strict=True):
        axes.set(xlim=bounds[0], ylim=bounds[1], aspect="equal" if to_scale else "auto")
        axes.set_title(textwrap.fill(text, LETTERS), loc="left", fontsize=8.5, color=MUTED)
        axes.set_xlabel("distance along the update, in parameter space", fontsize=9, color=INK)
    panels[0].set_ylabel("distance across it" + " (not to scale)" * (not to_scale), fontsize=9, color=INK)
    norm = _norm(survey.mean)
    _draw_surface(panels[0], survey, norm)
    _draw_points(panels[0], survey, survey.mean, norm)
    _draw_bar(figure, panels[0], norm, f"mean return of {survey.returns.shape[1]} episodes")
    figure.legend(loc="outside lower left", ncols=7, frameon=False, fontsize=8.5)
    norm = _norm(survey.height)
    _draw_height(panels[1], survey.height, norm)
    _draw_points(panels[1], survey, survey.surrogate[0], norm)
    _draw_bar(figure, panels[1], norm, "clipped surrogate on the update's own rollout")
    return figure


def _norm(heights: np.ndarray) -> BoundaryNorm:
    """Colours in steps of round numbers, over all but the outermost fortieths of what is drawn."""
    low, high = np.percentile(heights[np.isfinite(heights)], [2.5, 97.5])
    levels = MaxNLocator(14, steps=[1, 2, 2.5, 5, 10]).tick_values(low, max(high, low + 1e-6 * max(1.0, abs(low))))
    return BoundaryNorm(levels, COLORS.N, extend="both")


def _draw_surface(axes: Any, survey: Survey, norm: BoundaryNorm) -> None:
    """Draw the height of the surface through all measured points where the plane cuts it, paler where it is unsure."""
    known = survey.finite
    surface = Surface.fit(survey.coordinates[known], survey.mean[known])
    x, y = (np.linspace(low, high, RESOLUTION) for low, high in (axes.get_xlim(), axes.get_ylim()))
    grid = np.zeros((RESOLUTION**2, survey.coordinates.shape[1]))
    grid[:, :2] = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    height, unsure = (z.reshape(RESOLUTION, RESOLUTION) for z in surface(grid))
    _draw_height(axes, height, norm)
    veil = np.ones((*unsure.shape, 4))
    veil[..., 3] = PALEST * np.clip(unsure / max(survey.mean[known].std(), 1e-300), 0.0, 1.0)
    extent = (*axes.get_xlim(), *axes.get_ylim())
    axes.imshow(veil, extent=extent, origin="lower", aspect=axes.get_aspect(), interpolation="bilinear", zorder=1.2)


def _draw_height(axes: Any, height: np.ndarray, norm: BoundaryNorm) -> None:
    """Draw contours of heights [G, G] on a grid within the limits of the axes."""
    x, y = (np.linspace(low, high, len(height)) for low, high in (axes.get_xlim(), axes.get_ylim()))
    axes.contourf(x, y, height, levels=norm.boundaries, cmap=COLORS, norm=norm, extend="both", zorder=1)
    axes.contour(x, y, height, levels=norm.boundaries, colors="white", linewidths=0.6, alpha=0.7, zorder=1.1)


def _draw_bar(figure: Figure, axes: Any, norm: BoundaryNorm, label: str) -> None:
    """Say what the colours of a panel mean."""
    bar = figure.colorbar(ScalarMappable(norm, COLORS), ax=axes, spacing="proportional", extendfrac=0.04, pad=0.02)
    bar.minorticks_off()
    bar.set_label(label, fontsize=9, color=INK)


def _draw_points(axes: Any, survey: Survey, heights: np.ndarray, norm: BoundaryNorm) -> None:
    """Draw every measured point in the colour of its own height, and the update as a line to the incumbent."""
    place = survey.coordinates[:, :2]
    color = COLORS(norm(np.where(survey.finite, heights, np.nan)))
    before, after = survey.where("before")[0], survey.where("incumbent")[0]

    def scatter(kind: Kind, **style: Any) -> None:
        chosen = np.intersect1d(survey.where(kind), np.flatnonzero(survey.finite))
        axes.scatter(*place[chosen].T, c=color[chosen], **style)

    axes.plot(*place[[before, after]].T, color=ACCENT, linewidth=3.0, zorder=4.5, label="update")
    axes.scatter(*place[after], s=230, marker="*", color=ACCENT, edgecolors="white", zorder=8, label="incumbent")
    axes.plot(*place[survey.where("anchor")].T, color=INK, linewidth=1.0, zorder=5)
    scatter("anchor", s=36, edgecolors=INK, linewidths=1.1, zorder=6, label="anchors, in order")
    scatter("candidate", s=32, marker="D", edgecolors=INK, linewidths=0.8, zorder=4, label="candidates")
    scatter("sample", s=24, edgecolors="white", linewidths=0.7, zorder=3, label="samples")
    ring = {"s": 110, "facecolors": "none", "zorder": 7}
    axes.scatter(*place[survey.best], edgecolors="white", linewidths=3.6, **ring)
    axes.scatter(*place[survey.best], edgecolors=ACCENT, linewidths=1.9, label="best sample", **ring)
    failed = "not finite" * (not survey.finite.all())  # no label where there are none
    axes.scatter(*place[~survey.finite].T, s=30, marker="x", color=WARNING, zorder=7, label=failed)
