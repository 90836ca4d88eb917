"""Returns of the shipped recipe: train, keep the curves, draw them beside published ones.

    python benchmarks/learning.py [--envs HalfCheetah Hopper Walker2d] [--num-seeds 5] [--agent ppo] [--ship]

Each environment is one `rlsparse train` process with all seeds in it, at the card's budget, seeds 0, 1, ... (the
recipes were tuned on seeds 100 to 104). Curves go to benchmarks/results/learning/<agent>/<env>.csv, all curves
found there are drawn in one picture, and the last evaluations are printed with 95 % intervals. --ship also puts
policy and curve into the agent's card.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from rlsparse.compare.plot import BLUE, curves
from rlsparse.compare.statistics import mean_interval
from rlsparse.run import cards
from rlsparse.run.directory import read_progress

RESULTS = Path(__file__).parent / "results" / "learning"


def train(env_id: str, agent: str, num_seeds: int, ship: bool) -> None:
    """Train one environment and keep its curve."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = ["-m", "rlsparse.train", "--env", env_id, "--agent", agent, "--num-seeds", str(num_seeds)]
        subprocess.run([sys.executable, *command, "--run-dir", str(run)], check=True)
        (RESULTS / agent).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run / "progress.csv", RESULTS / agent / f"{env_id}.csv")
        if ship:
            shipped = cards.agent(agent).path.parent / env_id
            shipped.mkdir(exist_ok=True)
            shutil.copyfile(run / "progress.csv", shipped / "curve.csv")
            shutil.copyfile(run / "policy.safetensors", shipped / "policy.safetensors")


def report(agent: str) -> None:
    """Print the table and draw every curve there is."""
    algorithm = "TRPO" if agent.endswith("trpo") else "PPO"
    files = sorted((RESULTS / agent).glob("*.csv"))
    columns = min(3, len(files))
    rows = -(-len(files) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.1 * rows), layout="constrained", dpi=130)
    panels = np.ravel(figure.subplots(rows, columns, squeeze=False))
    print(f"{'environment':<28}{'n':>3}{'return':>10}   95 % interval          published {algorithm}, older simulator")
    for axes, file in zip(panels, files, strict=False):
        card = cards.environment(file.stem)
        steps, returns, seeds = curves(read_progress(file))
        mean, half_width = mean_interval(returns)
        published = [x.mean for x in card.references if x.algorithm == algorithm]
        low, high = mean[-1] - half_width[-1], mean[-1] + half_width[-1]
        shown = f"{max(published):,.0f}" if published else "-"
        print(f"{card.id:<28}{len(seeds):>3}{mean[-1]:>10,.0f}   {f'{low:,.0f} to {high:,.0f}':<22} {shown}")
        axes.plot(steps, returns.T, color=BLUE, alpha=0.25, linewidth=0.7)
        axes.fill_between(steps, mean - half_width, mean + half_width, color=BLUE, alpha=0.2, linewidth=0)
        axes.plot(steps, mean, color=BLUE, linewidth=2)
        if published:
            axes.axhline(max(published), color="black", linestyle=":", linewidth=1)
        axes.set_title(f"{card.id}, mean of {len(seeds)} seeds, 95 % interval", fontsize=9)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[len(files) :]:
        axes.remove()
    figure.supxlabel(f"environment steps per seed; dotted: published {algorithm}, older simulator", fontsize=9)
    figure.supylabel("evaluation return", fontsize=9)
    figure.savefig(RESULTS / f"{agent}.png")


def main() -> None:
    """Train the named environments, then report on all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", nargs="*", default=["HalfCheetah", "Hopper", "Walker2d"])
    parser.add_argument("--num-seeds", type=int, default=5)
    parser.add_argument("--agent", default="ppo")
    parser.add_argument("--ship", action="store_true")
    flags = parser.parse_args()
    for name in flags.envs:
        train(cards.resolve_environment(name), flags.agent, flags.num_seeds, flags.ship)
    report(flags.agent)


if __name__ == "__main__":
    main()
