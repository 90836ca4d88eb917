"""Ant covers ground: marginal gains of coverage as reward, against the modular reward that forgets what was seen.

    python examples/ant_coverage.py --total-steps 300000 --num-seeds 5

trains both, prints how many 0.4 m cells of a 40 m square their evaluation episodes cover, and draws the cells of one
episode of every seed. A run that is in --out already is not repeated. Source: Prajapat et al., arXiv 2307.13372.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rlsparse import sim
from rlsparse.compare.statistics import mean_interval
from rlsparse.learner.streams import env_seeds
from rlsparse.run import cards, policy_file
from rlsparse.run.directory import read_progress
from rlsparse.sim.episodes import evaluate

ARMS = {"marginal": "marginal gains (SubPO)", "modular": "modular reward"}
FLAGS = "--env Ant --advantage submodular --advantage.projection position --advantage.set-function.radius 2"


def train(run: Path, arm: str, steps: int, num_seeds: int) -> None:
    """Train one arm, unless its run is there."""
    if (run / "summary.json").exists():
        return
    command = [sys.executable, "-m", "rlsparse.train", *FLAGS.split(), "--advantage.gain", arm, "--run-dir", str(run)]
    command += ["--total-steps", str(steps), "--num-seeds", str(num_seeds)]
    subprocess.run([*command, "--eval-every", str(steps // 2), "--eval-episodes", "2"], check=True)


def report(run: Path, label: str) -> None:
    """Print coverage before and after training, and the environment's own return, means over seeds."""
    rows = read_progress(run / "progress.csv")
    steps = max(row["total_steps"] for row in rows)
    for at in (0.0, steps):
        final = [row for row in rows if row["total_steps"] == at]
        mean, half = mean_interval(np.array([row["coverage"] for row in final]))
        seeds = ", ".join(f"{row['coverage']:,.0f}" for row in final)
        returns = np.mean([row["return_mean"] for row in final])
        print(
            f"{label:<24}{at:>9,.0f} steps: {mean:>6,.0f} cells +- {half:,.0f} (seeds: {seeds}); "
            f"the environment's return {returns:,.0f}"
        )


def covered(run: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return how many seeds cover each cell in one evaluation episode, [cells, cells], and x, y of the cells' sides."""
    policy = policy_file.load(run / "policy.safetensors")
    seeds = [env_seeds(seed, "eval_env", 1)[0] for seed in policy.actors.seeds]
    objective = policy.recipe.advantage.objective(cards.about(policy.recipe), None, len(seeds))
    env, points = sim.make(policy.recipe.environment, len(seeds), autoreset=False), []
    lengths = evaluate(env, policy.actors, seeds, watch=lambda obs: points.append(objective.points(env, obs))).lengths
    paths, function = np.stack(points), objective.function
    episodes = [paths[: length + 1, i] for i, length in enumerate(lengths[:, 0])]
    visits = sum((function.add(function.empty(2), episode)[1] > 0).astype(int) for episode in episodes)
    shape = objective.projection.cells
    sides = np.linspace(objective.projection.low, objective.projection.high, shape[0] + 1)
    return np.reshape(visits, shape), sides


def draw(axes: Axes, visits: np.ndarray, sides: np.ndarray, title: str, reach: float) -> None:
    """Draw covered cells, darker where more seeds cover them."""
    shades = np.ma.masked_equal(visits.T, 0)
    axes.pcolormesh(sides[:, 0], sides[:, 1], shades, cmap="viridis_r", vmin=0, vmax=visits.max() + 1)
    axes.plot(0, 0, "x", color="black", markersize=6)
    axes.set(title=title, aspect="equal", xlabel="x, m", xlim=(-reach, reach), ylim=(-reach, reach))
    axes.title.set_fontsize(9)


def picture(out: Path, num_seeds: int) -> Path:
    """Draw both arms side by side, on the same scale."""
    maps = {arm: covered(out / arm) for arm in ARMS}
    reach = max(np.abs(sides[np.argwhere(visits)]).max() for visits, sides in maps.values()) + 1
    figure = Figure(figsize=(7.2, 3.9), layout="constrained", dpi=110)
    for axes, (arm, (visits, sides)) in zip(figure.subplots(1, 2, sharey=True), maps.items(), strict=True):
        draw(axes, visits, sides, f"{ARMS[arm]}: {np.count_nonzero(visits):,} cells", float(min(reach, sides.max())))
    figure.axes[0].set_ylabel("y, m")
    figure.suptitle(f"What Ant covers in one episode of each of {num_seeds} seeds; x: start", fontsize=10)
    figure.savefig(out / "covered.png")
    return out / "covered.png"


def main() -> None:
    """Train, report, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--total-steps", type=int, default=40_960)
    parser.add_argument("--num-seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/ant-coverage"))
    asked = parser.parse_args()
    for arm, label in ARMS.items():
        train(asked.out / arm, arm, asked.total_steps, asked.num_seeds)
        report(asked.out / arm, label)
    print(picture(asked.out, asked.num_seeds))


if __name__ == "__main__":
    main()
