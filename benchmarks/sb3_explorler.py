"""Stable-Baselines3's PPO with and without ExploRLer's callback, at equal environment steps.

    python benchmarks/sb3_explorler.py [--env Reacher --num-seeds 5 --total-steps 40000]

Both arms have the same settings and seeds; PPO alone has the callback too, with no steps to spend on probing, which
changes nothing and keeps the same records. `rlsparse compare` draws docs/sb3.png.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import torch
from stable_baselines3 import PPO

from rlsparse.compare import __main__ as compare
from rlsparse.run.cards import resolve_environment
from rlsparse.sb3 import ExploRLerCallback, make_vec_env

DOCS = Path(__file__).resolve().parent.parent / "docs"
NUM_ENVS = 8


def train(env_id: str, seed: int, total_steps: int, rollout_length: int, callback) -> None:
    """Train PPO with a learning rate that decays to zero, as the default card expects."""
    model = PPO(
        "MlpPolicy",
        make_vec_env(env_id, NUM_ENVS, seed),
        learning_rate=lambda remaining: 3e-4 * remaining,
        n_steps=rollout_length,
        batch_size=128,
        seed=seed,
        device="cpu",
    )
    model.learn(total_steps, callback=callback)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="Reacher")
    parser.add_argument("--num-seeds", type=int, default=5)
    parser.add_argument("--total-steps", type=int, default=40_000)
    parser.add_argument("--rollout-length", type=int, default=128)
    parser.add_argument("--budget-fraction", type=float, default=0.1)
    parser.add_argument("--out", type=Path, help="keep the runs and the comparison here")
    parser.add_argument("--figure", type=Path, default=DOCS / "sb3.png")
    args = parser.parse_args()

    torch.set_num_threads(1)
    env_id = resolve_environment(args.env)
    with tempfile.TemporaryDirectory() as temporary:
        out = args.out or Path(temporary)
        for seed in range(args.num_seeds):
            for arm, budget_fraction in (("ppo-sb3", 0.0), ("explorler-sb3", args.budget_fraction)):
                callback = ExploRLerCallback(budget_fraction=budget_fraction, out=out / env_id / arm / f"seed-{seed}")
                train(env_id, seed, args.total_steps, args.rollout_length, callback)
            print(f"seed {seed}: {callback.report()}", flush=True)
        compare.main([str(out / env_id), "--out", str(out / "comparison"), "--baseline", "ppo-sb3"])
        shutil.copy(out / "comparison" / "report.png", args.figure)


if __name__ == "__main__":
    main()
