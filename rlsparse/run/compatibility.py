"""Which components go together: what one needs another must give, fields keep their bounds, components their checks.

A component may have `needs`, a mapping from each trait that it relies on to the reason why, which completes a sentence
that begins with the component's flag; `gives`, the traits on which others may rely; and `check(recipe)`, which raises
UsageError for numbers that do not fit those of other components. All three may be left out. What components of a
component give is for the component that has them to say.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal, get_args, get_origin

from rlsparse.errors import UsageError
from rlsparse.learner.bounds import bounded_hints, out_of_bounds, within
from rlsparse.learner.kinds import kind_of, kinds
from rlsparse.run.reading import shorten

SHORT_FLAGS = {"sparse.sparsity": "sparsity", "sparse.rule": "sparse"}
"""Fields that have a shorter flag beside the one after their place."""

MOST_NAMED = 4
"""Kinds that a refusal names of one field; further ones are hinted at."""


@dataclass(frozen=True)
class Unmet:
    """A trait that a component needs and no other gives."""

    where: str
    """Place of the component, such as explore.probe."""
    trait: str
    why: str


@dataclass(frozen=True)
class Change:
    """A recipe that differs from another in one field."""

    where: str
    """Place of the field."""
    before: Any
    after: Any
    recipe: Any


def check_bounds(recipe: Any) -> None:
    """Raise UsageError with the first field that is out of its bounds."""
    for name, given, expected in out_of_bounds(recipe):
        raise UsageError(f"--{_hyphened(SHORT_FLAGS.get(name, name))} is {shorten(str(given))}: expected {expected}")


def check_needs(recipe: Any) -> None:
    """Raise UsageError with the first need that nothing in the recipe meets."""
    for need in unmet(recipe):
        raise UsageError(refusal(recipe, need))


def check_components(recipe: Any) -> None:
    """Let every component check its numbers against those of the others."""
    for where, component in components(recipe):
        if where and hasattr(component, "check"):
            component.check(recipe)


def components(component: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a component and all within it, each with its place: names of fields, dots between."""
    yield where, component
    for name in (f.name for f in fields(component)):
        part = getattr(component, name)
        if is_dataclass(part):
            yield from components(part, f"{where}.{name}" if where else name)


def unmet(recipe: Any) -> list[Unmet]:
    """Return what components of the recipe need and none gives."""
    given = set(recipe.gives)
    for part in (getattr(recipe, f.name) for f in fields(recipe)):
        given |= getattr(part, "gives", frozenset())
    return [
        Unmet(where, trait, why)
        for where, component in components(recipe)
        for trait, why in _needs(component).items()
        if trait not in given
    ]


def refusal(recipe: Any, need: Unmet) -> str:
    """Say in one line who needs what, what in the recipe does not give it, and what to use instead."""
    left = set(unmet(recipe)) - {need}
    helping = [change for change in _changes(recipe) if set(unmet(change.recipe)) <= left]
    asking = [change for change in helping if not _asks(change.recipe, need)]
    giving = [change for change in helping if _asks(change.recipe, need)]
    own = next((c for c in asking if c.where.rpartition(".")[0] == need.where and not is_dataclass(c.before)), None)
    who = as_flag(own.where, own.before) if own else as_flag(need.where, dict(components(recipe))[need.where])
    lacking = max(giving, key=_depth, default=None)
    what = as_flag(lacking.where, lacking.before) if lacking else "this recipe"
    return f"{who} {need.why}, which {what} does not give: use {_alternatives(helping)}"


def _needs(component: Any) -> Mapping[str, str]:
    return getattr(component, "needs", {})


def _asks(recipe: Any, need: Unmet) -> bool:
    """Whether a component at that place still needs the same."""
    return need.trait in _needs(dict(components(recipe)).get(need.where))


def _changes(recipe: Any) -> Iterator[Change]:
    """Yield the recipe with one field changed: to another kind, another word, the other of yes and no, 0 or 1."""
    for where, component in components(recipe):
        for name, hint in bounded_hints(type(component)).items():
            before = getattr(component, name)
            for after in _others(hint, before):
                place = f"{where}.{name}" if where else name
                yield Change(place, before, after, _changed(recipe, place.split("."), after))


def _others(hint: Any, before: Any) -> list[Any]:
    if is_dataclass(before):
        return [cls() for cls in kinds(hint).values() if cls is not type(before)]
    if get_origin(hint) is Literal:
        return [word for word in get_args(hint) if word != before]
    if isinstance(before, bool):
        return [not before]
    if isinstance(before, int | float):
        return [x for x in (type(before)(0), type(before)(1)) if x != before and within(hint, x)]
    return []


def _changed(component: Any, path: list[str], value: Any) -> Any:
    name, *rest = path
    return replace(component, **{name: _changed(getattr(component, name), rest, value) if rest else value})


def _alternatives(changes: list[Change]) -> str:
    """Return flags with the values that help, those of the smallest parts first: --a.b x or y, or --c z."""
    by_flag: dict[str, list[str]] = {}
    for change in sorted(changes, key=_depth, reverse=True):
        flag, _, value = as_flag(change.where, change.after).partition(" ")
        by_flag.setdefault(flag, []).append(value)
    return ", or ".join(f"{flag} {_any_of(values)}".rstrip() for flag, values in by_flag.items())


def _depth(change: Change) -> int:
    return change.where.count(".")


def _any_of(values: list[str]) -> str:
    if len(values) > MOST_NAMED:
        return f"{', '.join(values[:MOST_NAMED])} or others"
    return " or ".join(filter(None, (", ".join(values[:-1]), values[-1])))


def as_flag(where: str, value: Any) -> str:
    """Return how the command line says it."""
    if isinstance(value, bool):
        owner, _, name = where.rpartition(".")
        return f"--{_hyphened(f'{owner}.' if owner else '')}{'' if value else 'no-'}{_hyphened(name)}"
    text = kind_of(type(value)) if is_dataclass(value) else f"{value:g}" if isinstance(value, float) else value
    return f"--{_hyphened(SHORT_FLAGS.get(where, where))} {text}"


def _hyphened(name: str) -> str:
    return name.replace("_", "-")
