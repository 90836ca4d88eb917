"""Cells of small studies, as they are before anything is trained."""

from pathlib import Path

import tiny

from rlsparse.study.cell import Cell


def cell(name="ppo", seed=0, **changes):
    recipe = tiny.recipe(seed=seed, **changes)
    asked = ("eval-every", "eval-episodes")
    folder = Path("study", recipe.env, name, f"seeds-{seed}-{recipe.seeds[-1]}")
    return Cell("ppo", recipe, asked, folder, name, name)
