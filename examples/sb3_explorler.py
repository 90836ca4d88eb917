"""Stable-Baselines3's PPO with ExploRLer: what probing cost, and what it brought.

    python examples/sb3_explorler.py --env HalfCheetah-v5 --total-steps 1000000

Needs nothing but rlsparse. The budget counts the steps of training and of probing together.
"""

import argparse

import torch
from stable_baselines3 import PPO

from rlsparse.sb3 import ExploRLerCallback, make_vec_env


def main() -> None:
    """Train, save, and print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--total-steps", type=int, default=1_000_000)
    parser.add_argument("--num-envs", type=int, default=8)
    parser.add_argument("--rollout-length", type=int, default=256)
    parser.add_argument("--budget-fraction", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="folder for progress.csv and probe.csv")
    parser.add_argument("--save", help="file for the model")
    args = parser.parse_args()

    torch.set_num_threads(1)  # small networks are slower with more
    env = make_vec_env(args.env, args.num_envs, args.seed)
    model = PPO(
        "MlpPolicy",
        env,
        learning_rate=lambda remaining: 3e-4 * remaining,
        n_steps=args.rollout_length,
        seed=args.seed,
        device="cpu",
        verbose=1,
    )
    explorler = ExploRLerCallback(budget_fraction=args.budget_fraction, out=args.out, verbose=1)
    model.learn(args.total_steps, callback=explorler)
    print(explorler.report())
    if args.save:
        model.save(args.save)


if __name__ == "__main__":
    main()
