"""What helps where success is rare: HPT's switch to the best episodes, and help for groups of episodes that stall.

    python benchmarks/rare_success.py run [--arms gae-clip gae-hpt ...] [--envs ...] [--num-seeds 10]
    python benchmarks/rare_success.py report

`run` trains each arm with seeds 0, 1, ... and keeps its curve under benchmarks/results/rare_success/<steps>/<arm>/ (see
arms.py, also for --jobs, --out and --results). `report` prints how many seeds learn a task (succeed in most episodes of
their last evaluation), success at the end and over all evaluations, and what the help changes, paired by seed, with
95 % intervals.

DistantGoal pays nothing but 1 for a success: its mean return is the share of 20 episodes that succeed. An evaluation on
MountainCarContinuous counts as a success if its mean return is positive. Settings are the library's usual ones, but for
shorter rollouts and fewer minibatches; nothing was tuned on these seeds.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from arms import Arms, curves_in, environment_name, main

from rlsparse.advantage.estimators import GAE
from rlsparse.advantage.group_relative import GroupRelative
from rlsparse.advantage.scaffold import Scaffold
from rlsparse.algorithms.cloning import HPT
from rlsparse.algorithms.ppo import PPO
from rlsparse.compare.statistics import mean_interval
from rlsparse.learner.network import ActorCritic
from rlsparse.run.directory import read_progress

GOAL = f"{Path(__file__).parent / 'distant_goal.py'}:DistantGoal"
ENVS = (GOAL, "MountainCarContinuous-v0")
COMPARED = {
    "gae-clip": None,
    "gae-hpt": "gae-clip",
    "group-clip": None,
    "group-hpt": "group-clip",
    "group-after-4": "group-clip",
    "group-after-1": "group-clip",
}
"""The arms, each with the one that does without its help."""


def arms(names: Iterable[str]) -> Arms:
    """Return what the arms ask of a sweep."""
    return {name: arm(*name.split("-", 1)) for name in names}


def arm(estimator: str, objective: str) -> dict[str, object]:
    """Return what an arm asks of a sweep."""
    after = int(objective.removeprefix("after-")) if objective.startswith("after-") else 0
    groups = GroupRelative(unseen=1.0, scaffold=Scaffold(after=after))
    usual = PPO(epochs=4, minibatches=8)
    return {
        "rollout_length": 128,
        "eval_every": 5000,
        "eval_episodes": 20,
        "policy": ActorCritic(),
        "advantage": GAE() if estimator == "gae" else groups,
        "algorithm": PPO(epochs=4, minibatches=8, objective=HPT()) if objective == "hpt" else usual,
        "environments": {GOAL: {"env_kwargs": {"max_episode_steps": 50}}},
    }


def successes(curve: Path) -> dict[int, np.ndarray]:
    """Return each seed's success at its evaluations, but for the one before training."""
    found: dict[int, list[float]] = {}
    for row in (row for row in read_progress(curve) if row["total_steps"] > 0):
        success = row["return_mean"] if curve.stem == "DistantGoal" else float(row["return_mean"] > 0)
        found.setdefault(int(row["seed"]), []).append(success)
    return {seed: np.array(own) for seed, own in found.items()}


def report(folder: Path) -> None:
    """Print what every arm has, and what its help changes."""
    print(f"\n{int(folder.name):,} steps per seed; success at the end and over all evaluations, mean over seeds")
    for env in ENVS:
        files = {arm: file for arm in COMPARED if (file := curves_in(folder)(arm, env)).exists()}
        runs = {arm: successes(file) for arm, file in files.items()}
        for arm, own in runs.items():
            last, over_all = scores(own, own)
            solved = f"{(last > 0.5).sum()} of {len(last)} seeds learn it"
            clonings = share_cloned(files[arm])
            name = f"{environment_name(env)} {arm}"
            print(f"{name}: {solved}; success {last.mean():.2f} at the end, {over_all.mean():.2f} over all{clonings}")
            if (other := COMPARED[arm]) in runs:
                print_difference(f"{name} - {other}", own, runs[other])


def scores(runs: dict[int, np.ndarray], seeds: Iterable[int]) -> np.ndarray:
    """Return the success of these seeds at the end, and on the mean of all evaluations, [2, seeds]."""
    return np.array([(runs[seed][-1], runs[seed].mean()) for seed in sorted(seeds)]).T


def print_difference(name: str, own: dict[int, np.ndarray], other: dict[int, np.ndarray]) -> None:
    """Print the differences of two arms, paired by seed."""
    seeds = own.keys() & other.keys()
    for when, x in zip(("at the end", "over all"), scores(own, seeds) - scores(other, seeds), strict=True):
        mean, half = mean_interval(x)
        print(f"{name} {when}: {mean:+.2f} ({mean - half:+.2f} to {mean + half:+.2f})")


def share_cloned(curve: Path) -> str:
    """Say which share of all updates cloned, if any may."""
    shares = [row["cloned"] for row in read_progress(curve) if row["total_steps"] > 0 and "cloned" in row]
    return f"; {np.nanmean(shares):.1%} of updates cloned" if shares else ""


if __name__ == "__main__":
    main(__doc__, "rare_success", COMPARED, ENVS, lambda asked: arms(asked.arms), report, steps=80_000, num_seeds=10)
