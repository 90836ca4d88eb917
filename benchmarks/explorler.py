"""Does probing pay when every step counts? Every arm on every environment at equal total steps, seed by seed.

    python benchmarks/explorler.py run --steps 300000 [--arms ppo explorler-ppo ...] [--envs ...] [--num-seeds 10]
    python benchmarks/explorler.py updates            # the published effect, at equal numbers of updates
    python benchmarks/explorler.py report

`run` trains each arm (an agent card) with seeds 0, 1, ... and keeps its curve and its account of probes under
benchmarks/results/explorler/<steps>/<arm>/ (see arms.py, also for --jobs, --out and --results). `report` prints the
tables and draws the curves. A score is a run's last evaluation: 10 episodes on seeds that neither training nor
selection has seen. Arms were designed on seeds 100 to 109.
"""

import csv
from functools import partial
from pathlib import Path

import numpy as np
from arms import budgets, flags, of_cards, run
from tables import all_finals, draw_curves, print_table

from rlsparse.run import cards
from rlsparse.run.command_line import fail_in_one_line
from rlsparse.run.directory import read_progress

ENVS = ("HalfCheetah-v5", "Hopper-v5", "Walker2d-v5")
COLOURS = {
    "ppo": "#000000",
    "explorler-ppo": "#D55E00",
    "explorler-ppo-honest": "#0072B2",
    "explorler-ppo-racing": "#56B4E9",
    "explorler-ppo-in-rollout": "#009E73",
    "explorler-ppo-surrogate": "#CC79A7",
    "explorler-ppo-paper": "#E69F00",
}
UPDATES_STEPS, UPDATES_BEGIN = 2_600_000, 150_000
"""Steps, nearly all of them probing, and the training step from which the published protocol probes every update."""
CONSTANT = {"learning_rate_decay": False}
UPDATES = {
    "explorler-ppo-paper": {
        "agent": "explorler-ppo-paper",
        "total_steps": UPDATES_STEPS,
        "eval_every": 200_000,
        "explore": {"start": UPDATES_BEGIN / UPDATES_STEPS},
        "algorithm": CONSTANT,
    },
    "ppo": {"agent": "ppo", "total_steps": 500_000, "eval_every": 10_000, "algorithm": CONSTANT},
}
"""The published protocol, and what it is compared with at equal numbers of updates."""


def curve_file(folder: Path, arm: str, env_id: str) -> Path:
    """Return where the arm's curve is: here, or with its card, whose curve has a budget of 1,000,000 steps."""
    here = folder / arm / f"{env_id}.csv"
    shipped = cards.agent(arm).curve_path(env_id)
    return shipped if shipped and folder.name == "1000000" and not here.exists() else here


def report_steps(folder: Path) -> None:
    """Print the table of one budget and draw its curves."""
    there = [arm for arm in COLOURS if arm == "ppo" or (folder / arm).is_dir()]
    curves = partial(curve_file, folder)
    print(f"\n{int(folder.name):,} steps per seed, train + probe; mean final return with 95 % interval (seeds)")
    print_table(all_finals(there, ENVS, curves), ENVS, {"IQM / ppo, 95 % interval, paired by seed": lambda _: "ppo"})
    drawn = {arm: COLOURS[arm] for arm in there}
    draw_curves(folder.with_suffix(".png"), ENVS, drawn, ("ppo", "explorler-ppo"), curves)


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


@fail_in_one_line()
def main() -> None:
    """Train, if asked to, and report every budget."""
    parser = flags(__doc__, COLOURS, ENVS, steps=300_000, num_seeds=10)
    parser.add_argument("what", choices=("run", "updates", "report"))
    asked = parser.parse_args()
    if asked.what == "run":
        run(asked, of_cards(asked.arms), f"explorler/{asked.steps}", total_steps=asked.steps)
    elif asked.what == "updates":
        asked.num_seeds = 3
        run(asked, UPDATES, "explorler/updates")
    for folder in budgets(asked.results / "explorler"):
        report_steps(folder)
    if (updates := asked.results / "explorler" / "updates").is_dir():
        report_updates(updates)


if __name__ == "__main__":
    main()
