"""End-to-end training speed of PPO beside Stable-Baselines3, at equal hyperparameters, interleaved in one process.

    python benchmarks/train.py [--rounds 7]

Both sides train on HalfCheetah-v5 with one BLAS thread, as the smallest networks are fastest; a slice is a few
rollouts with their updates. Prints median, smallest and largest env steps/s and the ratio of each round; writes
benchmarks/results/train.csv and train.png.
"""

import argparse
import csv
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import gymnasium
import numpy as np
import torch
from matplotlib.figure import Figure
from stable_baselines3 import PPO as StablePPO
from stable_baselines3.common.env_util import make_vec_env

from rlsparse import cards, loop
from rlsparse.process import prepare
from rlsparse.recipe import Recipe, from_dict
from rlsparse.sim.mujoco_log import route_warnings

ENV = "HalfCheetah-v5"
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Setting:
    """One comparison: environments x steps per rollout, minibatch size, seeds of ours in one process."""

    name: str
    num_envs: int
    rollout_length: int
    minibatch: int
    num_seeds: int
    rollouts: int


SETTINGS = (
    Setting("defaults, 1 seed", 1, 2048, 64, 1, 2),
    Setting("defaults, 10 seeds", 1, 2048, 64, 10, 1),
    Setting("32 environments, 1 seed", 32, 64, 512, 1, 4),
)


def recipe_for(setting: Setting) -> Recipe:
    """Our recipe with Stable-Baselines3's defaults."""
    recipe = from_dict({"env": ENV, **cards.agent("sb3-defaults").recipe}, "sb3-defaults")
    minibatches = setting.num_envs * setting.rollout_length // setting.minibatch
    return replace(
        recipe,
        num_envs=setting.num_envs,
        rollout_length=setting.rollout_length,
        num_seeds=setting.num_seeds,
        algorithm=replace(recipe.algorithm, minibatches=minibatches),
    )


def ours(setting: Setting) -> Callable[[], float]:
    """Return a slice of our training; it returns env steps/s over all seeds."""
    recipe = recipe_for(setting)
    learner, collector = loop.begin(recipe)

    def run() -> float:
        start = time.perf_counter()
        for _ in range(setting.rollouts):
            loop.iterate(recipe, learner, collector)
        return setting.rollouts * recipe.batch_size * recipe.num_seeds / (time.perf_counter() - start)

    return run


def stable_baselines(setting: Setting) -> Callable[[], float]:
    """Return a slice of Stable-Baselines3's training; one seed, since several run one after another."""
    env = make_vec_env(lambda: gymnasium.make(ENV), setting.num_envs)
    model = StablePPO("MlpPolicy", env, n_steps=setting.rollout_length, batch_size=setting.minibatch, device="cpu")
    steps = setting.num_envs * setting.rollout_length
    model.learn(steps)

    def run() -> float:
        start = time.perf_counter()
        model.learn(steps, reset_num_timesteps=False)
        return steps / (time.perf_counter() - start)

    return run


def measure(setting: Setting, rounds: int) -> list[dict[str, object]]:
    """Alternate slices of both sides; one row per round."""
    sides = {"rlsparse": ours(setting), "stable-baselines3": stable_baselines(setting)}
    for run in sides.values():
        run()
    rows: list[dict[str, object]] = []
    for i in range(rounds):
        speeds = {name: round(run(), 1) for name, run in sides.items()}
        ratio = speeds["rlsparse"] / speeds["stable-baselines3"]
        rows.append({"setting": setting.name, "round": i, **speeds, "ratio": round(ratio, 2)})
    for name in (*sides, "ratio"):
        x = np.array([row[name] for row in rows], float)
        print(f"{setting.name:<26}{name:<20}median {np.median(x):>10,.1f}   {x.min():,.1f} to {x.max():,.1f}")
    return rows


def draw(rows: list[dict[str, object]]) -> None:
    """Draw the ratio of every round."""
    names = [setting.name for setting in SETTINGS]
    figure = Figure(figsize=(7, 2.8), layout="constrained", dpi=150)
    axes = figure.add_subplot()
    for y, name in enumerate(names):
        ratios = [row["ratio"] for row in rows if row["setting"] == name]
        axes.barh(y, np.median(ratios), color="#0072B2", alpha=0.6, height=0.6)
        axes.plot(ratios, [y] * len(ratios), "k.", markersize=4)
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel(f"env steps/s over Stable-Baselines3's, {ENV} (bar: median; dots: rounds)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(RESULTS / "train.png")


def main() -> None:
    """Measure every setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    route_warnings()
    prepare()
    torch.set_num_threads(1)
    rows = [row for setting in SETTINGS for row in measure(setting, rounds)]
    RESULTS.mkdir(exist_ok=True)
    with open(RESULTS / "train.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    draw(rows)


if __name__ == "__main__":
    main()
