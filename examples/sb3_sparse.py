"""Stable-Baselines3's PPO with sparse networks: what is kept of each layer, and what the policy is worth.

    python examples/sb3_sparse.py --env HalfCheetah-v5 --sparsity 0.9 --rule rigl --save cheetah

Needs nothing but rlsparse.
"""

import argparse

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy

from rlsparse.sb3 import make_vec_env, sparsify


def main() -> None:
    """Train, evaluate, and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--total-steps", type=int, default=1_000_000)
    parser.add_argument("--num-envs", type=int, default=8)
    parser.add_argument("--rollout-length", type=int, default=256)
    parser.add_argument("--sparsity", type=float, default=0.9)
    parser.add_argument("--rule", default="rigl", help="static, set, rigl or magnitude")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", help="file for the model, which load_sparse(PPO, file) reads")
    args = parser.parse_args()

    torch.set_num_threads(1)  # small networks are slower with more
    env = make_vec_env(args.env, args.num_envs, args.seed)
    model = PPO("MlpPolicy", env, n_steps=args.rollout_length, seed=args.seed, device="cpu", verbose=1)
    sparsify(model, args.sparsity, args.rule).learn(args.total_steps)
    print(model.sparsity)
    mean, deviation = evaluate_policy(model, make_vec_env(args.env, 1, args.seed + 1_000), n_eval_episodes=10)
    print(f"return {mean:,.1f} (deviation {deviation:,.1f} over 10 episodes)")
    if args.save:
        model.save(args.save)


if __name__ == "__main__":
    main()
