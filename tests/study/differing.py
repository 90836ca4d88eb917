"""Recipes that differ in numbers, of a size in which no two axes are of one length."""

from dataclasses import replace

from rlsparse.run.compatibility import components
from rlsparse.study.joint_recipe import varying_fields

SIZE = {"num_seeds": 2, "num_envs": 6, "rollout_length": 8, "total_steps": 192}
"""Four iterations; four members in six environments, so that no two axes are of one length."""


def changed(component, place, value):
    """The component with another value at a place: names of fields, dots between."""
    name, _, rest = place.partition(".")
    return replace(component, **{name: changed(getattr(component, name), rest, value) if rest else value})


def varied(recipe, factor):
    """The recipe with all numbers that may vary and are not zero, in all its components, multiplied by a factor."""
    for place, component in list(components(recipe)):
        for name in varying_fields(type(component)):
            if isinstance(usual := getattr(component, name), float):
                recipe = changed(recipe, f"{place}.{name}", usual * factor)
    return recipe
