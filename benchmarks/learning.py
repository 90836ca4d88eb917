"""The table of PPO, TRPO and Stable-Baselines3's defaults on all eleven MuJoCo tasks, at 1,000,000 steps.

    python benchmarks/learning.py run [--arms ppo trpo sb3-defaults] [--envs ...] [--num-seeds 10] [--ship]
    python benchmarks/learning.py report

`run` trains each arm (an agent card) with seeds 0, 1, ... and keeps its curve under
benchmarks/results/learning/<steps>/<arm>/ (see arms.py, also for --jobs, --out and --results). --ship also puts the
curve of all seeds and the policy of the median one beside the card, and a film of it into docs/films. `report` prints
the tables of docs/results.md and draws the curves. A score is a run's last evaluation: 10 episodes on seeds that
training has not seen. The cards were tuned on seeds 100 and up (tuning.py).
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import zoo
from arms import RUNS, budgets, curves_in, flags, of_cards, run
from matplotlib.figure import Figure
from tables import CurveFile, Scores, all_finals

from rlsparse.compare.plot import curves, draw_arm, style_axes
from rlsparse.compare.statistics import iqm_interval, mean_interval
from rlsparse.run import cards
from rlsparse.run.command_line import fail_in_one_line
from rlsparse.run.directory import read_progress

ENVS = (
    "HalfCheetah-v5",
    "Hopper-v5",
    "Walker2d-v5",
    "Ant-v5",
    "Humanoid-v5",
    "Swimmer-v5",
    "InvertedDoublePendulum-v5",
    "Reacher-v5",
    "InvertedPendulum-v5",
    "Pusher-v5",
    "HumanoidStandup-v5",
)
COLOURS = {"ppo": "#0072B2", "trpo": "#D55E00", "sb3-defaults": "#555555"}
FILMS = Path(__file__).parent.parent / "docs" / "films"
COLUMNS = 4
"""Of the picture."""


def report(folder: Path) -> None:
    """Print the tables of one budget and draw its curves."""
    scores = all_finals([arm for arm in COLOURS if (folder / arm).is_dir()], ENVS, curves_in(folder))
    print(f"\n{int(folder.name):,} steps of each seed, last evaluation\n")
    print("\n".join([*means(scores), "", *details(scores)]))
    draw(folder.with_suffix(".png"), curves_in(folder))


def means(scores: Scores) -> list[str]:
    """Return the Markdown table of mean returns with 95 % intervals: a row for each task, a column for each agent."""
    rows = [f"| task | {' | '.join(f'`{arm}`' for arm in scores)} |", f"|---|{'---|' * len(scores)}"]
    for env in ENVS:
        cells = [mean_cell(own[env]) if env in own else "" for own in scores.values()]
        if any(cells):
            rows.append(f"| {env} | {' | '.join(cells)} |")
    return rows


def details(scores: Scores) -> list[str]:
    """Return the Markdown table of what else there is to know of the seeds of each agent on each task."""
    rows = ["| task | agent | seeds | mean | deviation | IQM (95 % interval) | lowest to highest |", f"|{'---|' * 7}"]
    for env in ENVS:
        for arm, own in scores.items():
            if env in own:
                x = np.array([*own[env].values()])
                center, low, high = map(float, iqm_interval(x))
                spread = number(x.std(ddof=1)) if len(x) > 1 else "-"
                cells = [env, f"`{arm}`", str(len(x)), number(x.mean()), spread]
                cells += [f"{number(center)}{interval(low, high)}", f"{number(x.min())} to {number(x.max())}"]
                rows.append(f"| {' | '.join(cells)} |")
    return rows


def mean_cell(returns: Mapping[int, float]) -> str:
    """Say the mean return and its interval."""
    mean, half = map(float, mean_interval(np.array([*returns.values()])))
    return f"{number(mean)}{interval(mean - half, mean + half)}"


def interval(low: float, high: float) -> str:
    """Say the ends of an interval, if it has any."""
    return f" ({number(low)} to {number(high)})" if math.isfinite(low) else ""


def number(x: float) -> str:
    """Write a return with as many digits as mean something."""
    return f"{x:,.0f}" if abs(x) >= 100 else f"{x:.1f}"


def draw(path: Path, curve_file: CurveFile) -> None:
    """Draw mean returns and their 95 % intervals, a panel for each task, whose title tells the seeds of each agent."""
    envs = [env for env in ENVS if any(curve_file(arm, env).exists() for arm in COLOURS)]
    rows, columns = -(-len(envs) // COLUMNS), min(COLUMNS, len(envs))
    figure = Figure(figsize=(3.4 * columns, 2.6 * rows + 0.4), layout="constrained", dpi=110)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, env in zip(panels, envs, strict=False):
        counts = []
        for arm, colour in COLOURS.items():
            if (file := curve_file(arm, env)).exists():
                steps, returns, seeds = curves(read_progress(file))
                mean, half = mean_interval(returns)
                draw_arm(axes, steps, mean, (mean - half, mean + half), returns[:0], color=colour, label=arm)
                counts.append(str(len(seeds)))
        axes.set_title(f"{env}, n = {'/'.join(counts)}", fontsize=9)
        axes.tick_params(labelsize=7)
        style_axes(axes)
    for axes in panels[len(envs) :]:
        axes.axis("off")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(COLOURS), frameon=False, fontsize=9)
    figure.supxlabel("environment steps of each seed", fontsize=9)
    figure.supylabel("evaluation return, mean with 95 % interval", fontsize=9 if rows > 1 else 7)
    figure.savefig(path)


def ship(asked: argparse.Namespace, arms: Sequence[str], kept: Path) -> None:
    """Put what was trained beside the cards, and films of it into the documentation."""
    for arm in arms:
        card = cards.agent(arm).path.parent
        for env in asked.envs:
            runs = (asked.out or RUNS / "learning" / str(asked.steps)) / env / arm
            policies = runs.glob("*/policy.safetensors")
            zoo.ship([x.parent for x in policies], curves_in(kept)(arm, env), card / env, FILMS / arm / f"{env}.gif")


@fail_in_one_line()
def main() -> None:
    """Train what is asked for, ship it if that is asked for, and report on every budget."""
    parser = flags(__doc__, COLOURS, ENVS, num_seeds=10)
    parser.add_argument("what", choices=("run", "report"))
    parser.add_argument("--ship", action="store_true", help="put policies, curves and films beside the cards")
    asked = parser.parse_args()
    if asked.what == "run":
        name = f"learning/{asked.steps}"
        run(asked, of_cards(asked.arms), name, total_steps=asked.steps)
        if asked.ship:
            ship(asked, asked.arms, asked.results / name)
    for folder in budgets(asked.results / "learning"):
        report(folder)


if __name__ == "__main__":
    main()
