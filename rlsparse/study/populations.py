"""Which runs can be trained in lockstep, as one population: they differ in seeds and in numbers that may vary alone."""

from collections.abc import Sequence

from rlsparse.run.recipe import Recipe
from rlsparse.study.joint_recipe import joint


def populations(recipes: Sequence[Recipe]) -> list[list[int]]:
    """Return groups of indices of recipes that can be trained together, in order of their first ones."""
    groups: list[list[int]] = []
    for i, recipe in enumerate(recipes):
        group = next((group for group in groups if not why_apart(recipes[group[0]], recipe)), None)
        if group is None:
            groups.append([i])
        else:
            group.append(i)
    return groups


def why_apart(one: Recipe, other: Recipe) -> str:
    """Say why two recipes cannot be trained together; nothing if they can."""
    try:
        joint([one, other])
    except ValueError as error:
        return str(error)
    return ""
