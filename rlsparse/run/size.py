"""How much memory and disk a run takes: told before its first step, and refused where it could not be read again."""

import math
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rlsparse.errors import UsageError
from rlsparse.learner.layout import Layout
from rlsparse.run.reading import MOST_OF_ARRAYS
from rlsparse.run.recipe import Recipe

MOST_ROWS = 2**20
"""Of progress.csv; longer tables are not read."""

LARGE = 1e9
"""Bytes of all checkpoints of a run that are worth a line."""

SAVED_PER_PARAMETER, HELD_PER_PARAMETER = 16, 50
"""Bytes of a checkpoint: the parameter, two moments, the parameter of the best evaluation. In memory beside those: the
gradient, what an iteration that is stopped goes back to, and the files of a checkpoint while it is written."""

PER_PROCESS, PER_ENVIRONMENT = 1e8, 2e3
"""Bytes of memory: Python with its libraries, and one simulated robot."""


@dataclass(frozen=True)
class Size:
    """Bytes that a run takes on the CPU, about."""

    memory: float
    """At most at a time."""
    checkpoint: float
    policy: float
    """Of policy.safetensors."""


def of(recipe: Recipe, layout: Layout) -> Size:
    """Return the size of a run; the constants are measured by benchmarks/size.py."""
    parameters, environments = layout.size * recipe.num_seeds, recipe.num_seeds * recipe.num_envs
    width = max(max(slot.shape) for slot in layout.slots)
    sample = 28 * layout.obs_size + 16 * layout.action_size + 8 * width + 150
    each = PER_ENVIRONMENT + sample * (recipe.rollout_length + recipe.algorithm.second_length)
    memory = PER_PROCESS + HELD_PER_PARAMETER * parameters + each * environments
    policy = 4 * (parameters + recipe.num_seeds * (2 * layout.obs_size + 8))
    return Size(memory, SAVED_PER_PARAMETER * parameters, policy)


def check(recipe: Recipe, layout: Layout) -> None:
    """Raise UsageError for tables or policies that could be written, but not read again."""
    each = min(recipe.total_steps // recipe.eval_interval, recipe.iterations) + 1
    if (rows := recipe.num_seeds * each) > MOST_ROWS:
        every = math.ceil(recipe.total_steps / max(1, MOST_ROWS // recipe.num_seeds - 1))
        raise UsageError(
            f"--eval-every {recipe.eval_interval} makes {rows:,} rows of progress.csv, expected at most {MOST_ROWS:,}: "
            f"use --eval-every {every}"
        )
    if (size := of(recipe, layout).policy) > MOST_OF_ARRAYS:
        seeds = int(MOST_OF_ARRAYS // (4 * layout.size))
        fewer = f"--num-seeds {seeds}, or fewer units" if seeds else "fewer units"
        raise UsageError(
            f"--num-seeds {recipe.num_seeds} of {layout.size:,} parameters each make a policy file of "
            f"{size / 2**30:,.1f} GiB, expected at most {MOST_OF_ARRAYS / 2**30:.0f}: use {fewer}"
        )


def warnings(recipe: Recipe, layout: Layout, checkpoints: int, folder: Path) -> Iterator[str]:
    """Say how much so many checkpoints take if it is much, and what memory and disk do not hold."""
    size, machine = of(recipe, layout), memory()
    if recipe.simulator == "mujoco" and size.memory > machine:
        yield (
            f"about {size.memory / 1e9:,.0f} GB of memory are needed, and this machine has {machine / 1e9:,.0f}: use "
            "fewer --num-seeds or --num-envs, or a shorter --rollout-length"
        )
    each, whole = f"{size.checkpoint / 1e6:,.1f} MB", checkpoints * size.checkpoint
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if whole > min(LARGE, free := shutil.disk_usage(there).free):
        few = f", where {free / 1e9:,.1f} GB are free" if whole > free else ""
        yield (
            f"up to {checkpoints:,} checkpoints of about {each} each stay, {whole / 1e9:,.1f} GB on the disk{few}: "
            "--keep-checkpoints and --checkpoint-every say how many"
        )


def memory() -> float:
    """Return the bytes of memory of this machine; infinite where nobody tells."""
    with suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return math.inf
