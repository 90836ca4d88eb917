"""End-to-end training speed of PPO beside Stable-Baselines3, at equal hyperparameters, interleaved in one process.

    python benchmarks/train.py [--rounds 9]

All train on HalfCheetah-v5 with one BLAS thread, which is fastest for networks this small; a slice is a few rollouts
with their updates, without evaluation. Beside Stable-Baselines3 on its usual environments it runs on ours (one changed
line), and SBX runs where it is installed. Prints median, smallest and largest env steps/s, and the ratio to
Stable-Baselines3's in each round; then where the time of whole runs of `rlsparse train` goes. Ten peers one after
another have the steps/s of one, so the row of 10 seeds compares with that.

Where the lead comes from: acting needs only the actor, with the noise of the whole rollout drawn at once; the critic
runs once per rollout; gradients are closed forms on views of one flat vector; all members share each numpy call; the
environments step as one batch. Writes benchmarks/results/train.csv, train_split.csv and train.png.
"""

import argparse
import csv
import importlib.util
import inspect
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from stable_baselines3 import PPO as StablePPO
from stable_baselines3.common import env_util
from stable_baselines3.common.vec_env import VecEnv

from rlsparse import loop, sb3
from rlsparse.advantage.estimators import GAE
from rlsparse.algorithms.ppo import PPO
from rlsparse.learner.learner import Learner
from rlsparse.run import cards
from rlsparse.run import directory as runs
from rlsparse.run import session as sessions
from rlsparse.run.device import prepare
from rlsparse.run.no_callbacks import NoCallbacks
from rlsparse.run.recipe import Recipe, from_dict
from rlsparse.sim.collect import Collector
from rlsparse.sim.cpu import route_warnings

ENV = "HalfCheetah-v5"
OURS, SB3 = "rlsparse", "stable-baselines3"
RESULTS = Path(__file__).parent / "results"
Row = dict[str, Any]


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
    learner, collector, explorer = sessions.begin(recipe)

    def run() -> float:
        start = time.perf_counter()
        for _ in range(setting.rollouts):
            loop.iterate(recipe, learner, collector, explorer)
        return setting.rollouts * recipe.batch_size * recipe.num_seeds / (time.perf_counter() - start)

    return run


def peer(algorithm: type, setting: Setting, env: VecEnv) -> Callable[[], float]:
    """Return a slice of a peer's training, of one seed."""
    model = algorithm("MlpPolicy", env, n_steps=setting.rollout_length, batch_size=setting.minibatch, device="cpu")
    steps = setting.num_envs * setting.rollout_length
    model.learn(steps)

    def run() -> float:
        start = time.perf_counter()
        model.learn(steps, reset_num_timesteps=False)
        return steps / (time.perf_counter() - start)

    return run


def sides(setting: Setting) -> dict[str, Callable[[], float]]:
    """Return a slice of everybody who takes part."""
    slices = {
        OURS: ours(setting),
        SB3: peer(StablePPO, setting, env_util.make_vec_env(ENV, setting.num_envs)),
        f"{SB3}, our envs": peer(StablePPO, setting, sb3.make_vec_env(ENV, setting.num_envs)),
    }
    if importlib.util.find_spec("sbx"):
        import sbx

        slices["sbx"] = peer(sbx.PPO, setting, env_util.make_vec_env(ENV, setting.num_envs))
    return slices


def measure(setting: Setting, rounds: int) -> list[Row]:
    """Alternate slices of all sides; one row per side and round."""
    slices = sides(setting)
    for run in slices.values():
        run()
    rows: list[Row] = []
    for i in range(rounds):
        speeds = {name: run() for name, run in slices.items()}
        for name, speed in speeds.items():
            ratio = round(speed / speeds[SB3], 2)
            rows.append(
                {"setting": setting.name, "side": name, "round": i, "steps_per_second": round(speed), "ratio": ratio}
            )
    for name in slices:
        speed, ratio = (
            np.array([row[key] for row in rows if row["side"] == name], float) for key in ("steps_per_second", "ratio")
        )
        print(
            f"{setting.name:<25}{name:<29}{np.median(speed):>8,.0f} steps/s ({speed.min():,.0f} to {speed.max():,.0f})"
            f"{np.median(ratio):>7.1f} x ({ratio.min():.1f} to {ratio.max():.1f})",
            flush=True,
        )
    return rows


@contextmanager
def clocked(owner: Any, name: str, seconds: dict[str, float], phase: str) -> Iterator[None]:
    """Add what a method, or a generator's steps, take to seconds[phase]."""
    original = getattr(owner, name)

    def call(*arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        result = original(*arguments, **options)
        seconds[phase] += time.perf_counter() - start
        return steps(result) if inspect.isgenerator(result) else result

    def steps(generator: Iterator[Any]) -> Iterator[Any]:
        while True:
            start = time.perf_counter()
            try:
                item = next(generator)
            except StopIteration:
                return
            finally:
                seconds[phase] += time.perf_counter() - start
            yield item

    setattr(owner, name, call)
    try:
        yield
    finally:
        setattr(owner, name, original)


def split(name: str, recipe: Recipe) -> Row:
    """Return which share of a whole run's time each phase takes, in percent."""
    seconds = dict.fromkeys(("simulate", "collect", "advantage", "update", "record"), 0.0)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        run = stack.enter_context(runs.create(recipe, "benchmark", Path(folder), None))
        session = sessions.open_session(recipe, run, "cpu")
        for owner, method, phase in (
            (session.collector.env, "step", "simulate"),
            (Collector, "collect", "collect"),
            (Learner, "batch", "advantage"),
            (GAE, "__call__", "advantage"),
            (PPO, "update", "update"),
        ):
            stack.enter_context(clocked(owner, method, seconds, phase))
        start = time.perf_counter()
        loop.train(session, NoCallbacks(), lambda: False)
        total = time.perf_counter() - start
    act = seconds.pop("collect") - seconds["simulate"]
    seconds["record"] = total - act - sum(seconds.values())
    parts = {"simulate": seconds["simulate"], "act": act, **{key: seconds[key] for key in list(seconds)[1:]}}
    shares = {phase: round(100 * x / total, 1) for phase, x in parts.items()}
    print(f"{name:<45}" + "  ".join(f"{phase} {share:.0f} %" for phase, share in shares.items()), flush=True)
    return {"run": name, "seconds": round(total, 1), **shares}


def whole_runs() -> dict[str, Recipe]:
    """Return the runs that are split into phases; evaluations of 10 episodes every 50,000 steps."""
    shipped = from_dict({"env": ENV, **cards.agent("ppo").recipe_for(ENV)}, "ppo")
    defaults = from_dict({"env": ENV, **cards.agent("sb3-defaults").recipe}, "sb3-defaults")
    recipes = {
        "sb3-defaults, 1 seed x 100,000 steps": defaults,
        "shipped recipe, 1 seed x 100,000 steps": shipped,
        "shipped recipe, 5 seeds x 100,000 steps": replace(shipped, num_seeds=5),
    }
    return {name: replace(recipe, total_steps=100_000, eval_every=50_000) for name, recipe in recipes.items()}


def write(rows: list[Row], name: str) -> None:
    """Write rows as a CSV of that name."""
    with open(RESULTS / name, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def draw(rows: list[Row]) -> None:
    """Draw the ratio of every round."""
    names = list(dict.fromkeys((row["setting"], row["side"]) for row in rows if row["side"] != SB3))
    figure = Figure(figsize=(7.5, 0.6 + 0.42 * len(names)), layout="constrained", dpi=150)
    axes = figure.add_subplot()
    for y, (setting, side) in enumerate(names):
        ratios = [row["ratio"] for row in rows if (row["setting"], row["side"]) == (setting, side)]
        axes.barh(y, np.median(ratios), color="#0072B2" if side == OURS else "#E69F00", alpha=0.7, height=0.6)
        axes.plot(ratios, [y] * len(ratios), "k.", markersize=3)
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(names)), [f"{side}: {setting}" for setting, side in names])
    axes.invert_yaxis()
    axes.set_xlabel("speed over Stable-Baselines3's (bar: median)")
    axes.set_title(f"PPO on {ENV}, equal hyperparameters", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(RESULTS / "train.png")


def main() -> None:
    """Measure every setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    route_warnings()
    prepare()
    torch.set_num_threads(1)
    RESULTS.mkdir(exist_ok=True)
    rows = [row for setting in SETTINGS for row in measure(setting, rounds)]
    write(rows, "train.csv")
    draw(rows)
    write([split(name, recipe) for name, recipe in whole_runs().items()], "train_split.csv")


if __name__ == "__main__":
    main()
