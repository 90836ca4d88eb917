"""What HPT's switch to the best episodes does where success is rare, with a critic and with groups of episodes.

    python benchmarks/hpt.py --num-seeds 10 --out benchmarks/results/hpt.csv

One row for each environment, estimator, objective, seed and evaluation; settings are the library's usual ones, but for
shorter rollouts and fewer minibatches.
"""

import gymnasium
import numpy as np
from scaffold import DistantGoal, flags_of_runs, write

from rlsparse import loop, sim
from rlsparse.advantage.estimators import GAE
from rlsparse.advantage.group_relative import GroupRelative
from rlsparse.algorithms.cloning import HPT, BestEpisodes
from rlsparse.algorithms.ppo import PPO
from rlsparse.algorithms.surrogate import Clip
from rlsparse.compare.statistics import mean_interval
from rlsparse.learner.streams import env_seeds
from rlsparse.run import session as sessions
from rlsparse.run.device import prepare
from rlsparse.run.recipe import Recipe
from rlsparse.sim.episodes import evaluate

EPISODES = 20
ENVIRONMENTS = ("DistantGoal-v0", "MountainCarContinuous-v0")
ESTIMATORS = {"gae": GAE(), "group-relative": GroupRelative(unseen=1.0)}
OBJECTIVES = {"clip": Clip(), "hpt": HPT()}


def successes(recipe: Recipe, evaluations: int) -> list[dict[str, float]]:
    """Train and evaluate; a row for each evaluation and seed."""
    learner, collector, explorer = sessions.begin(recipe)
    env = sim.make(recipe.env, recipe.num_seeds * EPISODES, autoreset=False)
    starts = [s for each in recipe.seeds for s in env_seeds(each, "eval_env", EPISODES)]
    rows: list[dict[str, float]] = []
    interval = recipe.total_steps // evaluations
    due = np.full(recipe.num_seeds, interval)
    while (due <= recipe.total_steps).any():
        loop.iterate(recipe, learner, collector, explorer)
        reached = (learner.counters.train >= due) & (due <= recipe.total_steps)
        if reached.any():
            success = (evaluate(env, learner.actors(), starts).returns > 0).mean(1)
            best = learner.archive
            clonings = best.clonings if isinstance(best, BestEpisodes) else np.zeros(recipe.num_seeds, int)
            for member in np.flatnonzero(reached):
                row = {"seed": recipe.seeds[member], "steps": due[member], "success": success[member]}
                rows.append(row | {"clonings": clonings[member]})
            due[reached] += interval
    return rows


def by_seed(rows: list[dict[str, float]]) -> np.ndarray:
    """Each seed's success at its last evaluation and over all of them, and updates that cloned, [3, S]."""
    own = [[row for row in rows if row["seed"] == seed] for seed in sorted({row["seed"] for row in rows})]
    numbers = [(x[-1]["success"], np.mean([row["success"] for row in x]), x[-1]["clonings"]) for x in own]
    return np.array(numbers, float).T


def report(name: str, clip: list[dict[str, float]], hpt: list[dict[str, float]]) -> None:
    """Print both arms, and what the switch changes: paired by seed, 95 % intervals."""
    without, switched = by_seed(clip), by_seed(hpt)
    for arm, (last, over_all, clonings) in (("clip", without), ("hpt", switched)):
        solved = f"{(last > 0.5).sum()} of {len(last)} seeds solve it"
        print(f"{name} {arm}: {solved}; success {last.mean():.2f} at the end, {over_all.mean():.2f} over all", end="; ")
        print(f"{clonings.mean():.1f} updates cloned")
    for when, x in zip(("at the end", "over all"), switched[:2] - without[:2], strict=True):
        mean, half = mean_interval(x)
        print(f"{name} hpt - clip {when}: {mean:+.2f} ({mean - half:+.2f} to {mean + half:+.2f})", flush=True)


def main() -> None:
    """Train with the switch and without."""
    parser = flags_of_runs(__doc__)
    parser.add_argument("--env", nargs="+", default=ENVIRONMENTS)
    args = parser.parse_args()

    prepare()
    gymnasium.register("DistantGoal-v0", DistantGoal, max_episode_steps=50, disable_env_checker=True)
    rows = []
    for env in args.env:
        for estimator, advantage in ESTIMATORS.items():
            arms = {}
            for objective in OBJECTIVES:
                recipe = Recipe(
                    env,
                    seed=args.seed,
                    num_seeds=args.num_seeds,
                    total_steps=args.total_steps,
                    rollout_length=128,
                    advantage=advantage,
                    algorithm=PPO(epochs=4, minibatches=8, objective=OBJECTIVES[objective]),
                )
                arms[objective] = successes(recipe, args.evaluations)
                named = {"env": env, "estimator": estimator, "objective": objective}
                rows += [named | row for row in arms[objective]]
            report(f"{env} {estimator}", **arms)
    write(rows, args.out)


if __name__ == "__main__":
    main()
