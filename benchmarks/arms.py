"""Arms of a learning benchmark: train each with several seeds, keep its curve, compare it seed by seed with another.

What the benchmarks share that compare ways to learn. An arm's curve lies in <folder>/<arm>/<environment>.csv.
"""

import csv
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rlsparse.plot import curves
from rlsparse.runs import read_progress
from rlsparse.statistics.aggregate import iqm

RESAMPLES = 10_000


def train(curve: Path, env_id: str, steps: int, num_seeds: int, flags: Sequence[str]) -> None:
    """Train seeds 0, 1, ... on one environment, unless the curve is there with as many."""
    if curve.exists() and len(curves(read_progress(curve))[2]) >= num_seeds:
        return
    curve.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch) / "run"
        command = ["-m", "rlsparse.train", "--env", env_id, "--num-seeds", str(num_seeds), "--quiet"]
        command += ["--total-steps", str(steps), "--run-dir", str(run)]
        subprocess.run([sys.executable, *command, *flags], check=True)
        keep(run, curve)


def keep(run: Path, curve: Path) -> None:
    """Copy a run's curve, and beside it its account of probes without the single scores, which are many."""
    shutil.copyfile(run / "progress.csv", curve)
    if (run / "probe.csv").exists():
        rows = list(csv.DictReader((run / "probe.csv").open()))
        with open(curve.with_suffix(".probe.csv"), "w", newline="") as file:
            kept = [name for name in rows[0] if name not in ("scores", "errors")]
            writer = csv.DictWriter(file, kept, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)


def finals(curve: Path) -> dict[int, float]:
    """Return the last evaluation of every seed."""
    return {int(row["seed"]): row["return_mean"] for row in read_progress(curve)}


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
