"""The parts of a picture that tell of several environments together."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rlsparse.compare.comparison import Comparison
from rlsparse.compare.over_environments import Overall
from rlsparse.compare.panels import Row, Styles, draw_intervals, draw_profile, label_width
from rlsparse.compare.theme import Theme, arm_styles, shortened

ROW = 0.22
"""Inches per row of an interval plot."""


@dataclass(frozen=True)
class Part:
    """One pair of axes."""

    names: float
    """Inches that the names on its left need."""
    draw: Callable[[Any], None]
    """Draws it into axes."""


def parts(comparison: Comparison, theme: Theme) -> list[Part]:
    """Return what there is of: normalised IQM, performance profile, probability of improvement."""
    overall, styles = comparison.overall, arm_styles(comparison.arms, theme)
    if overall is None:
        return []
    found = []
    if overall.iqm:
        found.append(_iqm(overall, styles, theme, 1.0 if comparison.baseline else None))
        found.append(Part(0.55, lambda axes: draw_profile(axes, overall, styles, theme)))
    if overall.improvement:
        found.append(_improvement(overall, styles, theme))
    return found


def rows_height(comparison: Comparison) -> float:
    """Inches that the axes of the parts need."""
    overall = comparison.overall
    if overall is None:
        return 0.0
    return max(1.5 if overall.iqm else 0.4, ROW * max(len(overall.iqm), len(overall.improvement)))


def _iqm(overall: Overall, styles: Styles, theme: Theme, reference: float | None) -> Part:
    rows = [(_short(theme, arm), interval, styles[arm]) for arm, interval in overall.iqm.items()]
    title = f"Normalised IQM, {len(overall.environments)} environments"
    return Part(_width(rows, theme), lambda axes: draw_intervals(axes, rows, title, theme, reference))


def _improvement(overall: Overall, styles: Styles, theme: Theme) -> Part:
    rows = [(_short(theme, a, b), interval, styles[a]) for (a, b), (interval, _) in overall.improvement.items()]

    def draw(axes: Any) -> None:
        draw_intervals(axes, rows, f"P(improvement), {overall.shared} environments", theme, 0.5)
        axes.set_xlim(-0.02, 1.02)

    return Part(_width(rows, theme), draw)


def _short(theme: Theme, *arms: str) -> str:
    return " > ".join(shortened(arm, theme.longest_name) for arm in arms)


def _width(rows: list[Row], theme: Theme) -> float:
    return 0.2 + label_width([name for name, _, _ in rows], theme)
