"""Find what a set function sees: a projection of its environment's card, or observations by number."""

import difflib
import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from rlsparse.advantage.environments import About
from rlsparse.advantage.projection import Projection
from rlsparse.advantage.set_functions import SetFunction
from rlsparse.errors import UsageError

if TYPE_CHECKING:
    from rlsparse.advantage.submodular import Submodular

CELLS = 20
"""Cells along each dimension of a projection that no card describes."""

MOST_NUMBERS = 2**28
"""Most numbers kept of what the environments of all seeds have collected."""


def find(
    advantage: "Submodular", about: About, obs_size: int | None, environments: int
) -> tuple[SetFunction, Projection]:
    """Return the set function as it is for the projection that it sees; raises UsageError for what does not exist.

    Numbers of observations are held against `obs_size` if that is known; `environments` of all seeds keep numbers.
    """
    projection = _boxed(_named(about, advantage), advantage)
    if projection.source == "observation" and obs_size is not None and max(projection.index) >= obs_size:
        raise UsageError(
            f"--advantage.projection {advantage.projection}: {about.env_id} has observations of {obs_size} numbers, "
            f"so expected numbers from 0 to {obs_size - 1}"
        )
    function = advantage.set_function.on(projection)
    kept = environments * function.empty(len(projection.index)).size
    if kept > MOST_NUMBERS:
        raise UsageError(
            f"{environments:,} environments of all seeds with this --advantage.set-function keep {kept:,} numbers: "
            f"expected at most {MOST_NUMBERS:,}; use fewer --num-envs or --num-seeds"
        )
    return function, projection


def _named(about: About, advantage: "Submodular") -> Projection:
    name = advantage.projection
    if name is not None and re.fullmatch(r"obs:\d+(,\d+)*", name):
        index = tuple(int(number) for number in name[4:].split(","))
        if not advantage.low or not advantage.high:
            raise UsageError(f"--advantage.projection {name} needs a box: give --advantage.low and --advantage.high")
        many = len(index)
        return Projection(f"observation {name[4:]}", "observation", index, (0,) * many, (1,) * many, (CELLS,) * many)
    known = about.projections
    if name is None and known:
        return next(iter(known.values()))
    if name is not None and name in known:
        return known[name]
    asked = "--advantage submodular" if name is None else f"--advantage.projection {name}"
    near = difflib.get_close_matches(name or "", known, 1)
    hint = f": did you mean {near[0]}?" if near else ""
    has = f"{about.env_id} has the projections {', '.join(known)}" if known else f"{about.env_id} has no projections"
    other = "name observations by number, as in --advantage.projection obs:0,2"
    raise UsageError(f"{asked}{hint or f': {has}'}{'' if hint else f'; or {other}'}")


def _boxed(projection: Projection, advantage: "Submodular") -> Projection:
    """Put the box that was asked for in place of the projection's own."""
    low, high = advantage.low or projection.low, advantage.high or projection.high
    for side, given in (("low", low), ("high", high)):
        if len(given) != len(projection.index):
            raise UsageError(
                f"--advantage.{side} {' '.join(f'{x:g}' for x in given)}: expected one number for each of "
                f"{len(projection.index)}: {projection.description}"
            )
    if not all(-math.inf < a < b < math.inf for a, b in zip(low, high, strict=True)):
        raise UsageError(
            f"--advantage.low {' '.join(f'{x:g}' for x in low)} must lie below "
            f"--advantage.high {' '.join(f'{x:g}' for x in high)}"
        )
    return replace(projection, low=low, high=high)
