"""The fields of all recipes by dotted name, and tables of some of them: merged, looked up, put into a recipe."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

from rlsparse.errors import UsageError, nearest
from rlsparse.learner.kinds import kind_of, kinds
from rlsparse.run.other_names import ours
from rlsparse.run.reading import shorten
from rlsparse.run.recipe import Recipe, to_dict

Fields = dict[str, Any]
"""Nested fields of a recipe, as `rlsparse.train` takes them; a component's kind is its `kind`."""

SHORT = ("sparsity",)
"""Fields that have a shorter name beside the one after their place."""

ELSEWHERE = {
    "env": "envs",
    "environments": "envs",
    "agent": "agents",
    "num_seed": "num_seeds",
    "seeds": "num_seeds",
    **dict.fromkeys(("grid", "parameters", "settings", "sweep"), "sweep, or settings in Python"),
}
"""What is no field of all cells, and what says it instead."""

NONE = "none"
"""The kind of a component that a recipe does without."""

FREE = "env_kwargs"
"""The table whose keys are those of the environment."""


def in_source(source: str, text: str) -> str:
    """Say where something is wrong, and what; on a command line, which has no name, only what."""
    return f"{source}: {text}" if source else text


def wrong(source: str, text: str) -> UsageError:
    """Return the error that says what is wrong in a `source`."""
    return UsageError(in_source(source, text))


@contextmanager
def told_of(source: str) -> Iterator[None]:
    """Name the `source` in errors about names that it holds."""
    try:
        yield
    except UsageError as error:
        raise wrong(source, str(error)) from error


@cache
def optional_fields() -> set[str]:
    """Return the dotted names of numbers that may be none."""
    hints = [(name, get_args(hint)) for name, hint in _fields_of(Recipe, "") if not kinds(hint)]
    return {name for name, options in hints if type(None) in options and str not in options}


@cache
def known_fields() -> dict[str, Any]:
    """Return the annotation of every field that any recipe may have, by dotted name."""
    return dict(_fields_of(Recipe, "")) | dict.fromkeys(SHORT, float)


def _fields_of(cls: type, where: str) -> Iterator[tuple[str, Any]]:
    for name, hint in get_type_hints(cls).items():
        if name in (f.name for f in fields(cls)):  # type: ignore[arg-type]
            yield where + name, hint
            for part in kinds(hint).values():
                yield from _fields_of(part, f"{where}{name}.")


def check_field(name: str, source: str, beside: Sequence[str] = ()) -> None:
    """Raise UsageError, with the nearest one, unless some recipe has a field of this dotted name.

    `beside` is what else might have been meant there.
    """
    known = known_fields()
    owner, _, last = name.rpartition(".")
    free = name.startswith(f"{FREE}.") and last != ""
    if free or (last == "kind" and owner in known) or (name in known and name not in ELSEWHERE):
        return
    near = nearest(name, beside, cutoff=0.8) or _nearest_field(name)
    hint = f"did you mean {near}?" if near else "docs/train.md lists them"
    raise wrong(source, f"unknown field {shorten(name)}: {hint}")


def _nearest_field(name: str) -> str | None:
    """Return the field that a name means: one that ends so, one that is called so elsewhere, or the most similar."""
    first, last = name.partition(".")[0], name.rpartition(".")[2]
    ordered = sorted(known_fields(), key=lambda other: other.partition(".")[0] != first)
    ends = {other.rpartition(".")[2]: other for other in reversed(ordered)}
    found = ELSEWHERE.get(name) or ends.get(last) or _elsewhere_called(last) or nearest(name, known_fields())
    return found or ends.get(nearest(last, ends) or "")


def _elsewhere_called(name: str) -> str:
    """Return the field that other libraries call so; a text as it is for what is no single field."""
    flag = ours(name.replace("_", "-")) or ""
    return flag.removeprefix("--").replace("-", "_") if flag.count(" ") == 0 else flag


def nested(table: Mapping[str, Any], source: str, where: str = "", beside: Sequence[str] = ()) -> Fields:
    """Return a table whose keys may hold dots and hyphens as nested fields; the name of a kind becomes its table.

    The text "none" is None, for which TOML has no word.

    Raises UsageError for a field that no recipe has; `beside` is what else might have been meant.
    """
    found: Fields = {}
    for key, x in table.items():
        first, _, rest = str(key).replace("-", "_").partition(".")
        name = where + first
        if rest:
            inner = {rest: x} if first == FREE else nested({rest: x}, source, f"{name}.")
            found = merged(found, {first: inner}, where)
            continue
        check_field(name, source, beside)
        if first == "kind" and not isinstance(x, str):
            raise wrong(source, f"{name} must be text, not {shorten(repr(x))}")
        if isinstance(x, Mapping) and first != FREE:
            x = nested(x, source, f"{name}.")
        elif isinstance(x, str) and len(kinds(known_fields().get(name))) > 0:
            x = {"policy" if name == "init" else "kind": x}
        elif isinstance(x, str) and x.casefold() == NONE and name in optional_fields():
            x = None
        found = merged(found, {first: x}, where)
    return found


def merged(base: Fields, other: Fields, where: str = "") -> Fields:
    """Return fields of which the `other` ones go first; another kind of component brings none of the base's fields."""
    both = dict(base)
    for name, x in other.items():
        before = as_table(both.get(name), where + name)
        if isinstance(x, dict) and isinstance(before, dict) and _goes_on(before, x.get("kind")):
            x = merged(before, x, f"{where}{name}.")
        both[name] = x
    return both


def _goes_on(before: Fields, kind: str | None) -> bool:
    """Whether a component of a kind, or of that which it has, keeps what it had before."""
    return kind != NONE and kind in (None, before.get("kind", kind))


def as_table(component: Any, name: str) -> Any:
    """Return a component as the table of its fields."""
    if not is_dataclass(component) or isinstance(component, type):
        return component
    several = len(kinds(known_fields().get(name))) > 1
    return ({"kind": kind_of(type(component))} if several else {}) | to_dict(component)


def flat(table: Fields, where: str = "") -> Fields:
    """Return nested fields by dotted name; the kind of a component is told as the component."""
    found: Fields = {}
    for name, x in table.items():
        place = where + name
        if isinstance(x, dict) and x:
            found |= flat(x, f"{place}.")
        elif name == "kind" and where:
            found[where.removesuffix(".")] = x
        else:
            found[place] = x
    return found


def without(table: Fields, names: set[str], where: str = "") -> Fields:
    """Return nested fields but for those of these dotted names, in tables without them too."""
    kept: Fields = {}
    for name, x in table.items():
        place = where.removesuffix(".") if name == "kind" and where else where + name
        if isinstance(x, dict):
            inner = without(x, names, f"{where}{name}.")
            kept |= {name: inner} if inner or not x else {}
        elif place not in names:
            kept[name] = x
    return kept


def path(name: str) -> list[str]:
    """Return the parts of a dotted name; what an environment calls its arguments is one."""
    return name.split(".", 1) if name.startswith(f"{FREE}.") else name.split(".")


def at(name: str, x: Any) -> Fields:
    """Return nested fields of which that of a dotted name has a value."""
    for part in reversed(path(name)):
        x = {part: x}
    return x


def is_number(name: str) -> bool:
    """Whether a field holds one number, or one of yes and no."""
    hint = known_fields().get(name)
    return bool({hint, *get_args(hint)} & {int, float, bool}) and not is_list(name)


def is_list(name: str) -> bool:
    """Whether a field holds several values, as the widths of layers."""
    return get_origin(_without_none(known_fields().get(name))) is tuple


def _without_none(hint: Any) -> Any:
    return next((x for x in getattr(hint, "__args__", ()) if get_origin(x) is tuple), hint)


def value_in(recipe: Recipe, name: str) -> Any:
    """Return what a recipe has in the field of a dotted name: plain values; a component is its kind, or none."""
    place: Any = recipe
    for part in path("sparse.sparsity" if name == "sparsity" else name):
        place = place.get(part) if isinstance(place, dict) else getattr(place, part, None)
    if name == "sparse" and place is not None:
        place = place.rule
    return kind_of(type(place)) if is_dataclass(place) else place


@cache
def short_name(name: str) -> str:
    """Return the shortest end of a dotted name that no field has which lies less deep, or as deep."""
    parts, depth = name.split("."), name.count(".")
    for i in range(1, len(parts)):
        end = ".".join(parts[-i:])
        rivals = [x for x in known_fields() if x == end or x.endswith(f".{end}")]
        if not any(x != name and x.count(".") <= depth for x in rivals):
            return end
    return name
