"""Build dataclasses from the nested plain values of a TOML document; every mistake is told with its place."""

import dataclasses
import types
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from rlsparse.errors import RlsparseError, RunDirectoryError, UsageError, nearest
from rlsparse.learner.bounds import bounded_hints, expected, whole_number, within
from rlsparse.learner.kinds import kinds, others_with
from rlsparse.run.reading import shorten

C = TypeVar("C")

IN_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", tuple: "a list"}
"""What a value of a type is called; any other is a table."""


@dataclass(frozen=True)
class Reader:
    """Builds components; raises an `error`, which names the `source`, for what they cannot be built from."""

    source: str
    bounded: bool = False
    """Whether numbers out of their bounds are refused here."""
    error: type[RlsparseError] = UsageError

    def build(self, cls: type[C], data: dict[str, Any], where: str = "", **known: Any) -> C:
        """Build `cls` from a table of its fields, but those that are `known` already; `where` is its place, or ""."""
        hints = {name: x for name, x in get_type_hints(cls).items() if name in _field_names(cls) - known.keys()}
        prefix = f"{where}." if where else ""
        for key in data:
            if key not in hints:
                near = nearest(key, hints)
                hint = f": did you mean {prefix}{near}?" if near else f" (known: {', '.join(sorted(hints))})"
                raise self._error(f"unknown key {shorten(prefix + key)}{hint}")
        for f in fields(cls):  # type: ignore[arg-type]
            optional = f.default is not dataclasses.MISSING or f.default_factory is not dataclasses.MISSING
            if f.name in hints and f.name not in data and not optional:
                raise self._error(f"the key {prefix}{f.name} is missing")
        usual = {f.name: f.default_factory for f in fields(cls)}  # type: ignore[arg-type]
        values = {key: self._convert(hints[key], x, prefix + key, usual[key]) for key, x in data.items()}
        if self.bounded:
            for key, bound in bounded_hints(cls).items():
                if key in values and not within(bound, values[key]):
                    raise self._wrong(prefix + key, expected(bound), data[key])
        return cls(**values, **known)

    def _convert(self, hint: Any, x: Any, where: str, usual: Any = None) -> Any:
        """Return a value as its annotation wants it."""
        components = kinds(hint)
        if len(components) > 1:
            return self._build_kind(components, x, where, usual)
        if get_origin(hint) in (Union, types.UnionType):
            optional, hint = type(None) in get_args(hint), next(x for x in get_args(hint) if x is not type(None))
            return None if x is None and optional else self._convert(hint, x, where, usual)
        origin = get_origin(hint)
        if origin is Literal:
            if x not in get_args(hint):
                raise self._wrong(where, f"one of {', '.join(map(str, get_args(hint)))}", x)
            return x
        if dataclasses.is_dataclass(hint) and isinstance(x, dict):
            return self.build(hint, x, where)  # type: ignore[arg-type]
        if origin is dict and isinstance(x, dict):
            return {key: self._convert(get_args(hint)[1], item, f"{where}.{key}") for key, item in x.items()}
        if origin is tuple and isinstance(x, list):
            return self._items(get_args(hint)[0], x, where)
        if {hint, type(x)} == {int, float}:
            x = _converted(hint, x)
        if hint not in (Any, type(x)):
            raise self._wrong(where, IN_WORDS.get(origin or hint, "a table"), x)
        return x

    def _items(self, hint: Any, items: list[Any], where: str) -> tuple[Any, ...]:
        numbered = dataclasses.is_dataclass(hint)
        return tuple(self._convert(hint, x, f"{where}[{i}]" if numbered else where) for i, x in enumerate(items))

    def _build_kind(self, components: dict[str, type], data: Any, where: str, usual: Any) -> Any:
        """Build a component of the kind that is named, or else of the usual one, which is the field's default."""
        known = ", ".join(components)
        if not isinstance(data, dict):
            raise self._wrong(where, f"a table whose kind is one of {known}", data)
        if "kind" not in data:
            return self.build(usual, data, where)
        if data["kind"] not in list(components):
            raise self._wrong(f"{where}.kind", f"one of {known}", data["kind"])
        cls, values = components[data["kind"]], {key: x for key, x in data.items() if key != "kind"}
        for key in values:
            if others := others_with(key, cls, components):
                has_not = f"{data['kind']} has none, use {' or '.join(others)}"
                raise self._error(f"unknown key {where}.{key}: {has_not}")
        return self.build(cls, values, where)

    def _wrong(self, where: str, expected: str, given: object) -> RlsparseError:
        return self._error(f"{where} must be {expected}, not {shorten(repr(given))}")

    def _error(self, text: str) -> RlsparseError:
        return self.error(f"{self.source}: {text}")


def _converted(hint: type, x: float) -> float:
    """Return a whole number as a float, or a float that is whole, as 1e6 is in TOML, as a whole number."""
    if hint is float:
        return float(x)
    with suppress(ValueError):
        return whole_number(x)
    return x


def told(cls: type[C], data: Mapping[str, Any], source: Path) -> C:
    """Build a dataclass of what a file of a run tells of its fields, all within bounds; raises RunDirectoryError."""
    known = {name: data[name] for name in _field_names(cls) & data.keys()}
    return Reader(str(source), bounded=True, error=RunDirectoryError).build(cls, known)


def _field_names(cls: type) -> set[str]:
    return {f.name for f in fields(cls)}  # type: ignore[arg-type]
