"""A study: arms x environments x settings x seeds, and the cells that it has, each an ordinary run."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from rlsparse.errors import RlsparseError, RunDirectoryError, UsageError
from rlsparse.run import choose, from_python
from rlsparse.run.recipe import Recipe, check, to_dict
from rlsparse.sim.user_classes import shown_name
from rlsparse.study.cell import Cell
from rlsparse.study.changed import differences
from rlsparse.study.fields import (
    NONE,
    Fields,
    as_table,
    at,
    flat,
    in_source,
    merged,
    short_name,
    value_in,
    without,
    wrong,
)
from rlsparse.study.folders import ranges_of_seeds, seeds_folder, setting_label, setting_text

MOST_CELLS = 10_000
"""More are a mistake, and take minutes to read."""


@dataclass(frozen=True)
class Arm:
    """An agent, and what differs from it."""

    name: str
    """Of its folder; empty for the agent that is usual on each environment, which then names it."""
    agent: str | None = None
    """Agent card, or the path of one."""
    like: str | None = None
    """Run whose recipe is the default instead."""
    fields: Fields = field(default_factory=dict, hash=False)
    """Nested fields of the recipe."""
    environments: dict[str, Fields] = field(default_factory=dict, hash=False)
    """By environment id, what differs there."""


@dataclass(frozen=True)
class Study:
    """Arms x environments x settings x seeds."""

    arms: tuple[Arm, ...]
    environments: tuple[str, ...]
    """Ids, whose code is trusted."""
    grid: dict[str, tuple[Any, ...]] = field(default_factory=dict, hash=False)
    """Of each swept field, by dotted name, its values; a setting is a combination of them."""
    device: str = "auto"
    trust: bool = False
    """Run the code of the environments of runs that arms are like."""
    source: str = "rlsparse.sweep"
    """What errors name."""


@dataclass(frozen=True)
class Failure:
    """A cell that cannot be trained."""

    label: str
    env: str
    reason: str
    """In one line."""
    code: int = UsageError.exit_code
    """With which a command ends for it."""
    arm: str = ""
    setting: dict[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Cells:
    """The cells of a study, and those that are refused: for their recipe, or for another run in their place."""

    cells: tuple[Cell, ...]
    failures: tuple[Failure, ...]


def cells(study: Study, out: Path) -> Cells:
    """Return the cells of a study whose runs lie in the folder `out`: those that are there, and those that are missing.

    Raises what is wrong with the first cell if no cell has a recipe that is valid.
    """
    found: list[Cell] = []
    failures: list[Failure] = []
    first: RlsparseError | None = None
    settings = _settings(study)
    for arm, env in product(study.arms, study.environments):
        named = replace(arm, name=arm.name or _usual_name(study, arm, env))
        for setting in settings:
            try:
                found += [*_cells_of(study, named, env, setting, out)]
            except RlsparseError as error:
                first = first or error
                words = _in_words(setting)
                refused = Failure(_label(named, words), shown_name(env), str(error), error.exit_code, named.name, words)
                failures.append(refused)
    if first and not found:
        of_several = f" (so no one of {len(failures):,} cells can be trained)" if len(failures) > 1 else ""
        raise type(first)(in_source(study.source, f"{first}{of_several}"))
    _refuse_equal_folders(found, study)
    others = {cell.folder: reason for cell in found if (reason := _other_run(cell))}
    failures += [_of_other_run(cell, others[cell.folder]) for cell in found if cell.folder in others]
    return Cells(tuple(cell for cell in found if cell.folder not in others), tuple(failures))


def _other_run(cell: Cell) -> str:
    """Return in one line why the run in a cell's place is not that of the cell; nothing if it is, or there is none."""
    try:
        return differences(cell)
    except RunDirectoryError as error:
        return str(error)


def _of_other_run(cell: Cell, reason: str) -> Failure:
    env = shown_name(cell.recipe.env)
    return Failure(cell.label, env, reason, RunDirectoryError.exit_code, cell.arm, cell.setting)


def _settings(study: Study) -> list[dict[str, Any]]:
    """Return all combinations of the values of the swept fields; the last field varies fastest."""
    count = prod(map(len, study.grid.values())) * len(study.arms) * len(study.environments)
    if count > MOST_CELLS:
        raise wrong(study.source, f"{count:,} cells are asked for, expected at most {MOST_CELLS:,}")
    return [dict(zip(study.grid, values, strict=True)) for values in product(*study.grid.values())]


def _cells_of(study: Study, arm: Arm, env: str, setting: dict[str, Any], out: Path) -> Iterator[Cell]:
    """Yield the cells of one arm in one environment with one setting: one for each run directory."""
    agent, recipe, asked = recipe_of(study, arm, env, setting)
    values = {name: _told(recipe, name, x) for name, x in setting.items()}
    folder = out / shown_name(recipe.env).replace("/", "-") / arm.name / setting_text(values)
    label = _label(arm, values)
    for seeds in ranges_of_seeds(folder, recipe.seeds):
        part = replace(recipe, seed=seeds.start, num_seeds=len(seeds))
        check(part)
        yield Cell(agent, part, asked, folder / seeds_folder(seeds[0], seeds[-1]), label, arm.name, values)


def _label(arm: Arm, values: dict[str, Any]) -> str:
    return ", ".join(filter(None, (arm.name, setting_label(values))))


def _usual_name(study: Study, arm: Arm, env: str) -> str:
    """Return what to call an arm without a name: its agent there, whatever settings make of its components."""
    swept = {name for name, values in study.grid.items() if any(isinstance(x, dict) for x in values)}
    fields = without(arm.fields, {"sparsity"} if "sparse" in swept else set())
    fields = {name: x for name, x in fields.items() if name not in swept}
    try:
        return recipe_of(study, replace(arm, fields=fields), env, {})[0]
    except RlsparseError:  # which the cells will tell
        return "usual"


def recipe_of(study: Study, arm: Arm, env: str, setting: dict[str, Any]) -> tuple[str, Recipe, tuple[str, ...]]:
    """Return agent, recipe and what was asked for of a cell; raises UsageError for what its components have not."""
    fields = merged(arm.fields, arm.environments.get(env, {}))
    for name, x in setting.items():
        fields = merged(fields, at(name, x))
    if "sparse" in setting and fields["sparse"] in (None, {"kind": NONE}):
        fields = without(fields, {"sparsity"})
    asked = from_python.asked(fields)
    given = _as_train(fields, {"env": env, **({"agent": arm.agent} if arm.agent else {})})
    try:
        agent, recipe = from_python.recipe(env, arm.agent, study.device, given, arm.like, study.trust)
    except UsageError as error:
        raise UsageError(str(error).removeprefix(f"{from_python.SOURCE}: ")) from error
    recipe, all_asked = choose.as_asked(recipe, arm.like, asked)
    return agent, recipe, tuple(sorted(all_asked))


def _as_train(fields: Fields, chosen: dict[str, str]) -> Fields:
    """Return fields as `rlsparse.train` takes them: components that cards have are named, or given in parts."""
    found = dict(fields)
    for name in (name for name in choose.SHORT_NAMES if isinstance(fields.get(name), dict)):
        parts = dict(fields[name])
        kind = parts.pop("kind", None)
        if kind == NONE and parts:
            raise UsageError(f"{name}.{next(iter(parts))} needs {name}, which is none here")
        if kind in (None, *choose.SHORT_NAMES[name]):
            rule = {"rule": merged({"kind": kind}, parts.get("rule", {}))} if name == "sparse" and kind else {}
            found[name] = parts | rule
        else:
            found[name] = _with_parts(name, kind, parts, chosen) if parts else kind
    return found


def _with_parts(name: str, card: str, parts: Fields, chosen: dict[str, str]) -> Fields:
    """Return the component that an agent card has, with what differs from it."""
    _, recipe = choose.chosen_recipe({**chosen, name: card})
    return merged(to_dict(getattr(recipe, name)), parts)


def _told(recipe: Recipe, name: str, x: Any) -> Any:
    """Return a setting's value as its recipe has it; components and policies as they were given."""
    x = as_table(x, name)
    return _name_in(x) if isinstance(x, dict) else value_in(recipe, name)


def _name_in(x: Any) -> Any:
    """Return the name of a component or a policy of which nothing else is given."""
    return next(iter(x.values())) if isinstance(x, dict) and x.keys() in ({"kind"}, {"policy"}) else x


def _in_words(setting: dict[str, Any]) -> dict[str, Any]:
    return {name: _name_in(x) for name, x in setting.items()}


def _refuse_equal_folders(found: list[Cell], study: Study) -> None:
    """Raise UsageError where two settings are the same, as 1 and 1.0 are, or two environments are called alike."""
    seen: dict[Path, Cell] = {}
    for cell in found:
        env, other = cell.recipe.env, seen.setdefault(cell.folder, cell).recipe.env
        if env != other:
            raise wrong(study.source, f"{other} and {env} would lie in one folder: sweep them with an --out for each")
        if seen[cell.folder] is not cell:
            names = " and ".join(map(short_name, study.grid))
            raise wrong(study.source, f"the setting {cell.label} is there twice: give different values of {names}")


def given_values(study: Study) -> Iterator[tuple[str, Any]]:
    """Yield the dotted names of all fields that arms fix, with their values."""
    for arm in study.arms:
        for table in (arm.fields, *arm.environments.values()):
            yield from flat(table).items()
