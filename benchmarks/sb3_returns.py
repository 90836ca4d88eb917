"""Returns of Stable-Baselines3's own PPO, to show that our card `sb3-defaults` stands for it.

    python benchmarks/sb3_returns.py [--env Hopper --steps 1000000 --num-seeds 5]

Trains `PPO("MlpPolicy", env)` with its default settings on Gymnasium's environment and evaluates it as ours are: 10
deterministic episodes on seeds of their own. Curves are kept under
benchmarks/results/learning/<steps>/stable-baselines3/, a seed at a time; one that is there is not trained again.
Prints both means, and the interval of their difference.
"""

import argparse
import csv
from pathlib import Path

import torch
from arms import RESULTS, add_rows, curves_in, first_missing
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from tables import all_finals

from rlsparse.compare.statistics import welch
from rlsparse.run import cards

ARM, CARD = "stable-baselines3", "sb3-defaults"
EVALUATIONS = 5
EVALUATION_SEED = 1_000_000


def train(env_id: str, seed: int, steps: int, path: Path) -> None:
    """Train one seed and write its evaluations, in the form of progress.csv."""
    model = PPO("MlpPolicy", env_id, seed=seed, device="cpu")
    rows = []
    for _ in range(EVALUATIONS):
        model.learn(steps // EVALUATIONS, reset_num_timesteps=False)
        envs = make_vec_env(env_id, 1, seed=EVALUATION_SEED + seed)
        mean, std = evaluate_policy(model, envs, n_eval_episodes=10)
        rows.append({"seed": seed, "total_steps": model.num_timesteps, "return_mean": mean, "return_std": std})
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """Train the missing seeds and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="Hopper-v5", type=cards.resolve_environment)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--num-seeds", type=int, default=5)
    parser.add_argument("--results", type=Path, default=RESULTS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    curve_file = curves_in(asked.results / "learning" / str(asked.steps))
    kept = curve_file(ARM, asked.env)
    kept.parent.mkdir(parents=True, exist_ok=True)
    for seed in range(first_missing(kept), asked.num_seeds):
        own = kept.with_suffix(f".{seed}.csv")
        train(asked.env, seed, asked.steps, own)
        add_rows(own, kept)
        own.unlink()
    scores = all_finals([ARM, CARD], [asked.env], curve_file)
    for arm, own_scores in scores.items():
        print(arm, asked.env, {seed: round(x) for seed, x in own_scores.get(asked.env, {}).items()})
    if asked.env in scores[CARD]:
        print(welch(*([*scores[arm][asked.env].values()] for arm in (ARM, CARD))))


if __name__ == "__main__":
    main()
