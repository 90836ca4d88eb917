"""Does probing pay when every step counts? Every arm on every environment at equal total steps, seed by seed.

    python benchmarks/explorler.py run --steps 300000 [--arms ppo explorler-ppo ...] [--envs ...] [--num-seeds 10]
    python benchmarks/explorler.py updates            # the published effect, at equal numbers of updates
    python benchmarks/explorler.py report

`run` trains each arm (an agent card) with seeds 0, 1, ... in one process per environment and keeps its curve and its
account of probes under benchmarks/results/explorler/<steps>/<arm>/. A seed that is there already is not trained again.
`report` prints the tables and draws the curves. A score is a run's last evaluation: 10 episodes on seeds that neither
training nor selection has seen. Arms were designed on seeds 100 to 109.
"""

import argparse
import csv
from functools import partial
from pathlib import Path

import numpy as np
from arms import all_finals, draw_curves, print_table, train

from rlsparse.run import cards
from rlsparse.run.directory import read_progress

RESULTS = Path(__file__).parent / "results" / "explorler"
ENVS = ("HalfCheetah-v5", "Hopper-v5", "Walker2d-v5")
ARMS = (
    "ppo",
    "explorler-ppo",
    "explorler-ppo-honest",
    "explorler-ppo-racing",
    "explorler-ppo-in-rollout",
    "explorler-ppo-surrogate",
    "explorler-ppo-paper",
)
COLOURS = ("#000000", "#D55E00", "#0072B2", "#56B4E9", "#009E73", "#CC79A7", "#E69F00")
UPDATES_STEPS, UPDATES_BEGIN = 2_600_000, 150_000
"""Steps, nearly all of them probing, and the training step from which the published protocol probes every update."""
CONSTANT = "--algorithm.no-learning-rate-decay"


def train_arm(arm: str, env_id: str, steps: int, num_seeds: int, folder: Path, *flags: str) -> None:
    """Train one arm on one environment."""
    train(folder / arm / f"{env_id}.csv", env_id, steps, num_seeds, ("--agent", arm, *flags))


def curve_file(folder: Path, arm: str, env_id: str) -> Path:
    """Return where the arm's curve is: here, or with its card, whose curve has a budget of 1,000,000 steps."""
    here = folder / arm / f"{env_id}.csv"
    shipped = cards.agent(arm).curve_path(env_id)
    return shipped if shipped and folder.name == "1000000" and not here.exists() else here


def report_steps(folder: Path) -> None:
    """Print the table of one budget and draw its curves."""
    arms = [arm for arm in ARMS if arm == "ppo" or (folder / arm).is_dir()]
    print(f"\n{int(folder.name):,} steps per seed, train + probe; mean final return with 95 % interval (seeds)")
    scores = all_finals(arms, ENVS, partial(curve_file, folder))
    print_table(scores, ENVS, {"IQM / ppo, 95 % interval, paired by seed": lambda _: "ppo"})
    colours = {arm: colour for arm, colour in zip(ARMS, COLOURS, strict=True) if arm in arms}
    draw_curves(RESULTS / f"{folder.name}.png", ENVS, colours, ARMS[:2], partial(curve_file, folder))


def report_updates(folder: Path) -> None:
    """Print what the published protocol shows, and what it would show with honest scores and steps."""
    print(f"\nequal updates, constant learning rate: the published protocol from {UPDATES_BEGIN:,} training steps on")
    heads = f"{'selection maximum':>20}{'fresh seeds':>13}{'steps, ppo / arm':>24}"
    print(f"{'environment':<18}{'updates':>8}{'ppo':>9}{heads}")
    for env in ENVS:
        file = folder / "explorler-ppo-paper" / f"{env}.csv"
        if not file.exists():
            continue
        arm, base = read_progress(file), read_progress(folder / "ppo" / f"{env}.csv")
        last = {row["seed"]: row for row in arm}
        train_steps = min(row["train_steps"] for row in last.values())
        best = {row["seed"]: float(row["best_score"]) for row in csv.DictReader(file.with_suffix(".probe.csv").open())}
        own = [row["return_mean"] for row in last.values()]
        at = [at_train_steps(base, seed, train_steps) for seed in last]
        total = np.mean([row["total_steps"] for row in last.values()])
        scores = f"{np.mean(at):>9,.0f}{np.mean([*best.values()]):>20,.0f}{np.mean(own):>13,.0f}"
        print(f"{env:<18}{train_steps / 2048:>8.0f}{scores}{f'{train_steps:,.0f} / {total:,.0f}':>24}")


def at_train_steps(rows: list[dict[str, float]], seed: float, steps: float) -> float:
    """Return of one seed's curve after so many training steps, read off between its evaluations."""
    points = [(row["train_steps"], row["return_mean"]) for row in rows if row["seed"] == seed]
    return float(np.interp(steps, *zip(*points, strict=True)))


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "updates", "report"))
    parser.add_argument("--steps", type=int, default=300_000)
    parser.add_argument("--arms", nargs="*", default=ARMS)
    parser.add_argument("--envs", nargs="*", default=ENVS)
    parser.add_argument("--num-seeds", type=int, default=10)
    flags = parser.parse_args()
    for env in map(cards.resolve_environment, flags.envs) if flags.what != "report" else ():
        if flags.what == "run":
            for arm in flags.arms:
                train_arm(arm, env, flags.steps, flags.num_seeds, RESULTS / str(flags.steps))
        else:
            folder = RESULTS / "updates"
            begin = ("--explore.start", str(UPDATES_BEGIN / UPDATES_STEPS), "--eval-every", "200000")
            train_arm("explorler-ppo-paper", env, UPDATES_STEPS, 3, folder, CONSTANT, *begin)
            train_arm("ppo", env, 500_000, 3, folder, CONSTANT, "--eval-every", "10000")
    for folder in sorted((x for x in RESULTS.glob("[0-9]*") if x.is_dir()), key=lambda x: int(x.name)):
        report_steps(folder)
    if (RESULTS / "updates").is_dir():
        report_updates(RESULTS / "updates")


if __name__ == "__main__":
    main()
