"""Training speed and memory against the number of seeds, of environments, and the width of the networks.

    python benchmarks/scaling.py [--rounds 3]

HalfCheetah-v5 with the shipped recipe, one dimension varied at a time: 1 to 32 seeds; 1 to 1,024 environments per
seed at 64 steps each; hidden layers of 64 to 1,024 units. Steps/s counts all seeds and includes simulation, acting,
advantages and updates (no evaluation). A rollout's memory per environment step is checked against

    4 (O + A) + 18 bytes        observation, action; log-prob, reward, value, next value; two flags

and the peak of one whole iteration (rollout, batch, gradients, temporaries) is measured with tracemalloc, which numpy
reports to. Writes benchmarks/results/scaling.csv and scaling.png.
"""

import argparse
import csv
import gc
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from rlsparse import loop
from rlsparse.run import cards
from rlsparse.run import session as sessions
from rlsparse.run.device import prepare
from rlsparse.run.recipe import Recipe, from_dict

ENV, OBS, ACTIONS = "HalfCheetah-v5", 17, 6
RESULTS = Path(__file__).parent / "results"
SEEDS = (1, 2, 4, 8, 16, 32)
ENVIRONMENTS = (1, 4, 16, 64, 256, 1024)
WIDTHS = (64, 128, 256, 512, 1024)


def shipped() -> Recipe:
    """The shipped recipe."""
    return from_dict({"env": ENV, **cards.agent("ppo").recipe_for(ENV)}, "ppo")


def variations() -> list[tuple[str, int, Recipe]]:
    """Return (dimension, value, recipe) of every point."""
    base = shipped()
    points = [("seeds", n, replace(base, num_seeds=n)) for n in SEEDS]
    for n in ENVIRONMENTS:
        algorithm = replace(base.algorithm, minibatches=max(1, n))
        points.append(("environments", n, replace(base, num_envs=n, rollout_length=64, algorithm=algorithm)))
    widths = {n: replace(base.policy, actor_hidden=(n, n), critic_hidden=(n, n)) for n in WIDTHS}
    return points + [("width", n, replace(base, policy=policy)) for n, policy in widths.items()]


def measure(recipe: Recipe, rounds: int) -> tuple[list[float], int, int]:
    """Return steps/s of each round, peak bytes of an iteration, and bytes of a rollout."""
    learner, collector, explorer = sessions.begin(recipe)
    steps = recipe.batch_size * recipe.num_seeds
    speeds = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        loop.iterate(recipe, learner, collector, explorer)
        speeds.append(steps / (time.perf_counter() - start))
    gc.collect()
    tracemalloc.start()
    loop.iterate(recipe, learner, collector, explorer)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    rollout = collector.collect(learner, recipe.rollout_length, recipe.advantage.gamma)
    rollout_bytes = sum(x.nbytes for x in vars(rollout).values() if x is not None)
    assert rollout_bytes == steps * (4 * (OBS + ACTIONS) + 18), (rollout_bytes, steps)
    collector.env.close()
    return speeds[1:], peak, rollout_bytes


def draw(rows: list[dict[str, float | str]]) -> None:
    """Draw speed above memory for every dimension."""
    figure = Figure(figsize=(10, 5), layout="constrained", dpi=140)
    panels = figure.subplots(2, 3, sharex="col")
    for (speed, memory), dimension in zip(panels.T, ("seeds", "environments", "width"), strict=True):
        mine = [row for row in rows if row["dimension"] == dimension]
        x = [row["value"] for row in mine]
        speed.plot(x, [row["steps_per_second"] for row in mine], "o-", color="#0072B2")
        memory.plot(x, [float(row["peak_mib"]) for row in mine], "o-", color="#0072B2", label="iteration, peak")
        memory.plot(x, [float(row["rollout_mib"]) for row in mine], "s--", color="#D55E00", label="rollout")
        memory.set_xscale("log", base=2)
        memory.set_xticks(x, [str(value) for value in x])
        memory.set_yscale("log")
        memory.set_xlabel(
            {"width": "units per hidden layer", "environments": "environments per seed"}.get(dimension, "seeds")
        )
        speed.set_ylim(0, None)
        for axes in (speed, memory):
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
    panels[0, 0].set_ylabel("env steps/s, all seeds")
    panels[1, 0].set_ylabel("MiB")
    panels[1, 0].legend(frameon=False)
    figure.suptitle(f"{ENV}, shipped PPO recipe, training without evaluation")
    figure.savefig(RESULTS / "scaling.png")


def main() -> None:
    """Measure every point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    prepare()
    rows: list[dict[str, float | str]] = []
    for dimension, value, recipe in variations():
        speeds, peak, rollout_bytes = measure(recipe, rounds)
        rows.append(
            {
                "dimension": dimension,
                "value": value,
                "steps_per_second": round(float(np.median(speeds)), 1),
                "slowest": round(min(speeds), 1),
                "fastest": round(max(speeds), 1),
                "peak_mib": round(peak / 2**20, 2),
                "rollout_mib": round(rollout_bytes / 2**20, 3),
            }
        )
        print("  ".join(f"{key} {x}" for key, x in rows[-1].items()), flush=True)
    RESULTS.mkdir(exist_ok=True)
    with open(RESULTS / "scaling.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    draw(rows)


if __name__ == "__main__":
    main()
