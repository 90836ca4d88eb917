"""How much could probing win at most? True returns of policies around single updates, and what a free judge sees.

    python benchmarks/ceiling.py run [--envs HalfCheetah Hopper Walker2d] [--num-seeds 2] [--seed 104]
    python benchmarks/ceiling.py report

`run` trains the `ppo` card below runs/benchmarks/ceiling or --out. After 10, 40 and 80 % of its steps it tries policies
around the next update on 32 episodes each: on the line of the update, in random directions within the span of its
epochs, and in any directions, 1, 3 and 10 times as far as the update went. These steps are not counted: no probe could
pay for them. Keeps benchmarks/results/ceiling.csv, and goes on where it was stopped. `report` prints Markdown: by how
much the policy that wins on one half of the episodes is better on the other half, and the rank correlation of PPO's
clipped surrogate with the returns, on the rollout that was learned from and on the next one.
"""

import argparse
import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from arms import RESULTS, RUNS
from learning import number

import rlsparse
from rlsparse.explore.directions import with_length
from rlsparse.learner.streams import generator
from rlsparse.run import cards
from rlsparse.trained.objective import interval_of_rank, rank_correlation
from rlsparse.trained.survey import probe_episodes, returns_of
from rlsparse.trained.update import Update, next_update

ENVS = ("HalfCheetah-v5", "Hopper-v5", "Walker2d-v5")
STEPS = 1_000_000
SHARES = (0.1, 0.4, 0.8)
"""Of the budget, after which an update is looked at."""
LINE = (-1.0, -0.5, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0)
"""Further along the update, in its lengths."""
LENGTHS = (1.0, 3.0, 10.0)
DIRECTIONS = 20
EPISODES = 32
TABLE = RESULTS / "ceiling.csv"


def points(update: Update) -> Iterator[tuple[str, float, np.ndarray]]:
    """Yield kind, length and policy [P] of all that is tried; the policy after the update comes first."""
    moved, draw = update.after - update.before, generator(update.seed, "landscape", update.iteration)
    yield "after", 0.0, update.after
    yield "before", 0.0, update.before
    for length in LINE:
        yield "line", length, update.after + length * moved
    steps = np.diff(np.concatenate([update.before[None], update.anchors]), axis=0)
    within = draw.standard_normal((DIRECTIONS, len(steps))) @ steps
    anywhere = draw.standard_normal((DIRECTIONS, len(moved)))
    for kind, directions in (("span", within), ("anywhere", anywhere)):
        for length in LENGTHS:
            for direction in directions:
                yield kind, length, update.after + with_length(direction, length * np.linalg.norm(moved))


def returns(update: Update, policies: np.ndarray) -> np.ndarray:
    """Returns of policies [M, P] with their mean actions, on the same episodes; [M, EPISODES]."""
    return returns_of(probe_episodes(update, EPISODES), lambda done, of: None, 0, EPISODES, policies)


def around(update: Update, share: float) -> list[dict[str, object]]:
    """Return a row for each policy around an update."""
    kinds, lengths, policies = zip(*points(update), strict=True)
    tried = np.stack(policies)
    scores = returns(update, tried)
    beliefs = [x.surrogate(update.learner, update.member, update.searched, tried) for x in (update.seen, update.unseen)]
    half = EPISODES // 2
    where = {"env": update.recipe.env, "seed": update.seed, "share": share, "update": update.iteration}
    return [
        where
        | {"kind": kind, "length": length, "first_half": first, "second_half": second, "own": own, "next": following}
        for kind, length, first, second, own, following in zip(
            kinds, lengths, scores[:, :half].mean(1), scores[:, half:].mean(1), *beliefs, strict=True
        )
    ]


def run(asked: argparse.Namespace) -> None:
    """Train, look around, and keep the rows of every update when they are there."""
    new: dict[str, Any] = {"seed": asked.seed, "num_seeds": asked.num_seeds, "total_steps": STEPS}
    new |= {"checkpoint_every": round(STEPS * min(SHARES) / 2), "keep_checkpoints": 2 * round(1 / min(SHARES))}
    known = {(row["env"], row["seed"], row["share"]) for row in kept()}
    for env in asked.envs:
        folder = (asked.out or RUNS / "ceiling") / f"{env}-{asked.seed}"
        trained = rlsparse.train(resume=folder) if folder.exists() else rlsparse.train(env, run_dir=folder, **new)
        for seed in trained.recipe.seeds:
            for share in SHARES:
                if (env, str(seed), str(share)) not in known:
                    update = next_update(folder, seed, 1 + math.ceil(share * STEPS / trained.recipe.iteration_steps))
                    add(around(update, share))
                    print(f"{env}, seed {seed}, after {share:.0%}: update {update.iteration}", flush=True)


def kept() -> list[dict[str, str]]:
    """Return all rows."""
    return list(csv.DictReader(TABLE.open(newline=""))) if TABLE.exists() else []


def add(rows: list[dict[str, object]]) -> None:
    """Add rows to those that are kept."""
    new = not TABLE.exists()
    with TABLE.open("a", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)


def report() -> None:
    """Print a line for each update."""
    tried = [("line", None), *((kind, length) for kind in ("span", "anywhere") for length in LENGTHS)]
    heads = [kind if length is None else f"{kind} {length:g}" for kind, length in tried]
    print(f"| task, seed, share | return | update | {' | '.join(heads)} | own rollout | next rollout |")
    print("|---|" + "---:|" * (len(heads) + 4))
    rows = kept()
    for place in dict.fromkeys((row["env"], row["seed"], row["share"]) for row in rows):
        own = [row for row in rows if (row["env"], row["seed"], row["share"]) == place]
        first, second, *beliefs = (
            np.array([float(row[name]) for row in own]) for name in ("first_half", "second_half", "own", "next")
        )
        mean = (first + second) / 2
        kind, length = (np.array([row[name] for row in own]) for name in ("kind", "length"))
        gains = []
        for name, far in tried:
            among = np.flatnonzero((kind == name) & ((length.astype(float) == far) | (far is None)))
            best = among[first[among].argmax()]
            gains.append(second[best] - second[0])
        cells = [number(mean[0]), number(mean[0] - mean[1]), *(number(x) for x in gains)]
        cells += [ranked(x[2:], mean[2:]) for x in beliefs]
        print(f"| {place[0].removesuffix('-v5')}, {place[1]}, {float(place[2]):.0%} | {' | '.join(cells)} |")


def ranked(belief: np.ndarray, mean: np.ndarray) -> str:
    """Say a rank correlation and its interval."""
    rank = rank_correlation(belief, mean)
    low, high = interval_of_rank(rank, len(mean))
    return f"{rank:.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    """Do what is asked, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "report"))
    parser.add_argument("--seed", type=int, default=104)
    parser.add_argument("--num-seeds", type=int, default=2)
    parser.add_argument("--envs", nargs="*", default=ENVS, type=cards.resolve_environment)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if asked.what == "run":
        run(asked)
    report()


if __name__ == "__main__":
    main()
