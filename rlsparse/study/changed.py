"""Whether a run that is there already is the one that a cell of the study now asks for."""

import os

from rlsparse.errors import RlsparseError, RunDirectoryError
from rlsparse.run.directory import read_recipe
from rlsparse.run.like import as_asked_like
from rlsparse.run.naming import flat
from rlsparse.run.reading import shorten
from rlsparse.run.recipe import Recipe, to_dict
from rlsparse.study.cell import Cell
from rlsparse.study.folders import SEEDS, value_text

MOST_NAMED = 3
"""Differences that a line tells; further ones are counted."""


def differences(cell: Cell) -> str:
    """Return in one line what the run in a cell's directory has otherwise; nothing if it is that run, or not there.

    Raises RunDirectoryError for a directory that cannot be read, and for one with other seeds than its name says.
    """
    if not os.path.isfile(cell.folder / "recipe.toml"):
        return ""
    there = read_recipe(cell.folder)
    _check_seeds(cell, there)
    try:
        begun, _ = as_asked_like(there, str(cell.folder), ())
    except RlsparseError as error:
        raise RunDirectoryError(str(error)) from error
    then, now = flat(to_dict(begun)), flat(to_dict(cell.recipe))
    names = [name for name in then | now if then.get(name) != now.get(name)]
    if not names:
        return ""
    told = [shorten(f"{name} {_word(now, name)} ({_word(then, name)} there)") for name in names[:MOST_NAMED]]
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    longer = names == ["total_steps"] and begun.total_steps < cell.recipe.total_steps
    remedy = f"rlsparse train --resume {cell.folder} --total-steps {cell.recipe.total_steps}, " if longer else ""
    return (
        f"{cell.folder} was begun with another recipe than the study now says: {', '.join(told)}{more}; {remedy}"
        "undo the change, or name another --out"
    )


def _check_seeds(cell: Cell, there: Recipe) -> None:
    named = SEEDS.fullmatch(cell.folder.name)
    if named and [there.seeds[0], there.seeds[-1]] != [int(named[1]), int(named[2])]:
        raise RunDirectoryError(
            f"{cell.folder} holds seeds {there.seeds[0]} to {there.seeds[-1]}, not those of its name: give it back its "
            "name, or move it elsewhere"
        )


def _word(values: dict[str, object], name: str) -> str:
    return value_text(values[name]) if name in values else "not set"
