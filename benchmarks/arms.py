"""Arms of a learning benchmark: train each with several seeds, keep its curve, compare it seed by seed with another.

What the benchmarks share that compare ways to learn. An arm's curve lies in <folder>/<arm>/<environment>.csv.
"""

import argparse
import csv
import io
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from rlsparse.compare.plot import curves, draw_arm, style_axes
from rlsparse.compare.statistics import iqm, mean_interval
from rlsparse.run import cards
from rlsparse.run.directory import read_progress
from rlsparse.run.storage import write_atomic

RESAMPLES = 10_000

Scores = dict[str, dict[str, dict[int, float]]]
"""Final return by arm, environment and seed."""
CurveFile = Callable[[str, str], Path]
"""Where the curve of an arm on an environment is, or would be."""


def train(curve: Path, env_id: str, steps: int, num_seeds: int, flags: Sequence[str]) -> None:
    """Train seeds 0, 1, ... on one environment, but for those that the curve has; each is as if it were alone."""
    first = len(finals(curve)) if curve.exists() else 0
    if first >= num_seeds:
        return
    curve.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch) / "run"
        command = ["-m", "rlsparse.train", "--env", env_id, "--quiet", "--total-steps", str(steps)]
        command += ["--seed", str(first), "--num-seeds", str(num_seeds - first), "--run-dir", str(run)]
        subprocess.run([sys.executable, *command, *flags], check=True)
        add_rows(run / "progress.csv", curve)
        if (run / "probe.csv").exists():  # single scores are left out, for they are many
            add_rows(run / "probe.csv", curve.with_suffix(".probe.csv"), without=("scores", "errors"))


def add_rows(source: Path, target: Path, without: Sequence[str] = ()) -> None:
    """Add a run's rows to those of other seeds, in one step; "nan" stands for what only the others tell."""
    files = (target, source) if target.exists() else (source,)
    rows = [row for file in files for row in csv.DictReader(file.open(newline=""))]
    names = dict.fromkeys(name for row in rows for name in row if name not in without)
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="nan", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(target, text.getvalue())


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
    return f"{mean:,.0f} ({mean - half_width:,.0f} to {mean + half_width:,.0f}, {len(scores)})"


def ratio_text(scores: Scores, arm: str, other: str) -> str:
    """Compare two arms over the environments that both have, seed by seed."""
    pairs = [paired(own, scores[other][env]) for env, own in scores[arm].items() if env in scores.get(other, {})]
    if not pairs or arm == other:
        return ""
    center, low, high = ratio_interval(*zip(*pairs, strict=True))
    return f"{center:.2f} ({low:.2f} to {high:.2f}), n = {'/'.join(str(len(own)) for own, _ in pairs)}"


def draw_curves(
    path: Path,
    envs: Sequence[str],
    colours: dict[str, str],
    main: Sequence[str],
    curve_file: Callable[[str, str], Path],
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
    figure.axes[0].legend(loc="upper left", frameon=False, fontsize=7)
    figure.supxlabel("environment steps per seed (train + probe)", fontsize=9)
    figure.supylabel("evaluation return, mean (95 % interval of two)", fontsize=9)
    figure.savefig(path)


def main(
    doc: str | None,
    arms: Iterable[str],
    envs: Sequence[str],
    results: Path,
    flags: Callable[[str, str, int], Sequence[str]],
    report: Callable[[Path], None],
) -> None:
    """Do what the command line says: train arms by their `flags(arm, env, steps)`, and report every budget."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "report"))
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--arms", nargs="*", default=list(arms), choices=list(arms), metavar="ARM")
    parser.add_argument("--envs", nargs="*", default=envs)
    parser.add_argument("--num-seeds", type=int, default=5)
    asked = parser.parse_args()
    for arm in asked.arms if asked.what == "run" else ():
        for env in map(cards.resolve_environment, asked.envs):
            curve = results / str(asked.steps) / arm / f"{env}.csv"
            train(curve, env, asked.steps, asked.num_seeds, flags(arm, env, asked.steps))
    for folder in sorted((x for x in results.glob("[0-9]*") if x.is_dir()), key=lambda x: int(x.name)):
        report(folder)
