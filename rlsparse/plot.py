"""The reward curve of one run as a picture."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from rlsparse.interval import mean_interval

BLUE = "#0072B2"


def curves(rows: list[dict[str, float]]) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Return steps [P], mean returns [seeds, P] and the seeds, from the rows of progress.csv."""
    seeds = sorted({int(row["seed"]) for row in rows})
    steps = sorted({row["total_steps"] for row in rows})
    at = {(int(row["seed"]), row["total_steps"]): row["return_mean"] for row in rows}
    return np.array(steps), np.array([[at[seed, step] for step in steps] for seed in seeds]), seeds


def draw_curve(rows: list[dict[str, float]], title: str, path: Path) -> None:
    """Draw return against environment steps: each seed faintly, their mean, its 95 % interval from 3 seeds on."""
    steps, returns, seeds = curves(rows)
    mean, half_width = mean_interval(returns)
    figure = Figure(figsize=(7, 4.2), layout="constrained", dpi=150)
    axes = figure.add_subplot()
    axes.plot(steps, returns.T, color=BLUE, alpha=0.3, linewidth=0.8)
    label = f"mean of {len(seeds)} seeds" if len(seeds) > 1 else f"seed {seeds[0]}"
    if np.isfinite(half_width).all():
        label += ", 95 % interval"
        axes.fill_between(steps, mean - half_width, mean + half_width, color=BLUE, alpha=0.2, linewidth=0)
    axes.plot(steps, mean, color=BLUE, linewidth=2, label=label)
    axes.set(
        title=title,
        xlabel="environment steps per seed (train + probe)",
        ylabel="evaluation return",
        xlim=(0, None),
    )
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False)
    FigureCanvasAgg(figure)
    figure.savefig(path)
