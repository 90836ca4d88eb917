"""What a run will take, before its first step: rollouts, updates, steps, evaluations and probes."""

import math
import os
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rlsparse.errors import UsageError
from rlsparse.explore.forecast import foresee, latest_start, moved, why_never
from rlsparse.learner.layout import Layout
from rlsparse.run.reading import MOST_OF_ARRAYS
from rlsparse.run.recipe import Recipe

EVALUATED = 0.25
"""Most steps of evaluations, as a share of the budget, unless --eval-every says how often they are."""

FEWEST_EVALUATIONS = 5
"""Of fewer there is no curve to see: before that, evaluations have fewer episodes."""

EARLIEST = 0.5
"""Share of the budget before which a start of probing is not moved."""


def fitted(recipe: Recipe, horizon: int, asked: Collection[str] = ()) -> tuple[Recipe, str | None]:
    """Return the recipe that a short budget can pay for, and what to say of it; most recipes stay as they are.

    Evaluations, if nobody said how often, are fewer, and then shorter; probing begins earlier if it could otherwise pay
    for no probe. What the user has `asked` for stays: eval-episodes, explore.start.
    """
    recipe, extent = _with_fewer_evaluations(recipe, horizon, "eval-episodes" in asked), _extent(recipe, horizon)
    explore = recipe.explore
    if explore is None or "explore.start" in asked or why_never(explore, *extent) is None:
        return recipe, None
    start = latest_start(explore, *extent)
    if start is None or start < EARLIEST:
        return recipe, None
    return replace(recipe, explore=replace(explore, start=start)), moved(explore, start, *extent[:2])


def unfitted(recipe: Recipe, asked: Collection[str]) -> dict[str, Any]:
    """Return what `fitted` may change, by flag, as it is before that: a run that is like this one begins there."""
    free: dict[str, Any] = {"eval-every": None} if recipe.eval_every is None else {}
    free |= {"eval-episodes": recipe.eval_episodes, "explore.start": recipe.explore.start if recipe.explore else None}
    return {flag: x for flag, x in free.items() if flag not in asked}


def _with_fewer_evaluations(recipe: Recipe, horizon: int, as_long: bool) -> Recipe:
    paid, episodes = int(EVALUATED * recipe.total_steps // horizon), recipe.eval_episodes
    most = paid // episodes
    if recipe.eval_every is not None or most > recipe.total_steps // recipe.eval_interval:
        return recipe
    if most < FEWEST_EVALUATIONS and not as_long:
        most = min(FEWEST_EVALUATIONS, paid)
        episodes = min(episodes, max(1, paid // max(1, most)))
    # the first one is before the first step, and the last one at the end, however short the run is
    every = math.ceil(recipe.total_steps / (max(2, most) - 1))
    return replace(recipe, eval_every=every, eval_episodes=episodes)


MOST_ROWS = 2**20
"""Of progress.csv; longer tables are not read."""

LARGE = 1e9
"""Bytes of all checkpoints of a run that are worth a line."""

SAVED_PER_PARAMETER = 16
"""Bytes in a checkpoint: the parameter, two moments of the optimiser, and the parameter of the best evaluation."""


@dataclass
class Plan:
    """How one member spends its budget if every episode of a probe is as long as an episode can be."""

    rollouts: int = 0
    train_steps: int = 0
    probes: int = 0
    probe_steps: int = 0
    evaluations: int = 1
    """The first one is before the first step."""


def predict(recipe: Recipe, horizon: int) -> Plan:
    """Return what a run takes; `horizon` is the most steps of an episode."""
    explore, rollout_steps, interval = recipe.explore, recipe.iteration_steps, recipe.eval_interval
    if explore is None:
        count, total = recipe.iterations, recipe.iterations * rollout_steps
        at_end = total // interval == (total - rollout_steps) // interval
        return Plan(count, total, evaluations=1 + min(total // interval, count) + at_end)
    probe_steps = explore.episodes_per_probe() * horizon
    plan, evaluated_at = Plan(), 0
    for probes in foresee(explore, *_extent(recipe, horizon)):
        plan.rollouts += not probes
        plan.probes += probes
        plan.train_steps, plan.probe_steps = plan.rollouts * rollout_steps, plan.probes * probe_steps
        total = plan.train_steps + plan.probe_steps
        if total // interval > evaluated_at // interval:
            plan.evaluations, evaluated_at = plan.evaluations + 1, total
    plan.evaluations += evaluated_at < plan.train_steps + plan.probe_steps
    return plan


def _extent(recipe: Recipe, horizon: int) -> tuple[int, int, int, int]:
    """Return budget, most steps of an episode, steps of a rollout and epochs of an update."""
    return recipe.total_steps, horizon, recipe.iteration_steps, recipe.algorithm.epochs


def describe(recipe: Recipe, layout: Layout, horizon: int) -> str:
    """Return the plan as lines for the terminal."""
    plan, explore, sparse = predict(recipe, horizon), recipe.explore, recipe.sparse
    waits = ", or more: environments wait for their group" if not recipe.advantage.autoreset else ""
    networks = len(sparse.densities_at_once()) if sparse else 1
    lines = [
        f"rollouts         {plan.rollouts:,} per seed, {recipe.num_envs} x {recipe.rollout_length} steps each{waits}",
        f"updates          {recipe.algorithm.describe(plan.rollouts)}",
        f"training steps   {plan.train_steps:,} per seed, {plan.train_steps * recipe.num_seeds:,} in all "
        f"(probe steps: {plan.probe_steps:,}{' per seed' * bool(plan.probe_steps)})",
        *([explore.describe(recipe.num_envs, recipe.total_steps, horizon, plan.probes)] if explore else []),
        f"evaluations      {plan.evaluations:,}, every {recipe.eval_interval:,} steps (--eval-every), of "
        f"{recipe.eval_episodes} episodes per seed"
        + (f" and each of {networks} densities" if networks > 1 else "")
        + f", at most {horizon:,} steps each, not part of the budget",
        *([sparse.describe(layout)] if sparse else []),
    ]
    return "\n".join(lines)


def check_size(recipe: Recipe, layout: Layout) -> None:
    """Raise UsageError for tables or policies that could be written, but not read again."""
    each = min(recipe.total_steps // recipe.eval_interval, recipe.iterations) + 1
    if (rows := recipe.num_seeds * each) > MOST_ROWS:
        every = math.ceil(recipe.total_steps / max(1, MOST_ROWS // recipe.num_seeds - 1))
        asked = f"--eval-every {recipe.eval_interval} makes {rows:,} rows of progress.csv"
        raise UsageError(f"{asked}, expected at most {MOST_ROWS:,}: use --eval-every {every}")
    most = MOST_OF_ARRAYS // policy_size(layout)
    if recipe.num_seeds > most:
        size = f"{recipe.num_seeds * policy_size(layout) / 2**30:,.1f} GiB, expected at most {MOST_OF_ARRAYS >> 30} GiB"
        raise UsageError(
            f"--num-seeds {recipe.num_seeds} of {layout.size:,} parameters each make a policy file of {size}: use "
            + (f"--num-seeds {most}, or fewer units" if most else "fewer units")
        )


def policy_size(layout: Layout) -> int:
    """Return the bytes of a member in policy.safetensors: parameters and normaliser."""
    return 4 * (layout.size + 2 * layout.obs_size + 8)


def disk(recipe: Recipe, layout: Layout, checkpoints: int, folder: Path) -> str | None:
    """Say how much so many checkpoints take, about, if it is more than LARGE bytes or than is free."""
    size = SAVED_PER_PARAMETER * layout.size * recipe.num_seeds
    there = next(path for path in (folder, *folder.parents, Path()) if os.path.exists(path))
    if checkpoints * size <= min(LARGE, free := shutil.disk_usage(there).free):
        return None
    few = f", where {free / 1e9:,.1f} GB are free" if checkpoints * size > free else ""
    each, whole = f"{size / 1e6:,.1f} MB", f"{checkpoints * size / 1e9:,.1f} GB"
    why = "--keep-checkpoints and --checkpoint-every say how many"
    return f"up to {checkpoints:,} checkpoints of about {each} each stay, {whole} on the disk{few}: {why}"


def warnings(recipe: Recipe, layout: Layout, horizon: int) -> Iterator[str]:
    """Yield what a user may not expect of a run: no probe at all, units without weights, a slow sparse update."""
    explore, sparse = recipe.explore, recipe.sparse
    found = [
        why_never(explore, *_extent(recipe, horizon)) if explore else None,
        sparse.dead_units(layout) if sparse else None,
        sparse.rule.slow() if sparse and recipe.simulator != "warp" else None,
    ]
    return filter(None, found)
