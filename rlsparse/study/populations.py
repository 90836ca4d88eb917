"""Which runs can be trained in lockstep, as one population: they differ in seeds and in numbers that may vary alone."""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

from rlsparse.run.recipe import Recipe
from rlsparse.study.joint_recipe import joint, varying_fields


def populations(recipes: Sequence[Recipe]) -> list[list[int]]:
    """Return groups of indices of recipes that can be trained together, in order of their first ones."""
    groups: dict[Recipe, list[int]] = {}
    for i, recipe in enumerate(recipes):
        groups.setdefault(_in_common(replace(recipe, seed=0, num_seeds=1)), []).append(i)
    return list(groups.values())


def why_apart(one: Recipe, other: Recipe) -> str:
    """Say why two recipes cannot be trained together; nothing if they can."""
    try:
        joint([one, other])
    except ValueError as error:
        return str(error)
    return ""


def _in_common(component: Any) -> Any:
    """Return a component with zero for each number that may vary."""
    varying, changes = varying_fields(component.__class__), {}
    for name in (f.name for f in fields(component)):
        value = getattr(component, name)
        if is_dataclass(value):
            changes[name] = _in_common(value)
        elif name in varying and value is not None:
            changes[name] = 0.0
    return replace(component, **changes)
