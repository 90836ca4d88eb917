"""What sparse training keeps of the return: rules and sparsities against dense networks, large and of equal size.

    python benchmarks/sparse.py run --steps 1000000 [--arms dense-64 rigl-90 ...] [--envs ...] [--num-seeds 5]
    python benchmarks/sparse.py report

`run` trains each arm with seeds 0, 1, ... and keeps its curve under benchmarks/results/sparse/<steps>/<arm>/. A run
that is there already is not repeated. `report` prints a table for each number of steps and draws return against
sparsity. A score is a run's last evaluation, of ten, on seeds that training has not seen.

`small-90` is the dense network whose actor and critic have as many parameters, biases among them, as those of a 64-wide
network with 90 % of its weights absent. `fast-90` is the same with the longer steps that sparse layers take by default:
its learning rate is multiplied with (64 / width)^0.5. `wide` is a network of width 256 with as many weights as a dense
one of width 64, two thirds of them in the critic. Settings were chosen on seeds 100 to 104.
"""

import argparse
from itertools import count
from pathlib import Path

import numpy as np
from arms import finals, paired, ratio_interval, train
from matplotlib.figure import Figure

from rlsparse import cards
from rlsparse.interval import mean_interval
from rlsparse.params import Layout, actor_critic_layout
from rlsparse.plot import style_axes
from rlsparse.ppo import PPO
from rlsparse.sparse.config import NETWORKS, Sparse

RESULTS = Path(__file__).parent / "results" / "sparse"
ENVS = ("HalfCheetah-v5", "Hopper-v5", "Walker2d-v5")
RULES = {"static": "#E69F00", "set": "#56B4E9", "rigl": "#D55E00", "magnitude": "#009E73", "dcil": "#CC79A7"}
SPARSITIES = (80, 90, 95)
ARMS = (
    *("dense-64", "dense-256", "wide"),
    *(f"{kind}-{sparsity}" for sparsity in SPARSITIES for kind in ("small", "fast", *RULES)),
)
EVALUATIONS = 10


def flags(arm: str, env_id: str) -> list[str]:
    """Return what the arm asks of `rlsparse train` on this environment."""
    kind, _, number = arm.partition("-")
    if kind == "dense":
        return widths(int(number), int(number))
    if kind == "wide":
        return widths(256, 256) + wide_flags(env_id)
    if kind in ("small", "fast"):
        actor, critic = equal_widths(env_id, int(number) / 100)
        rate = PPO().learning_rate * (64 / actor) ** 0.5
        return widths(actor, critic) + (["--algorithm.learning-rate", f"{rate:.2g}"] if kind == "fast" else [])
    return ["--sparse", kind, "--sparsity", str(int(number) / 100)]


def widths(actor: int, critic: int) -> list[str]:
    """Return the flags for two hidden layers of these widths."""
    return ["--policy.actor-hidden", f"{actor}", f"{actor}", "--policy.critic-hidden", f"{critic}", f"{critic}"]


def layout(env_id: str, actor: int, critic: int) -> Layout:
    """Return where the parameters of networks of these widths lie."""
    card = cards.environment(env_id)
    return actor_critic_layout(card.observation_size, card.action_size, (actor, actor), (critic, critic))


def equal_widths(env_id: str, sparsity: float) -> tuple[int, int]:
    """Return the smallest widths of dense actor and critic with at least the parameters of sparse 64-wide ones."""
    full = layout(env_id, 64, 64)
    absent = dict.fromkeys(NETWORKS, 0)
    for slot, kept in Sparse(sparsity=sparsity).budgets(full):
        absent[slot.group] += slot.stop - slot.start - kept  # type: ignore[index]
    found = []
    for group in NETWORKS:
        wanted = size(full, group) - absent[group]
        found.append(next(w for w in count(1) if size(layout(env_id, w, w), group) >= wanted))
    return found[0], found[1]


def size(of: Layout, group: str) -> int:
    """Return how many parameters a network has, biases among them."""
    return sum(slot.stop - slot.start for slot in of.slots if slot.group == group)


def wide_flags(env_id: str) -> list[str]:
    """Return the sparsities that give 256-wide networks the weights of dense 64-wide ones."""
    dense, wide = (Sparse(sparsity=0.0).budgets(layout(env_id, w, w)) for w in (64, 256))
    total = sum(kept for _, kept in dense)
    chosen = ["--sparse", "static"]
    for group, share in zip(NETWORKS, (1 / 3, 2 / 3), strict=True):
        weights = sum(kept for slot, kept in wide if slot.group == group)
        chosen += [f"--sparse.{group}-sparsity", f"{1 - share * total / weights:.5f}"]
    return chosen


def report(folder: Path) -> None:
    """Print the table of one budget and draw its returns against sparsity."""
    arms = [arm for arm in ARMS if (folder / arm).is_dir()]
    envs = [env for env in ENVS if all((folder / arm / f"{env}.csv").exists() for arm in arms)]
    if not envs:
        return
    scores = {arm: [finals(folder / arm / f"{env}.csv") for env in envs] for arm in arms}
    print(f"\n{int(folder.name):,} steps per seed; mean final return with 95 % interval (seeds)")
    heads = ("arm", *envs, "IQM / dense-64, 95 %, paired", "IQM / small dense of equal size")
    print("".join(f"{head:<32}" if i else f"{head:<14}" for i, head in enumerate(heads)))
    for arm in arms:
        cells = [f"{arm:<14}"]
        for own in scores[arm]:
            mean, half_width = mean_interval(np.array([*own.values()]))
            cells.append(f"{mean:,.0f} ({mean - half_width:,.0f} to {mean + half_width:,.0f}, {len(own)})")
        others = ("dense-64", f"small-{arm.partition('-')[2]}")
        cells += [ratio(scores, arm, other) if other in scores and other != arm else "" for other in others]
        print("".join(f"{cell:<32}" if i else cell for i, cell in enumerate(cells)))
    draw(folder, scores, envs)


def ratio(scores: dict[str, list[dict[int, float]]], arm: str, other: str) -> str:
    """Compare two arms over all environments, seed by seed."""
    pairs = [paired(own, base) for own, base in zip(scores[arm], scores[other], strict=True)]
    center, low, high = ratio_interval(*zip(*pairs, strict=True))
    return f"{center:.2f} ({low:.2f} to {high:.2f})"


def draw(folder: Path, scores: dict[str, list[dict[int, float]]], envs: list[str]) -> None:
    """Draw mean return against sparsity: a line for each rule and for small dense networks, with intervals."""
    figure = Figure(figsize=(4.4 * len(envs), 3.8), layout="constrained", dpi=130)
    for i, (axes, env) in enumerate(zip(figure.subplots(1, len(envs), squeeze=False)[0], envs, strict=True)):
        for k, (kind, colour) in enumerate({"small": "#000000", "fast": "#888888", **RULES}.items()):
            there = [s for s in SPARSITIES if f"{kind}-{s}" in scores]
            runs = [np.array([*scores[f"{kind}-{s}"][i].values()]) for s in there]
            means, halves = zip(*map(mean_interval, runs), strict=True) if runs else ((), ())
            label = {"small": "dense, as many parameters", "fast": "the same, longer steps"}.get(kind, kind)
            x = np.array(there) + 0.25 * (k - 3)  # beside each other, lest intervals hide intervals
            axes.errorbar(
                x, means, halves, color=colour, label=label, marker="o", markersize=4, linewidth=1.5, capsize=2
            )
        if "dense-64" in scores:
            dense = np.mean([*scores["dense-64"][i].values()])
            axes.axhline(dense, color="grey", linestyle=":", linewidth=1.5, label="dense, width 64")
        seeds = len(next(iter(scores.values()))[i])
        axes.set(title=f"{env}, n = {seeds}", xticks=SPARSITIES, ylim=(0, None))
        style_axes(axes)
    figure.axes[0].legend(loc="lower left", frameon=False, fontsize=8)
    figure.supxlabel("weights absent in actor and in critic, %", fontsize=9)
    figure.supylabel("evaluation return at the end, mean and 95 % interval", fontsize=9)
    figure.savefig(RESULTS / f"{folder.name}.png")


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "report"))
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--arms", nargs="*", default=ARMS, choices=ARMS)
    parser.add_argument("--envs", nargs="*", default=ENVS)
    parser.add_argument("--num-seeds", type=int, default=5)
    asked = parser.parse_args()
    for arm in asked.arms if asked.what == "run" else ():
        for env in map(cards.resolve_environment, asked.envs):
            curve = RESULTS / str(asked.steps) / arm / f"{env}.csv"
            every = ["--eval-every", str(asked.steps // EVALUATIONS)]
            train(curve, env, asked.steps, asked.num_seeds, flags(arm, env) + every)
    for folder in sorted((x for x in RESULTS.glob("[0-9]*") if x.is_dir()), key=lambda x: int(x.name)):
        report(folder)


if __name__ == "__main__":
    main()
