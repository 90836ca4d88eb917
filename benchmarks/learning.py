"""Returns of the shipped recipe: train, keep the curves, draw them beside published ones.

    python benchmarks/learning.py [--envs HalfCheetah Hopper Walker2d] [--num-seeds 5] [--agent ppo] [--ship]

All environments are one `rlsparse.sweep`, at the card's budget, seeds 0, 1, ... (the recipes were tuned on seeds 100 to
104); what is finished in --out already is not trained again. Curves go to
benchmarks/results/learning/<agent>/<env>.csv, all curves found there are drawn in one picture, and the last evaluations
are printed with 95 % intervals. --ship also puts policy and curve into the agent's card. Without an environment after
--envs nothing is trained.
"""

import argparse
import shutil
import sys
from pathlib import Path

import numpy as np
from arms import add_rows, where, with_runs
from matplotlib.figure import Figure

import rlsparse
from rlsparse.compare.plot import BLUE, curves, draw_arm, style_axes
from rlsparse.compare.statistics import mean_interval
from rlsparse.run import cards
from rlsparse.run.command_line import fail_in_one_line
from rlsparse.run.directory import read_progress


def train(asked: argparse.Namespace) -> None:
    """Train the agent on the environments, keep the curves, and ship them with the policies if that is asked for."""
    study = {"envs": asked.envs, "agents": [asked.agent], "num_seeds": asked.num_seeds}
    result = rlsparse.sweep(**study, **where(asked, "learning"))
    runs = {env: [run.path for run in result.runs if run.recipe.env == env] for env in asked.envs}
    for env, own in runs.items():
        keep(own, asked.results / "learning" / asked.agent / f"{env}.csv")
    for env, own in runs.items() if asked.ship else ():
        ship(own, cards.agent(asked.agent).path.parent / env)
    if result.failures:
        sys.exit(result.table())


def keep(runs: list[Path], curve: Path) -> None:
    """Keep the curves of the runs of one environment, in place of what was there."""
    if runs:
        curve.parent.mkdir(parents=True, exist_ok=True)
        curve.unlink(missing_ok=True)
        for run in runs:
            add_rows(run / "progress.csv", curve)


def ship(runs: list[Path], card: Path) -> None:
    """Put policy and curve beside the agent's card; all seeds must be of one run."""
    if len(runs) != 1:
        sys.exit(f"{card} needs one run with all seeds, not {len(runs)}: give another --out")
    card.mkdir(exist_ok=True)
    shutil.copyfile(runs[0] / "progress.csv", card / "curve.csv")
    shutil.copyfile(runs[0] / "policy.safetensors", card / "policy.safetensors")


def report(folder: Path) -> None:
    """Print the table of an agent and draw every curve there is."""
    algorithm = "TRPO" if folder.name.endswith("trpo") else "PPO"
    files = sorted(folder.glob("*.csv"))
    columns = min(3, len(files))
    rows = -(-len(files) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.1 * rows), layout="constrained", dpi=130)
    panels = np.ravel(figure.subplots(rows, columns, squeeze=False))
    print(f"{'environment':<28}{'n':>3}{'return':>10}   95 % interval          published {algorithm}, older simulator")
    for axes, file in zip(panels, files, strict=False):
        card = cards.environment(file.stem)
        steps, returns, seeds = curves(read_progress(file))
        mean, half = mean_interval(returns)
        published = [x.mean for x in card.references if x.algorithm == algorithm]
        shown = f"{max(published):,.0f}" if published else "-"
        interval = f"{mean[-1] - half[-1]:,.0f} to {mean[-1] + half[-1]:,.0f}"
        print(f"{card.id:<28}{len(seeds):>3}{mean[-1]:>10,.0f}   {interval:<22} {shown}")
        draw_arm(axes, steps, mean, (mean - half, mean + half), returns, color=BLUE)
        if published:
            axes.axhline(max(published), color="black", linestyle=":", linewidth=1)
        axes.set_title(f"{card.id}, mean of {len(seeds)} seeds, 95 % interval", fontsize=9)
        style_axes(axes)
    for axes in panels[len(files) :]:
        axes.remove()
    figure.supxlabel(f"environment steps per seed; dotted: published {algorithm}, older simulator", fontsize=9)
    figure.supylabel("evaluation return", fontsize=9)
    figure.savefig(folder.with_suffix(".png"))


@fail_in_one_line()
def main() -> None:
    """Train the named environments, then report on all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", default="ppo")
    parser.add_argument("--ship", action="store_true")
    asked = with_runs(parser, ("HalfCheetah-v5", "Hopper-v5", "Walker2d-v5"), num_seeds=5).parse_args()
    if asked.envs:
        train(asked)
    report(asked.results / "learning" / asked.agent)


if __name__ == "__main__":
    main()
