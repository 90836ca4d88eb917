"""What sparse training costs: by the weights that are there alone, with zeros carried along, and of dense networks.

    python benchmarks/sparse_speed.py [--rounds 7]

Each side takes turns in one process, with one BLAS thread, on PPO's and TRPO's cards for HalfCheetah and 5 seeds.
Updates are those of one rollout; training is a rollout with its update, for RigL a whole cycle of four, of which one
gathers the gradients of absent weights. Medians of processor time, of all threads, so that other
programs on the machine count as little as can be. Writes benchmarks/results/sparse_speed.csv and .png.
"""

import argparse
import csv
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from rlsparse import loop
from rlsparse.compare.plot import style_axes
from rlsparse.learner.learner import Learner
from rlsparse.learner.network import ActorCritic
from rlsparse.learner.records import Batch
from rlsparse.learner.sparsity import DENSE
from rlsparse.run import cards
from rlsparse.run import session as sessions
from rlsparse.run.device import prepare
from rlsparse.run.recipe import Recipe, from_dict
from rlsparse.sparse.config import Sparse
from rlsparse.sparse.rules import RigL, Static

ENV, SEEDS = "HalfCheetah-v5", 5
RESULTS = Path(__file__).parent / "results"
WIDTHS, SPARSITIES = (64, 256), (0.8, 0.9, 0.95, 0.98)
SIDES = {"dense": "#56B4E9", "zeros carried along": "#999999", "packed": "#0072B2"}
Row = dict[str, Any]


def recipe_for(agent: str, width: int) -> Recipe:
    """Return the card's recipe with two hidden layers of this width."""
    recipe = from_dict({"env": ENV, **cards.agent(agent).recipe_for(ENV)}, agent)
    policy = replace(recipe.policy, actor_hidden=(width, width), critic_hidden=(width, width))
    return replace(recipe, policy=policy, num_seeds=SEEDS)


def processor_seconds(sides: list[Callable[[], Any]], rounds: int) -> list[float]:
    """Return the median processor time of each side, in turns; the first round does not count."""
    spent = np.empty((rounds + 1, len(sides)))
    for times in spent:
        for i, side in enumerate(sides):
            start = time.process_time()
            side()
            times[i] = time.process_time() - start
    return np.median(spent[1:], 0).tolist()


def updates(agent: str, width: int, sparsity: float, rounds: int) -> list[float]:
    """Return the seconds of an update: dense, masked, packed."""
    recipe = recipe_for(agent, width)
    learners = [learner_of(recipe.policy, sparse) for sparse in (None, *2 * [Sparse(sparsity, rule=Static())])]
    batch = some_batch(recipe.num_envs * recipe.rollout_length)
    plain, algorithm = recipe.algorithm.update, recipe.algorithm
    dense, masked, packed = learners
    return processor_seconds(
        [
            lambda: list(plain(dense, batch)),
            lambda: list(plain(masked, batch)),
            lambda: list(packed.update(algorithm, batch)),
        ],
        rounds,
    )


def learner_of(policy: ActorCritic, sparse: Sparse | None) -> Learner:
    """Return a learner of HalfCheetah's sizes."""
    learner = Learner(policy, 17, 6, range(SEEDS), sparse=sparse or DENSE)
    learner.begin_iteration(10**9)
    return learner


def some_batch(samples: int) -> Batch:
    """Draw what might be a rollout."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal((SEEDS, samples, *shape)).astype(np.float32)

    return Batch(draw(17), draw(6), draw() - 6, draw(), draw())


def training(agent: str, width: int, rounds: int) -> list[float]:
    """Return the seconds of four rollouts with their updates, of RigL at 90 %: dense, masked, packed."""
    sides = []
    for sparse, packs in ((None, False), (Sparse(0.9, rule=RigL()), False), (Sparse(0.9, rule=RigL()), True)):
        recipe = replace(recipe_for(agent, width), sparse=sparse, total_steps=10**9)
        sides.append(cycle(recipe, sessions.begin(recipe), packs))
    return processor_seconds(sides, rounds)


def cycle(recipe: Recipe, begun: tuple[Learner, Any, Any], packs: bool) -> Callable[[], None]:
    """Return four iterations of training."""
    learner, *_ = begun
    if not packs:
        learner.update = lambda algorithm, batch: algorithm.update(learner, batch)  # type: ignore[method-assign]

    def run() -> None:
        for _ in range(4):
            loop.iterate(recipe, *begun)

    return run


def main() -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    prepare()
    rows: list[Row] = []

    def tell(what: str, agent: str, width: int, sparsity: float, seconds: list[float]) -> None:
        where = {"what": what, "agent": agent, "width": width, "sparsity": sparsity}
        rows.append(where | dict(zip(SIDES, seconds, strict=True)))
        dense, masked, packed = seconds
        print(
            f"{what:9}{agent:5} width {width:3}, sparsity {sparsity:.2f}: dense {1e3 * dense:6.0f} ms, zeros carried "
            f"along {1e3 * masked:6.0f} ms, packed {1e3 * packed:6.0f} ms; dense / packed {dense / packed:.2f}",
            flush=True,
        )

    for agent in ("ppo", "trpo"):
        for width in WIDTHS:
            for sparsity in SPARSITIES:
                tell("update", agent, width, sparsity, updates(agent, width, sparsity, rounds))
            tell("training", agent, width, 0.9, training(agent, width, rounds))
    with (RESULTS / "sparse_speed.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({name: round(x, 4) if name in SIDES else x for name, x in row.items()} for row in rows)
    draw(rows)


def draw(rows: list[Row]) -> None:
    """Draw processor time of an update against sparsity."""
    figure = Figure(figsize=(8, 5.6), layout="constrained", dpi=130)
    for line, agent in zip(figure.subplots(2, 2, sharex=True), ("ppo", "trpo"), strict=True):
        for axes, width in zip(line, WIDTHS, strict=True):
            own = [r for r in rows if (r["what"], r["agent"], r["width"]) == ("update", agent, width)]
            for side, colour in SIDES.items():
                x, y = [100 * r["sparsity"] for r in own], [1e3 * r[side] for r in own]
                axes.plot(x, y, "o-", color=colour, label=side)
            axes.set(title=f"{agent.upper()}, width {width}", ylim=(0, None))
            style_axes(axes)
    figure.axes[0].legend(loc="lower left", frameon=False, fontsize=7)
    figure.supxlabel("weights absent in actor and in critic, %", fontsize=9)
    figure.supylabel("processor time of an update of 5 seeds, ms", fontsize=9)
    figure.savefig(RESULTS / "sparse_speed.png")


if __name__ == "__main__":
    main()
