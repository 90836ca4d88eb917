"""What help for groups that stall does where success is rare: a point that is paid only at a distant goal.

    python benchmarks/scaffold.py --num-seeds 10 --out benchmarks/results/scaffold.csv

One row for each number of failures after which there is help (0: never), seed and evaluation.
"""

import argparse
import csv
from pathlib import Path

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from rlsparse import loop, sim
from rlsparse.advantage.group_relative import GroupRelative
from rlsparse.advantage.scaffold import Scaffold
from rlsparse.algorithms.ppo import PPO
from rlsparse.learner.network import ActorCritic
from rlsparse.learner.streams import env_seeds
from rlsparse.run import session as sessions
from rlsparse.run.device import prepare
from rlsparse.run.recipe import Recipe
from rlsparse.sim.episodes import evaluate

EPISODES = 20


class DistantGoal(gymnasium.Env):
    """A point mass with friction on a plane, 50 steps: 1 for coming within 0.1 of (2, 0), and nothing before."""

    observation_space = Box(-np.inf, np.inf, (4,), np.float64)
    action_space = Box(-1.0, 1.0, (2,), np.float32)
    goal = np.array([2.0, 0.0])

    def reset(self, *, seed=None, options=None):
        """Begin near the origin, at rest."""
        super().reset(seed=seed)
        self.position, self.velocity = self.np_random.uniform(-0.05, 0.05, 2), np.zeros(2)
        return np.concatenate([self.position, self.velocity]), {}

    def step(self, action):
        """Push."""
        self.velocity = 0.9 * self.velocity + 0.02 * action
        self.position = self.position + self.velocity
        reached = bool(np.linalg.norm(self.position - self.goal) < 0.1)
        return np.concatenate([self.position, self.velocity]), float(reached), reached, False, {}


def successes(after: int, seed: int, num_seeds: int, total_steps: int, evaluations: int) -> list[dict[str, float]]:
    """Train and evaluate; a row for each evaluation and seed."""
    recipe = Recipe(
        "DistantGoal-v0",
        seed=seed,
        num_seeds=num_seeds,
        total_steps=total_steps,
        rollout_length=128,
        policy=ActorCritic(log_std_init=0.0),
        advantage=GroupRelative(unseen=1.0, scaffold=Scaffold(after=after)),
        algorithm=PPO(epochs=4, minibatches=8),
    )
    learner, collector, explorer = sessions.begin(recipe)
    env = sim.make(recipe.env, num_seeds * EPISODES, autoreset=False)
    starts = [s for each in recipe.seeds for s in env_seeds(each, "eval_env", EPISODES)]
    rows: list[dict[str, float]] = []
    due = np.full(num_seeds, total_steps // evaluations)
    while (due <= total_steps).any():
        loop.iterate(recipe, learner, collector, explorer)
        reached = (learner.counters.train >= due) & (due <= total_steps)
        if reached.any():
            success = evaluate(env, learner.actors(), starts, lambda: False).returns.mean(1)
            for member in np.flatnonzero(reached):
                row = {"after": after, "seed": recipe.seeds[member], "steps": due[member], "success": success[member]}
                rows.append(row)
                print(*row.values(), flush=True)
            due[reached] += total_steps // evaluations
    return rows


def flags_of_runs(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser of what every benchmark of rare successes takes."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num-seeds", type=int, default=5)
    parser.add_argument("--total-steps", type=int, default=80_000)
    parser.add_argument("--evaluations", type=int, default=16)
    parser.add_argument("--out", type=Path, help="CSV file to write")
    return parser


def write(rows: list[dict[str, float]], out: Path | None) -> None:
    """Write the rows to a CSV file, if there is to be one."""
    if out is not None:
        with out.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def main() -> None:
    """Train without and with help."""
    parser = flags_of_runs(__doc__)
    parser.add_argument("--after", type=int, nargs="+", default=[0, 4])
    args = parser.parse_args()

    prepare()
    gymnasium.register("DistantGoal-v0", DistantGoal, max_episode_steps=50, disable_env_checker=True)
    shared = (args.seed, args.num_seeds, args.total_steps, args.evaluations)
    rows = [row for after in args.after for row in successes(after, *shared)]
    for after in args.after:
        own = [row for row in rows if row["after"] == after]
        last = [row["success"] for row in own if row["steps"] == max(row["steps"] for row in own)]
        mean = np.mean([row["success"] for row in own])
        print(f"after {after}: success {np.mean(last):.2f} at the end, {mean:.2f} over all evaluations")
    write(rows, args.out)


if __name__ == "__main__":
    main()
