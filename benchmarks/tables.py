"""What a benchmark reports: a table of final returns, arms compared seed by seed, and a picture of curves."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from rlsparse.compare.plot import curves, draw_arm, style_axes
from rlsparse.compare.statistics import iqm, mean_interval
from rlsparse.run.directory import read_progress

RESAMPLES = 10_000

Scores = dict[str, dict[str, dict[int, float]]]
"""Final return by arm, environment and seed."""
CurveFile = Callable[[str, str], Path]
"""Where the curve of an arm on an environment is, or would be."""


def finals(curve: Path) -> dict[int, float]:
    """Return the last evaluation of every seed."""
    return {int(row["seed"]): row["return_mean"] for row in read_progress(curve)}


def all_finals(arms: Iterable[str], envs: Iterable[str], curve_file: CurveFile) -> Scores:
    """Return the last evaluations of all arms on the environments where they have a curve."""
    return {a: {e: finals(curve_file(a, e)) for e in envs if curve_file(a, e).exists()} for a in arms}


def paired(own: dict[int, float], other: dict[int, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores of the seeds that both have, in the same order."""
    seeds = sorted(own.keys() & other.keys())
    return np.array([own[seed] for seed in seeds]), np.array([other[seed] for seed in seeds])


def ratio_interval(arm: Sequence[np.ndarray], baseline: Sequence[np.ndarray]) -> tuple[float, float, float]:
    """IQM of the arm over IQM of the baseline, with its 95 % interval.

    One array [seeds] per environment; both are divided by the baseline's mean there. The bootstrap resamples seeds
    within each environment, the same in both arms: runs of one seed share initial weights, environments and noise.
    """
    generator = np.random.default_rng(0)
    scales = [b.mean() for b in baseline]
    picks = [generator.integers(0, len(b), (len(b), RESAMPLES)) for b in baseline]

    def pooled(scores: Sequence[np.ndarray], drawn: bool) -> np.ndarray:
        parts = [x[pick] if drawn else x[:, None] for x, pick in zip(scores, picks, strict=True)]
        return iqm(np.concatenate([part / scale for part, scale in zip(parts, scales, strict=True)]))

    low, high = np.quantile(pooled(arm, True) / pooled(baseline, True), [0.025, 0.975])
    return float(pooled(arm, False)[0] / pooled(baseline, False)[0]), float(low), float(high)


def print_table(scores: Scores, envs: Sequence[str], others: dict[str, Callable[[str], str]]) -> None:
    """Print mean final returns and, under each title in `others`, the ratio to the arm that it names for an arm."""
    print("".join([f"{'arm':<26}", *(f"{head:<34}" for head in (*envs, *others))]))
    for arm, own in scores.items():
        cells = [mean_text(own.get(env, {})) for env in envs]
        cells += [ratio_text(scores, arm, other(arm)) for other in others.values()]
        print("".join([f"{arm:<26}", *(f"{cell:<34}" for cell in cells)]))


def mean_text(scores: dict[int, float]) -> str:
    """Say mean, interval and number of seeds."""
    if not scores:
        return ""
    mean, half_width = mean_interval(np.array([*scores.values()]))
    interval = f"{mean - half_width:,.0f} to {mean + half_width:,.0f}, " if np.isfinite(half_width) else ""
    return f"{mean:,.0f} ({interval}{len(scores)})"


def ratio_text(scores: Scores, arm: str, other: str) -> str:
    """Compare two arms over the environments that both have, seed by seed."""
    pairs = [paired(own, scores[other][env]) for env, own in scores[arm].items() if env in scores.get(other, {})]
    if not pairs or arm == other:
        return ""
    center, low, high = ratio_interval(*zip(*pairs, strict=True))
    return f"{center:.2f} ({low:.2f} to {high:.2f}), n = {'/'.join(str(len(own)) for own, _ in pairs)}"


def draw_curves(
    path: Path, envs: Sequence[str], colours: dict[str, str], main: Sequence[str], curve_file: CurveFile
) -> None:
    """Draw the mean curve of every arm that has a colour, with intervals of the `main` ones, lest they hide all."""
    figure = Figure(figsize=(4.6 * len(envs), 4.0), layout="constrained", dpi=130)
    for axes, env in zip(figure.subplots(1, len(envs), squeeze=False)[0], envs, strict=True):
        for arm in (arm for arm in colours if curve_file(arm, env).exists()):
            steps, returns, seeds = curves(read_progress(curve_file(arm, env)))
            mean, half = mean_interval(returns)
            half = half if arm in main else np.full_like(half, np.nan)
            style = {
                "color": colours[arm],
                "label": f"{arm}, n = {len(seeds)}",
                "linewidth": 2.2 if arm in main else 1.2,
            }
            draw_arm(axes, steps, mean, (mean - half, mean + half), returns[:0], **style)
        axes.set(title=env, xlim=(0, None))
        style_axes(axes)
    for axes in [axes for axes in figure.axes if axes.lines][:1]:
        axes.legend(loc="upper left", frameon=False, fontsize=7)
    figure.supxlabel("environment steps per seed (train + probe)", fontsize=9)
    figure.supylabel("evaluation return, mean (95 % interval of two)", fontsize=9)
    figure.savefig(path)
