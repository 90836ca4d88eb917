"""What a study is, from plain values: names of agents and environments, arms, and the values of swept fields."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rlsparse.errors import UsageError
from rlsparse.learner.bounds import PlainName, within
from rlsparse.run import cards, from_python, trust
from rlsparse.run.device import check_name
from rlsparse.run.like import recipe_like
from rlsparse.run.reading import shorten
from rlsparse.study.fields import (
    Fields,
    check_field,
    flat,
    is_list,
    is_number,
    merged,
    nested,
    path,
    told_of,
    without,
    wrong,
)
from rlsparse.study.study import Arm, Study, given_values

SOURCE = "rlsparse.sweep"

OWN = ("envs", "agents", "arms", "settings", "like")
"""What else might be meant where the fields of all cells are."""

NOT_SWEPT = {
    "seed": "num_seeds says how many",
    "num_seeds": "it is one number",
    **dict.fromkeys(("env", "envs"), "envs lists them"),
    **dict.fromkeys(("agent", "agents"), "agents lists them, each an arm"),
}
"""What is no setting, and what says it instead."""


@dataclass(frozen=True)
class Given:
    """What a file, a command line or Python code says of a study; nothing is checked yet."""

    envs: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    arms: dict[str, Any] | None = None
    sweep: dict[str, Any] | None = None
    """Of fields, the values that are combined: dots between components, or tables."""
    fields: dict[str, Any] | None = None
    """Of all cells."""
    like: str | None = None
    over: dict[str, Any] | None = None
    """Of all cells, whatever arms say."""


def over(base: Given, other: Given, source: str, trust: bool, said: str = SOURCE) -> Given:
    """Return what the file `source` says, but where the user has `said` otherwise: that goes for all cells, and last.

    Raises UsageError if the file names code that is to be run, and nobody trusts it.
    """
    fields, sweep = nested(other.fields or {}, said), _grid(other.sweep or {}, said)
    others = bool(other.agents or other.arms or other.like)
    kept = replace(
        base,
        envs=() if other.envs else base.envs,
        agents=() if others else base.agents,
        arms=None if others else base.arms,
        like=None if others else base.like,
        sweep={name: x for name, x in _swept(base.sweep or {}).items() if name not in {*flat(fields), *sweep}},
        fields=without(nested(base.fields or {}, source), {*sweep, *(("wrappers",) if "wrappers" in fields else ())}),
    )
    if not trust:
        refuse_foreign_code(kept, source, "wrappers" in fields)
    return replace(
        kept,
        envs=other.envs or kept.envs,
        agents=other.agents or kept.agents,
        arms=other.arms or kept.arms,
        like=other.like or kept.like,
        sweep=(kept.sweep or {}) | sweep,
        over=fields,
    )


def refuse_foreign_code(given: Given, source: str, other_wrappers: bool) -> None:
    """Raise UsageError for an environment or a wrapper that a file names, and whose code is not ours or Gymnasium's.

    With `other_wrappers` those of the file are not used.
    """
    for env in given.envs:
        if module := env.rpartition(":")[0] or _foreign_module(env, source):
            raise UsageError(_refusal(source, "environment", env, module, f"by --envs {' '.join(given.envs)}"))
    tables = [given.fields or {}, {"arms": given.arms or {}}, {"sweep": given.sweep or {}}]
    for table in () if other_wrappers else tables:
        for name in _wrappers_in(table):
            if not str(name).startswith(trust.OURS) or {":", "."} & {*str(name).removeprefix(trust.OURS)}:
                otherwise = "name those of all cells by --wrappers"
                raise UsageError(_refusal(source, "wrapper", str(name), str(name), otherwise))


def _foreign_module(env: str, source: str) -> str | None:
    with told_of(source):
        return trust.foreign_module(cards.resolve_environment(env), Path(source))


def _refusal(source: str, what: str, name: str, module: str, otherwise: str) -> str:
    return (
        f"{source} names the {what} {shorten(name)}, for which {shorten(module)} would be imported and its code run: "
        f"if you trust it, say so by --trust, or {shorten(otherwise)}"
    )


def _wrappers_in(x: Any, within_wrappers: bool = False) -> Iterable[Any]:
    """Yield what tables and lists hold under the key "wrappers"."""
    if isinstance(x, Mapping):
        for key, item in x.items():
            yield from _wrappers_in(item, within_wrappers or str(key).rpartition(".")[2] == "wrappers")
    elif isinstance(x, list | tuple):
        for item in x:
            yield from _wrappers_in(item, within_wrappers)
    elif within_wrappers:
        yield x


def resolved(given: Given, source: str, device: str = "auto", trust: bool = False) -> Study:
    """Return the study that the arguments mean; raises UsageError, naming the `source`, for what is wrong in them."""
    common, last = nested(given.fields or {}, source, beside=OWN), nested(given.over or {}, source, beside=OWN)
    if not given.envs and given.like is None:
        example = 'envs = ["HalfCheetah"]' if source else "--envs HalfCheetah, or a study file before all flags"
        raise wrong(source, f"which environments? e.g. {example} (rlsparse envs lists them)")
    check_name(device)
    arms = tuple(_with_fields(arm, common, last) for arm in _arms(given, source))
    _refuse_twice("arm", [arm.name for arm in arms], source)
    grid = _grid(given.sweep or {}, source)
    with told_of(source):
        environments = tuple(map(cards.resolve_environment, given.envs or _of_like(given.like, trust)))
    _refuse_twice("environment", environments, source)
    study = Study(arms, environments, grid, device, trust, source)
    _refuse_several(study)
    if both := sorted({name for name, _ in given_values(study)} & grid.keys()):
        raise wrong(source, f"{both[0]} is swept, so it cannot have one value too: say one of both")
    return study


def _of_like(like: str | None, trust: bool) -> tuple[str, ...]:
    """Return the environment of the run that all cells are like."""
    return () if like is None else (recipe_like(like, None, trust)[1].env,)


def _arms(given: Given, source: str) -> list[Arm]:
    others = "agents" if given.agents else "arms" if given.arms else ""
    if given.like is not None and others:
        raise wrong(source, f"like and {others} both say which recipe is the default: give one of them")
    with told_of(source):
        found = [Arm(cards.agent(name).name, name) for name in given.agents]
    for name, table in (given.arms or {}).items():
        found.append(_arm(name, table, source))
    return found or [Arm("", like=given.like)]


def _arm(name: str, table: Any, source: str) -> Arm:
    where = f"arms.{name}"
    if not within(PlainName, name):
        raise wrong(source, f"the name of the arm {shorten(repr(name))} must be a plain one, as it names a folder")
    if not isinstance(table, Mapping):
        raise wrong(source, f'{where} must be a table, as {{agent = "ppo"}}, not {shorten(repr(table))}')
    rest = dict(table)
    agent, like = (_text(rest.pop(key, None), f"{where}.{key}", source) for key in ("agent", "like"))
    if agent and like:
        raise wrong(source, f"{where}: like and agent both say which recipe is the default: give one of them")
    if agent:
        with told_of(f"{source}: {where}"):
            cards.agent(agent)
    differs = rest.pop("environments", {})
    if not isinstance(differs, Mapping) or not all(isinstance(x, Mapping) for x in differs.values()):
        raise wrong(source, f"{where}.environments must be a table of tables, by environment")
    environments = {
        _environment_key(env, where, source): nested(fields, f"{source}: {where}") for env, fields in differs.items()
    }
    own = nested(rest, f"{source}: {where}", beside=("agent", "like", "environments"))
    return Arm(name, agent, like, own, environments)


def _text(x: Any, where: str, source: str) -> str | None:
    if x is None or isinstance(x, str | os.PathLike):
        return None if x is None else os.fspath(x)
    raise wrong(source, f"{where} must be text, not {shorten(repr(x))}")


def _environment_key(name: str, where: str, source: str) -> str:
    """Return the id of an environment in which an arm differs; one with a module in it is taken as it is."""
    try:
        return name if ":" in name else cards.resolve_environment(name)
    except UsageError as error:
        raise wrong(source, f"{where}.environments: {error}") from error


def _with_fields(arm: Arm, common: Fields, last: Fields) -> Arm:
    environments = {env: merged(fields, last) for env, fields in arm.environments.items()}
    return replace(arm, fields=merged(merged(common, arm.fields), last), environments=environments)


def _swept(table: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Return the values of each swept field, by dotted name; fields may be in tables, or have dots."""
    found: dict[str, Any] = {}
    for key, x in table.items():
        name = where + str(key).replace("-", "_")
        if isinstance(x, Mapping):
            found |= _swept(x, f"{name}.")
        else:
            found[name.removesuffix(".kind")] = x
    return found


def _grid(table: Mapping[str, Any], source: str) -> dict[str, tuple[Any, ...]]:
    grid = {}
    for name, values in _swept(table).items():
        if name in NOT_SWEPT:
            raise wrong(source, f"{name} is no setting: {NOT_SWEPT[name]}")
        check_field(name, source)
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise wrong(source, f"sweep {name} must be a list of values, as [1, 2], not {shorten(repr(values))}")
        found = [_value(name, x, source) for x in from_python.plain_numbers([*values])]
        if not found:
            raise wrong(source, f"sweep {name} has no values")
        for i, x in enumerate(found):
            if x in found[:i]:
                raise wrong(source, f"sweep {name} has the value {shorten(str(x))} twice")
        grid[name] = tuple(found)
    return grid


def _value(name: str, x: Any, source: str) -> Any:
    """Return a value of a swept field: a name of a kind as its table, one width as a list."""
    several = isinstance(x, list | tuple)
    if several and is_number(name):
        raise wrong(source, f"sweep {name}: {shorten(str(x))} is no single value: list all values one by one")
    x = [x] if is_list(name) and not several else x
    place: Any = nested({name: x}, source)
    for part in path(name):
        place = place[part]
    return place


def _refuse_several(study: Study) -> None:
    """Raise UsageError for a number that has several values outside of what is swept."""
    for name, x in given_values(study):
        if isinstance(x, list | tuple) and is_number(name):
            place = "settings" if study.source == SOURCE else "[sweep]"
            raise wrong(study.source, f"{name} has several values, {shorten(str(x))}: lists of them are in {place}")


def _refuse_twice(what: str, names: Sequence[str], source: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name.casefold() in seen:
            raise wrong(source, f"the {what} {name} is there twice: give each a name of its own")
        seen.add(name.casefold())
