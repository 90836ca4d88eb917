"""Training speed of TRPO beside sb3-contrib at equal hyperparameters, interleaved in one process.

    python benchmarks/trpo.py [--rounds 9]

Both train on HalfCheetah-v5 with one BLAS thread and sb3-contrib's default settings: rollouts of 2,048 steps, 15
products of conjugate gradient on all samples, 10 passes of the critic in minibatches of 128. A slice is a rollout with
its update, without evaluation. Prints median, smallest and largest env steps/s, and the ratio to sb3-contrib's in each
round; then the same of the updates alone. Ten peers one after another have the steps/s of one, so the row of 10 seeds
compares with that. Writes benchmarks/results/trpo.csv.
"""

import argparse
import csv
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import sb3_contrib
import torch
from stable_baselines3.common import env_util

from rlsparse import loop, sb3
from rlsparse.algorithms.natural_gradient import CG
from rlsparse.algorithms.trpo import TRPO
from rlsparse.run import cards
from rlsparse.run import session as sessions
from rlsparse.run.device import prepare
from rlsparse.run.recipe import Recipe, from_dict
from rlsparse.sim.cpu import route_warnings

ENV, STEPS = "HalfCheetah-v5", 2048
PEER = "sb3-contrib"
RESULTS = Path(__file__).parent / "results"
Row = dict[str, Any]
Slice = Callable[[], tuple[float, float]]
"""Trains on one rollout; returns env steps/s, of all seeds, and steps/s of the update alone."""


def recipe_for(num_seeds: int) -> Recipe:
    """Our recipe with sb3-contrib's defaults."""
    recipe = from_dict({"env": ENV, **cards.agent("sb3-defaults").recipe}, "sb3-defaults")
    algorithm = TRPO(kl_reduction="mean_dims", solver=CG(15, 0.0), critic_epochs=10, critic_minibatches=STEPS // 128)
    return replace(recipe, num_envs=1, rollout_length=STEPS, num_seeds=num_seeds, algorithm=algorithm)


def ours(num_seeds: int) -> Slice:
    """Return a slice of our training."""
    recipe = recipe_for(num_seeds)
    learner, collector, explorer = sessions.begin(recipe)
    update, spent = recipe.algorithm.update, [0.0]

    def timed(*arguments: Any) -> Any:
        start = time.perf_counter()
        yield from update(*arguments)
        spent[0] = time.perf_counter() - start

    object.__setattr__(recipe.algorithm, "update", timed)

    def run() -> tuple[float, float]:
        start = time.perf_counter()
        loop.iterate(recipe, learner, collector, explorer)
        samples = STEPS * num_seeds
        return samples / (time.perf_counter() - start), samples / spent[0]

    return run


def peer(env: Any) -> Slice:
    """Return a slice of sb3-contrib's training, of one seed."""
    model = sb3_contrib.TRPO("MlpPolicy", env, n_steps=STEPS, device="cpu")
    update, spent = model.train, [0.0]

    def timed() -> None:
        start = time.perf_counter()
        update()
        spent[0] = time.perf_counter() - start

    model.train = timed
    model.learn(STEPS)

    def run() -> tuple[float, float]:
        start = time.perf_counter()
        model.learn(STEPS, reset_num_timesteps=False)
        return STEPS / (time.perf_counter() - start), STEPS / spent[0]

    return run


def measure(rounds: int) -> list[Row]:
    """Alternate slices of all sides; one row per side and round."""
    slices = {
        "rlsparse, 1 seed": ours(1),
        "rlsparse, 10 seeds": ours(10),
        PEER: peer(env_util.make_vec_env(ENV, 1)),
        f"{PEER}, our envs": peer(sb3.make_vec_env(ENV, 1)),
    }
    for run in slices.values():
        run()
    rows: list[Row] = []
    for i in range(rounds):
        speeds = {name: run() for name, run in slices.items()}
        for name, (whole, update) in speeds.items():
            rows.append(
                {
                    "side": name,
                    "round": i,
                    "steps_per_second": round(whole),
                    "ratio": round(whole / speeds[PEER][0], 2),
                    "update_steps_per_second": round(update),
                    "update_ratio": round(update / speeds[PEER][1], 2),
                }
            )
    return rows


def report(rows: list[Row]) -> None:
    """Print medians and ranges."""
    for name in dict.fromkeys(row["side"] for row in rows):
        own = [row for row in rows if row["side"] == name]
        speed, ratio, update = (
            np.array([row[key] for row in own], float) for key in ("steps_per_second", "ratio", "update_ratio")
        )
        print(
            f"{name:<22}{np.median(speed):>8,.0f} steps/s ({speed.min():,.0f} to {speed.max():,.0f})"
            f"{np.median(ratio):>7.1f} x ({ratio.min():.1f} to {ratio.max():.1f}), "
            f"update alone {np.median(update):.1f} x ({update.min():.1f} to {update.max():.1f})"
        )


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    route_warnings()
    prepare()
    torch.set_num_threads(1)
    rows = measure(rounds)
    report(rows)
    with open(RESULTS / "trpo.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
