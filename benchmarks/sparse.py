"""What sparse training keeps of the return: rules and sparsities against dense networks, large and of equal size.

    python benchmarks/sparse.py run --steps 1000000 [--arms dense-64 trpo-kl-64-90 ...] [--envs ...] [--num-seeds 5]
    python benchmarks/sparse.py report

`run` trains each arm with seeds 0, 1, ... and keeps its curve under benchmarks/results/sparse/<steps>/<arm>/ (see
arms.py, also for --jobs, --out and --results). `report` prints a table for each number of steps, draws return against
sparsity, and the curves of one width and sparsity. A score is a run's last evaluation, of ten, on seeds that training
has not seen.

`rigl-256-90` has two hidden layers of 256 in actor and in critic, and 90 % of the weights of each are absent.
`kl-256-90` is the same and drops the weights that move the policy least; `kl_slow-256-90` is that without the longer
steps that sparse layers take by default. `small-256-90` are dense networks with as many parameters, biases among them,
and `fast-256-90` the same with such longer steps: the learning rate is multiplied with (256 / width)^0.5. `wide` is a
static network of width 256 with as many weights as a dense one of width 64, two thirds of them in the critic. All
learn by PPO's card; `trpo-kl-256-90` and its like by TRPO's, whose learning rate is the critic's. Settings were chosen
on seeds 100 to 104.
"""

from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from arms import Arms, curves_in, main
from matplotlib.figure import Figure
from tables import Scores, all_finals, draw_curves, print_table

from rlsparse.compare.plot import style_axes
from rlsparse.compare.statistics import mean_interval
from rlsparse.learner.layout import Layout, actor_critic_layout
from rlsparse.run import cards
from rlsparse.sparse.budgets import NETWORKS
from rlsparse.sparse.config import Sparse

ENVS = ("HalfCheetah-v5", "Hopper-v5", "Walker2d-v5")
APART = ("Ant-v5",)
"""Not in the ratios over the others, for few arms were run on it."""
RULES = {
    "static": {"rule": "static"},
    "set": {"rule": "set"},
    "rigl": {"rule": "rigl"},
    "kl": {"rule": "rigl", "drop_by": "kl"},
    "magnitude": {"rule": "magnitude"},
    "dcil": {"rule": "dcil"},
}
"""What the recipe says of sparse networks, but for how sparse they are."""
SPARSE = RULES | {f"{rule}_slow": RULES[rule] | {"rate_power": 0.0} for rule in ("static", "set", "kl")}
"""Those, and some without the longer steps."""
COLOURS = ("#E69F00", "#56B4E9", "#D55E00", "#0072B2", "#009E73", "#CC79A7")
LINES = {
    "small": ("dense, as many parameters", "#000000"),
    "fast": ("the same, longer steps", "#888888"),
    **{rule: (rule, colour) for rule, colour in zip(RULES, COLOURS, strict=True)},
}
"""What the picture calls an arm's kind, and its colour."""
CURVES = {
    "dense-256": "#CC79A7",
    **{f"{kind}-256-90": LINES[kind][1] for kind in ("small", "fast", "static", "set", "kl")},
}
"""Arms whose curves are drawn, and their colours."""
WIDTHS = (64, 256)
SPARSITIES = (80, 90, 95)
PPO_ARMS = (
    *("dense-64", "dense-256", "wide"),
    *(f"{kind}-{width}-{gone}" for width in WIDTHS for gone in SPARSITIES for kind in ("small", "fast", *SPARSE)),
)
ARMS = (*PPO_ARMS, *(f"trpo-{arm}" for arm in PPO_ARMS if not arm.startswith("dcil")))  # which needs minibatches
EVALUATIONS = 10


def arms(names: Iterable[str], envs: Iterable[str], steps: int) -> Arms:
    """Return what the arms ask of a sweep: sizes of networks follow the environment's observations and actions."""
    return {name: arm(name, envs, steps) for name in names}


def arm(name: str, envs: Iterable[str], steps: int) -> dict[str, Any]:
    """Return what an arm asks of a sweep."""
    algorithm, kind, size = split(name)
    agent = "trpo" if algorithm else "ppo"
    rates = {env: cards.agent(agent).recipe_for(env)["algorithm"]["learning_rate"] for env in envs}
    own = {env: networks(kind, size, env, rate) for env, rate in rates.items()}
    return {"agent": agent, "eval_every": steps // EVALUATIONS, "environments": own}


def networks(kind: str, size: str, env_id: str, rate: float) -> dict[str, Any]:
    """Return the fields that make an arm's networks; `rate` is the card's learning rate."""
    if kind == "wide":
        return widths(256, 256) | {"sparse": wide_sparsities(env_id)}
    full, *gone = map(int, size.split("-"))
    if kind == "dense":
        return widths(full, full)
    sparsity = gone[0] / 100
    if kind in SPARSE:
        return widths(full, full) | {"sparse": SPARSE[kind] | {"sparsity": sparsity}}
    actor, critic = equal_widths(env_id, full, sparsity)
    longer = {"algorithm": {"learning_rate": float(f"{rate * (full / actor) ** 0.5:.2g}")}}
    return widths(actor, critic) | (longer if kind == "fast" else {})


def widths(actor: int, critic: int) -> dict[str, Any]:
    """Return the fields for two hidden layers of these widths."""
    return {"policy": {"actor_hidden": [actor, actor], "critic_hidden": [critic, critic]}}


def layout(env_id: str, actor: int, critic: int) -> Layout:
    """Return where the parameters of networks of these widths lie."""
    card = cards.environment(env_id)
    return actor_critic_layout(card.observation_size, card.action_size, (actor, actor), (critic, critic))


def equal_widths(env_id: str, width: int, sparsity: float) -> tuple[int, int]:
    """Return the smallest widths of dense actor and critic with at least the parameters of sparse, wider ones."""
    full = layout(env_id, width, width)
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


def wide_sparsities(env_id: str) -> dict[str, Any]:
    """Return the static mask that gives 256-wide networks the weights of dense 64-wide ones."""
    dense, wide = (Sparse(sparsity=0.0).budgets(layout(env_id, w, w)) for w in (64, 256))
    total = sum(kept for _, kept in dense)
    chosen: dict[str, Any] = {"rule": "static"}
    for group, share in zip(NETWORKS, (1 / 3, 2 / 3), strict=True):
        weights = sum(kept for slot, kept in wide if slot.group == group)
        chosen[f"{group}_sparsity"] = round(1 - share * total / weights, 5)
    return chosen


def report(folder: Path) -> None:
    """Print the table of one budget, draw its returns against sparsity, and the curves of each algorithm."""
    print(f"\n{int(folder.name):,} steps per seed; mean final return with 95 % interval (seeds)")
    others = {"IQM / dense, as wide, paired": as_wide, "IQM / dense, as many parameters": as_many}
    scores, apart = final_scores(folder, ENVS), final_scores(folder, APART)
    print_table(scores, ENVS, others)
    if apart:
        print_table(apart, APART, others)
    draw(folder, scores)
    for algorithm in ("", "trpo-"):
        colours = {algorithm + arm: colour for arm, colour in CURVES.items()}
        broad = [algorithm + arm for arm in ("small-256-90", "kl-256-90")]
        if scores.keys() & colours.keys():
            name = folder.with_name(f"{folder.name}-{algorithm}curves.png")
            draw_curves(name, ENVS, colours, broad, curves_in(folder))


def final_scores(folder: Path, envs: Sequence[str]) -> Scores:
    """Return the final returns of the arms that were run on any of these environments."""
    found = all_finals(ARMS, envs, curves_in(folder))
    return {arm: own for arm, own in found.items() if own}


def as_wide(arm: str) -> str:
    """Return the dense arm of the same width and algorithm, for `wide` the one with as many weights."""
    algorithm, _, size = split(arm)
    return f"{algorithm}dense-{size.split('-')[0] or '64'}"


def as_many(arm: str) -> str:
    """Return the dense arm of the same number of parameters and algorithm."""
    algorithm, _, size = split(arm)
    return f"{algorithm}small-{size}"


def split(arm: str) -> tuple[str, str, str]:
    """Return what an arm's name says of algorithm, kind, and width and sparsity."""
    algorithm = "trpo-" if arm.startswith("trpo-") else ""
    kind, _, size = arm.removeprefix(algorithm).partition("-")
    return algorithm, kind, size


def draw(folder: Path, scores: Scores) -> None:
    """Draw mean return against sparsity, a row for each width: a line for each rule and for small dense networks."""
    widths = [width for width in WIDTHS if any(f"-{width}" in arm for arm in scores)]
    figure = Figure(figsize=(4.2 * len(ENVS), 3.4 * len(widths)), layout="constrained", dpi=130)
    for row, width in zip(figure.subplots(len(widths), len(ENVS), squeeze=False), widths, strict=True):
        for axes, env in zip(row, ENVS, strict=True):
            for i, (kind, (label, colour)) in enumerate(LINES.items()):
                runs = {gone: scores.get(f"{kind}-{width}-{gone}", {}).get(env) for gone in SPARSITIES}
                points = [(gone, *mean_interval(np.array([*own.values()]))) for gone, own in runs.items() if own]
                if points:
                    gone, means, halves = np.array(points, float).T
                    x = gone + 0.25 * (i - 3)  # beside each other, lest intervals hide intervals
                    axes.errorbar(x, means, halves, color=colour, label=label, marker="o", markersize=4, capsize=2)
            dense = scores.get(f"dense-{width}", {}).get(env)
            if dense:
                axes.axhline(np.mean([*dense.values()]), color="grey", linestyle=":", label="dense, same width")
            axes.set(title=f"{env}, width {width}", xticks=SPARSITIES, ylim=(0, None))
            style_axes(axes)
        if row[0].get_legend_handles_labels()[0]:
            row[-1].legend(*row[0].get_legend_handles_labels(), bbox_to_anchor=(1, 1), frameon=False, fontsize=7)
    figure.supxlabel("weights absent in actor and in critic, %", fontsize=9)
    figure.supylabel("final evaluation return, mean and 95 % interval over seeds", fontsize=9)
    figure.savefig(folder.with_suffix(".png"))


if __name__ == "__main__":
    main(__doc__, "sparse", ARMS, ENVS, lambda asked: arms(asked.arms, asked.envs, asked.steps), report)
