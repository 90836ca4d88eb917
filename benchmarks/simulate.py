"""How fast environments step, as a share of the floor: the physics alone.

    python benchmarks/simulate.py [--envs HalfCheetah Hopper Walker2d Ant Humanoid] [--counts 1 8 64 256]
                                  [--seconds 0.3] [--rounds 9]
    python benchmarks/simulate.py --task examples/swing_up/swing_up.py:SwingUp --counts 64 256

The floor is `mj_step` for 256 simulations on all cores, with the physics flags of Gymnasium, from states and actions
recorded on real trajectories: no observation, no reward, no reset. A single environment keeps one core busy, so on two
cores it cannot get far beyond half of the floor. Beside `rlsparse.sim.make` and its VecEnv for Stable-Baselines3 step
Gymnasium's SyncVectorEnv, Stable-Baselines3's DummyVecEnv (with Monitor, as its make_vec_env gives) and, where it is
installed, EnvPool: `pip install envpool` (740 MB; its MuJoCo is its own, so Ant and Humanoid differ slightly).

Ours exceeds 1 where it does less than the floor: constraint islands are off, which costs 3-8 % and changes no number.
The remaining gains are two. MuJoCo's own thread pool steps a whole batch without Python's lock, and observation and
reward are a dozen numpy calls for the batch instead of a hundred for each environment.

All simulators take turns in one process, in slices of --seconds; a floor slice comes before each group of equal
--counts, and a share is taken within the group. Writes benchmarks/results/simulate.csv and simulate.png; with --task,
a task of a user, only ours are measured, and nothing is written.
"""

import argparse
import csv
import importlib.util
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.vector import AutoresetMode
from matplotlib.figure import Figure
from mujoco.batch import Batch
from stable_baselines3.common import env_util

from rlsparse import sb3, sim
from rlsparse.run import cards
from rlsparse.sim.cpu import load_model
from rlsparse.sim.vector import usable_cores

RESULTS = Path(__file__).parent / "results"
FLOOR_SIMULATIONS = 256
RECORDED_STEPS = 64

Step = Callable[[np.ndarray], Any]
Slice = Callable[[float], float]
"""From seconds to environment steps per second."""


def ours(env_id: str, num_envs: int) -> Step:
    env = sim.make(env_id, num_envs)
    env.reset(seed=0)
    return env.step


def ours_for_sb3(env_id: str, num_envs: int) -> Step:
    env = sb3.make_vec_env(env_id, num_envs, seed=0)
    env.reset()
    return env.step


def sync_vector_env(env_id: str, num_envs: int) -> Step:
    env = gymnasium.make_vec(env_id, num_envs, "sync", vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP})
    env.reset(seed=0)
    return env.step


def dummy_vec_env(env_id: str, num_envs: int) -> Step:
    env = env_util.make_vec_env(env_id, num_envs, seed=0)
    env.reset()
    return env.step


def envpool(env_id: str, num_envs: int) -> Step:
    import envpool

    env = envpool.make_gymnasium(env_id, num_envs=num_envs, num_threads=min(usable_cores(), num_envs), seed=0)
    env.reset()
    return env.step


SIMULATORS = {
    "rlsparse": ours,
    "rlsparse.sb3": ours_for_sb3,
    "SyncVectorEnv": sync_vector_env,
    "DummyVecEnv": dummy_vec_env,
    "EnvPool": envpool,
}
COLOURS = ("#0072B2", "#56B4E9", "#999999", "#D55E00", "#009E73")


def random_actions(env_id: str, num_envs: int) -> np.ndarray:
    """Uniform actions `[RECORDED_STEPS, num_envs, A]`."""
    space = sim.make(env_id, 1).single_action_space
    shape = (RECORDED_STEPS, num_envs, *space.shape)
    return np.random.default_rng(0).uniform(space.low, space.high, shape).astype(np.float32)


def timed(step: Step, actions: np.ndarray) -> Slice:
    def run(seconds: float) -> float:
        start = now = time.perf_counter()
        steps = 0
        while now - start < seconds:
            step(actions[steps % len(actions)])
            steps += 1
            now = time.perf_counter()
        return steps * actions.shape[1] / (now - start)

    return run


def floor(env_id: str) -> Slice:
    """The physics alone; loading the recorded state before each step is not timed."""
    actions = random_actions(env_id, FLOOR_SIMULATIONS)
    env = sim.make(env_id, FLOOR_SIMULATIONS)
    env.reset(seed=0)
    states = []
    for action in actions:  # past the start, where the bodies still fall and the physics is cheaper
        env.step(action)
    for action in actions:
        states.append(env.get_state()["physics"])
        env.step(action)

    task = env.task
    model = load_model(task)
    model.opt.disableflags &= ~mujoco.mjtDisableBit.mjDSBL_ISLAND.value
    batch = Batch(model, FLOOR_SIMULATIONS, usable_cores())
    ctrl = batch.bind("ctrl")

    def run(seconds: float) -> float:
        spent, steps = 0.0, 0
        while spent < seconds:
            batch.state[:] = states[steps % len(states)]
            ctrl[:] = actions[steps % len(actions)]
            start = time.perf_counter()
            batch.step(None, task.frame_skip)
            spent += time.perf_counter() - start
            steps += 1
        return steps * FLOOR_SIMULATIONS / spent

    return run


def measure(env_id: str, names: list[str], counts: list[int], seconds: float, rounds: int) -> list[dict[str, Any]]:
    """One row per round, count and simulator."""
    physics = floor(env_id)
    slices = {
        count: {name: timed(SIMULATORS[name](env_id, count), random_actions(env_id, count)) for name in names}
        for count in counts
    }
    for group in slices.values():
        for run in group.values():
            run(seconds / 3)
    rows = []
    for i in range(rounds):
        for count, group in slices.items():
            base = physics(seconds)
            for name, run in group.items():
                speed = run(seconds)
                row = {"environment": env_id, "num_envs": count, "simulator": name, "round": i}
                rows.append(row | {"steps_per_second": round(speed), "floor": round(base), "share": speed / base})
    return rows


def shares(rows: list[dict[str, Any]], name: str, count: int) -> np.ndarray:
    """Quartiles of the share of the floor over the rounds."""
    chosen = [row["share"] for row in rows if (row["simulator"], row["num_envs"]) == (name, count)]
    return np.percentile(chosen, (25, 50, 75))


def report(env_id: str, rows: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(row["simulator"] for row in rows))
    speed = np.median([row["floor"] for row in rows])
    print(f"\n{env_id}: floor {speed:,.0f} steps/s; share of it, median (quartiles)")
    print(f"{'envs':>5}" + "".join(f"{name:>20}" for name in names))
    for count in dict.fromkeys(row["num_envs"] for row in rows):
        cells = (shares(rows, name, count) for name in names)
        print(f"{count:>5}" + "".join(f"{f'{mid:.2f} ({low:.2f}-{high:.2f})':>20}" for low, mid, high in cells))


def draw(rows: list[dict[str, Any]]) -> None:
    env_ids = list(dict.fromkeys(row["environment"] for row in rows))
    figure = Figure(figsize=(max(7.5, 2.3 * len(env_ids) + 0.7), 3.2), layout="constrained", dpi=150)
    panels = figure.subplots(1, len(env_ids), sharey=True, squeeze=False)[0]
    for axes, env_id in zip(panels, env_ids, strict=True):
        own = [row for row in rows if row["environment"] == env_id]
        counts = list(dict.fromkeys(row["num_envs"] for row in own))
        for name, colour in zip(SIMULATORS, COLOURS, strict=True):
            if any(row["simulator"] == name for row in own):
                low, mid, high = np.transpose([shares(own, name, count) for count in counts])
                axes.plot(counts, mid, "o-", color=colour, label=name, markersize=3)
                axes.fill_between(counts, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.axhline(1, color="black", linewidth=0.8, linestyle=":")
        axes.set_xscale("log")
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.minorticks_off()
        axes.set_title(env_id, fontsize=9)
        axes.set_xlabel("environments")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylim(0)
    panels[0].set_ylabel("steps/s over the raw physics")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False)
    figure.savefig(RESULTS / "simulate.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", nargs="+", default=["HalfCheetah", "Hopper", "Walker2d", "Ant", "Humanoid"])
    parser.add_argument("--task", help="file.py:Class")
    parser.add_argument("--counts", nargs="+", type=int, default=[1, 8, 64, 256])
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--rounds", type=int, default=9)
    flags = parser.parse_args()
    print(f"{usable_cores()} cores, MuJoCo {mujoco.__version__}, Gymnasium {gymnasium.__version__}")
    if (load := os.getloadavg()[0]) > 0.5:
        print(f"the load is {load:.1f}: other programs are running, which blurs every share")
    if flags.task:
        env_id = cards.resolve_environment(flags.task)
        report(env_id, measure(env_id, ["rlsparse"], flags.counts, flags.seconds, flags.rounds))
        return
    if not importlib.util.find_spec("envpool"):
        print("EnvPool is not installed")
    names = [name for name in SIMULATORS if name != "EnvPool" or importlib.util.find_spec("envpool")]
    rows = []
    for env_id in map(cards.resolve_environment, flags.envs):
        measured = measure(env_id, names, flags.counts, flags.seconds, flags.rounds)
        report(env_id, measured)
        rows += measured
    RESULTS.mkdir(exist_ok=True)
    with open(RESULTS / "simulate.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "share": f"{row['share']:.4f}"} for row in rows)
    draw(rows)


if __name__ == "__main__":
    main()
