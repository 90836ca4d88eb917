"""What a varied model is worth: policies of one that varied and of one that did not, on models that neither has seen.

    python benchmarks/robust.py run [--steps 400000] [--num-seeds 10]
    python benchmarks/robust.py report

`run` trains examples/swing_up as it is, and with factors of its masses, dampings and gains drawn for every episode,
below runs/benchmarks/robust or --out; and tries all policies on models out of reach of both, 20 episodes of each seed.
Keeps benchmarks/results/robust.csv. `report` prints mean returns with 95 % intervals over seeds, and their share of
what the same policies earn on the model as it is.
"""

import argparse
import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from arms import RESULTS, RUNS

import rlsparse
from rlsparse.compare.statistics import mean_interval

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "swing_up"
ARMS = {"as it is": f"{FOLDER / 'swing_up.py'}:SwingUp", "varied": f"{FOLDER / 'robust.py'}:Robust"}
USUAL = {"mass": 1.0, "damping": 1.0, "gain": 1.0}
MODELS: Mapping[str, Mapping[str, float]] = {
    "as it is": {},
    "mass x 2.5": {"mass": 2.5},
    "mass x 0.4": {"mass": 0.4},
    "damping x 10": {"damping": 10.0},
    "gain x 0.5": {"gain": 0.5},
    "mass x 2.5, gain x 0.5": {"mass": 2.5, "gain": 0.5},
}
"""Models on which policies are tried; all but the first lie beyond the bounds of training."""
EPISODES = 20


def run(asked: argparse.Namespace) -> None:
    """Train both arms and try their policies."""
    rows = []
    for arm, env in ARMS.items():
        folder = asked.out or RUNS / "robust" / str(asked.steps)
        trained = rlsparse.train(
            env, total_steps=asked.steps, num_seeds=asked.num_seeds, run_dir=folder / arm.replace(" ", "-")
        )
        for member, seed in enumerate(trained.recipe.seeds):
            for model, factors in MODELS.items():
                bounds = {name: [x, x] for name, x in (USUAL | factors).items()}
                policy = rlsparse.load(trained.path, env=ARMS["varied"], member=member, env_kwargs=bounds)
                rows.append({"arm": arm, "seed": seed, "model": model, "return": policy.evaluate(EPISODES).mean})
    with (RESULTS / "robust.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def report() -> None:
    """Print a Markdown table: a row for each model."""
    rows = list(csv.DictReader((RESULTS / "robust.csv").open(newline="")))
    print(f"| model | {' | '.join(f'trained {arm}' for arm in ARMS)} |\n|---|{'---|' * len(ARMS)}")
    for model in MODELS:
        cells = []
        for arm in ARMS:
            own, usual = (returns(rows, arm, x) for x in (model, "as it is"))
            mean, half = mean_interval(own)
            cells.append(f"{mean:.0f} ({mean - half:.0f} to {mean + half:.0f}), {own.mean() / usual.mean():.2f}")
        print(f"| {model} | {' | '.join(cells)} |")


def returns(rows: list[dict[str, str]], arm: str, model: str) -> np.ndarray:
    """Return what the seeds of an arm earn on a model, [seeds]."""
    return np.array([float(row["return"]) for row in rows if (row["arm"], row["model"]) == (arm, model)])


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "report"))
    parser.add_argument("--steps", type=int, default=400_000)
    parser.add_argument("--num-seeds", type=int, default=10)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if asked.what == "run":
        run(asked)
    report()


if __name__ == "__main__":
    main()
