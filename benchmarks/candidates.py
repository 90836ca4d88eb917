"""The cost of scoring candidate policies: one batched call beside a loop of Stable-Baselines3's `evaluate_policy`.

    python benchmarks/candidates.py [--rounds 3] [--counts 1 4 16 64 256]

20 candidates x 3 deterministic episodes of HalfCheetah-v5 (60,000 environment steps) are scored by both sides in
turn, in one process; then our cost per candidate is measured against their number. Every step is spent in the
simulator on both sides: the gain is that all candidates act in one stacked product and all environments step together.
Writes benchmarks/results/candidates.csv and candidates.png.
"""

import argparse
import csv
import time
from pathlib import Path

import gymnasium
import numpy as np
import torch
from matplotlib.figure import Figure
from stable_baselines3 import PPO as StablePPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

from rlsparse import sim
from rlsparse.learner.learner import Learner
from rlsparse.learner.network import ActorCritic
from rlsparse.learner.streams import env_seeds
from rlsparse.run.device import prepare
from rlsparse.sim.cpu import route_warnings
from rlsparse.sim.episodes import evaluate

ENV = "HalfCheetah-v5"
CANDIDATES, EPISODES = 20, 3
RESULTS = Path(__file__).parent / "results"


def ours(candidates: int) -> float:
    """Seconds to score `candidates` policies of random weights."""
    env = sim.make(ENV, candidates * EPISODES, autoreset=False)
    actors = Learner(ActorCritic(), 17, 6, range(candidates)).actors()
    start = time.perf_counter()
    scores = evaluate(env, actors, env_seeds(0, "eval_env", EPISODES) * candidates)
    seconds = time.perf_counter() - start
    assert scores.lengths.sum() == candidates * EPISODES * 1000
    env.close()
    return seconds


def stable_baselines(model: StablePPO, env: gymnasium.Env) -> float:
    """Seconds to score 20 policies one after the other, loading each one's weights."""
    own = torch.nn.utils.parameters_to_vector(model.policy.parameters()).detach()
    vectors = [own + 0.01 * torch.randn_like(own) for _ in range(CANDIDATES)]
    start = time.perf_counter()
    for vector in vectors:
        torch.nn.utils.vector_to_parameters(vector, model.policy.parameters())
        evaluate_policy(model, env, n_eval_episodes=EPISODES, deterministic=True)
    return time.perf_counter() - start


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--counts", type=int, nargs="*", default=[1, 4, 16, 64, 256])
    flags = parser.parse_args()
    route_warnings()
    prepare()
    torch.set_num_threads(1)
    env = Monitor(gymnasium.make(ENV))
    model = StablePPO("MlpPolicy", env, device="cpu")
    rows: list[dict[str, object]] = []

    def note(side: str, candidates: int, seconds: float) -> None:
        rows.append({"side": side, "candidates": candidates, "seconds": round(seconds, 3)})
        rate = candidates * EPISODES * 1000 / seconds
        print(f"{side:<20}{candidates:>4} candidates {seconds:>8.2f} s {rate:>10,.0f} steps/s", flush=True)

    for _ in range(flags.rounds):
        note("rlsparse", CANDIDATES, ours(CANDIDATES))
        note("stable-baselines3", CANDIDATES, stable_baselines(model, env))
        for count in flags.counts:
            note("rlsparse", count, ours(count))
    report(rows, flags.counts)


def report(rows: list[dict[str, object]], counts: list[int]) -> None:
    """Print the ratio, write CSV and PNG."""

    def seconds(side: str, count: int) -> np.ndarray:
        return np.array([r["seconds"] for r in rows if r["side"] == side and r["candidates"] == count], float)

    ratios = seconds("stable-baselines3", CANDIDATES) / seconds("rlsparse", CANDIDATES)
    print(f"{CANDIDATES} candidates: {np.median(ratios):.1f} times faster ({ratios.min():.1f} to {ratios.max():.1f})")
    RESULTS.mkdir(exist_ok=True)
    with open(RESULTS / "candidates.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    figure = Figure(figsize=(6, 3.4), layout="constrained", dpi=150)
    axes = figure.add_subplot()
    cost = [np.median(seconds("rlsparse", count)) / count for count in counts]
    peer = np.median(seconds("stable-baselines3", CANDIDATES)) / CANDIDATES
    axes.plot(counts, cost, "o-", color="#0072B2", label="rlsparse, one batched call")
    axes.axhline(peer, color="#D55E00", label="Stable-Baselines3, a loop of evaluate_policy")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.set(xlabel="candidates", ylabel=f"seconds per candidate ({EPISODES} episodes)", title=ENV)
    axes.grid(alpha=0.25, which="both")
    axes.legend(frameon=False)
    figure.savefig(RESULTS / "candidates.png")


if __name__ == "__main__":
    main()
