"""Environments in several processes beside one process, and beside Gymnasium's AsyncVectorEnv.

    python benchmarks/workers.py [--rounds 7] [--seconds 1] [--only waits]

Sixteen copies of an environment are stepped with random actions: Gymnasium's own HalfCheetah-v5, through the way of any
Gymnasium environment, and environments that compute, or wait, for a given time in each step. Prints the median of
env steps/s over the rounds, in which all take turns, and its ratio to one process. AsyncVectorEnv has a process for
each environment. Writes benchmarks/results/workers.csv.
"""

import argparse
import csv
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, VectorEnv

from rlsparse import sim

NUM_ENVS, WORKERS = 16, (1, 2, 4, 16)
RESULTS = Path(__file__).parent / "results" / "workers.csv"


class Timed(gymnasium.Env):
    """Takes so many milliseconds for a step, in which it computes, or waits as for a robot or a simulator elsewhere."""

    observation_space, action_space = Box(-1, 1, (17,)), Box(-1, 1, (6,))

    def __init__(self, milliseconds: float, waits: bool):
        self.seconds, self.waits = milliseconds / 1e3, waits

    def reset(self, *, seed=None, options=None):
        """Begin an episode."""
        return np.zeros(17, np.float32), {}

    def step(self, action):
        """Take so long."""
        if self.waits:
            time.sleep(self.seconds)
        else:
            begun = time.thread_time()
            while time.thread_time() - begun < self.seconds:
                pass
        return np.zeros(17, np.float32), 0.0, False, False, {}


def register() -> dict[str, str]:
    """Register all environments; return what each is, by id."""
    cheetah = gymnasium.spec("HalfCheetah-v5")
    gymnasium.register("SlowWay/HalfCheetah-v5", cheetah.entry_point, max_episode_steps=1000)
    told = {"Pendulum-v1": "Pendulum-v1", "SlowWay/HalfCheetah-v5": "Gymnasium's HalfCheetah-v5"}
    for milliseconds in (0.2, 1, 5):
        for waits in (False, True):
            name = f"{'waits' if waits else 'computes'} {milliseconds} ms"
            env_id = f"Timed-{name.replace(' ', '-').replace('.', '-')}-v0"
            gymnasium.register(env_id, Timed, kwargs={"milliseconds": milliseconds, "waits": waits})
            told[env_id] = name
    return told


def makers(env_id: str) -> dict[str, Callable[[], VectorEnv]]:
    """Return what makes the environments, by the name of the way."""
    ours = {f"{w} process{'es' * (w > 1)}": w for w in WORKERS}
    ways: dict[str, Callable[[], VectorEnv]] = {
        name: lambda w=w: sim.maker(env_id, "mujoco", "cpu", workers=w)(NUM_ENVS) for name, w in ours.items()
    }
    ways["AsyncVectorEnv"] = lambda: AsyncVectorEnv(
        [lambda: gymnasium.make(env_id)] * NUM_ENVS, autoreset_mode=AutoresetMode.SAME_STEP
    )
    return ways


def steps_per_second(env: VectorEnv, seconds: float) -> float:
    actions, count, begun = env.action_space.sample(), 0, time.perf_counter()
    while (spent := time.perf_counter() - begun) < seconds:
        env.step(actions)
        count += 1
    return count * NUM_ENVS / spent


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--only", default="", help="environments whose name begins so")
    flags = parser.parse_args()
    rows = []
    for env_id, name in [(env_id, name) for env_id, name in register().items() if name.startswith(flags.only)]:
        envs = {way: make() for way, make in makers(env_id).items()}
        for env in envs.values():
            env.reset(seed=0)
        rounds = [{way: steps_per_second(env, flags.seconds) for way, env in envs.items()} for _ in range(flags.rounds)]
        for way, env in envs.items():
            env.close()
            speed = statistics.median(each[way] for each in rounds)
            ratios = sorted(each[way] / each["1 process"] for each in rounds)
            ratio = statistics.median(ratios)
            spread = [round(x, 2) for x in (ratio, ratios[0], ratios[-1])]
            rows.append([name, way, round(speed), *spread])
            print(f"{name:28} {way:15} {speed:9,.0f} steps/s  {spread[0]:5} ({spread[1]} to {spread[2]})", flush=True)
    with RESULTS.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["environment", "way", "steps_per_second", "ratio", "smallest_ratio", "largest_ratio"])
        writer.writerows(rows)


if __name__ == "__main__":
    main()
