"""Bounds of fields, in their annotations, with words for what is expected; one reader checks every component.

The bound in a tuple's annotation is for its length; the bound of its items is in the annotation of the items. None is
within the bound where it is allowed. Other fields of text, those of yes or no, and of a few fixed words need no bound.
"""

import re
import types
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from math import isfinite
from numbers import Integral, Real
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt, MinLen, MultipleOf


@dataclass(frozen=True)
class Expected:
    """What is expected, in words; alone, as in `Finite`, it is a bound that allows every finite number."""

    words: str


@dataclass(frozen=True)
class Like:
    """A text must be, from end to end, like a regular expression."""

    pattern: str


class Varies:
    """A number may differ between members that are trained together: formulas read it, and no shape depends on it."""


T = TypeVar("T")
Varying = Annotated[T, Varies]
Count = Annotated[int, Ge(1), Expected("a positive whole number")]
CountFromZero = Annotated[int, Ge(0), Expected("zero or a positive whole number")]
Finite = Annotated[float, Expected("a finite number")]
Positive = Annotated[float, Gt(0), Expected("a positive number")]
NotNegative = Annotated[float, Ge(0), Expected("zero or a positive number")]
Fraction = Annotated[float, Ge(0), Le(1), Expected("a number from 0 to 1")]
FractionAboveZero = Annotated[float, Gt(0), Le(1), Expected("a number above 0, at most 1")]
FractionBelowOne = Annotated[float, Ge(0), Lt(1), Expected("a number from 0 on, below 1")]
PlainName = Annotated[str, Like(r"\w[\w .+-]{0,99}"), Expected("a plain name")]
Probability = Annotated[float, Gt(0), Lt(1), Expected("a number between 0 and 1")]

WIDEST = 2**13
"""Most units in a hidden layer."""

LARGEST_FLOAT = 2**53
"""From here on not every whole number is a float of its own."""

Widths = Annotated[tuple[Annotated[int, Ge(1), Le(WIDEST)], ...], Expected(f"widths from 1 to {WIDEST}")]

HOLDS: dict[type, Callable[[Any, Any], bool]] = {
    Ge: lambda bound, x: x >= bound.ge,
    Gt: lambda bound, x: x > bound.gt,
    Le: lambda bound, x: x <= bound.le,
    Lt: lambda bound, x: x < bound.lt,
    MultipleOf: lambda bound, x: x % bound.multiple_of == 0,
    Like: lambda bound, x: re.fullmatch(bound.pattern, x) is not None,
}
"""For each kind of bound, the test whether a value is within it."""


def out_of_bounds(component: Any, where: str = "") -> Iterator[tuple[str, object, str]]:
    """Yield the fields that are out of their bounds: name (dots between components), what is given, what is expected.

    The components within a component are read too.
    """
    hints = bounded_hints(type(component))
    for name in (f.name for f in fields(component)):
        given = getattr(component, name)
        if is_dataclass(given):
            yield from out_of_bounds(given, f"{where}{name}.")
        elif not within(hints[name], given):
            yield where + name, as_text(given), expected(hints[name])


def bounded_hints(cls: type) -> dict[str, Any]:
    """Return the annotations of a dataclass's fields, with their bounds; those without one are unchanged."""
    hints = get_type_hints(cls, include_extras=True)
    return {f.name: _without_none(hints[f.name]) for f in fields(cls)}


def within(hint: Any, given: Any) -> bool:
    """Whether a value is within the bounds of its annotation; True for None and for annotations without bounds."""
    bounds = _bounds(hint)
    if given is None:
        return True
    if item := _item(hint):
        shortest = max((bound.min_length for bound in bounds if isinstance(bound, MinLen)), default=0)
        return len(given) >= shortest and all(within(item, x) for x in given)
    textual = any(isinstance(bound, Like) for bound in bounds)
    if bounds and not (isinstance(given, str) if textual else _is_finite(given)):
        return False
    return all(HOLDS[type(bound)](bound, given) for bound in bounds if type(bound) in HOLDS)


def expected(hint: Any) -> str:
    """Return in words what the bounds of an annotation allow; an empty text if it has none."""
    told = [bound.words for bound in _bounds(hint) if isinstance(bound, Expected)]
    if told or not (item := _item(hint)):
        return "".join(told[:1])
    many = re.sub(r"\ba (?=.*number)", "", expected(item)).replace("number", "numbers")
    return f"one or more {many}" if any(isinstance(bound, MinLen) for bound in _bounds(hint)) else many


def whole_number(given: str | float) -> int:
    """Return what is a whole number, also as 1e6, 2.5e5, 1_000_000 or 3.0; raises ValueError for all else."""
    if isinstance(given, str):
        with suppress(ValueError):
            return int(given)
    number = float(given)
    if not number.is_integer() or abs(number) >= LARGEST_FLOAT:
        raise ValueError(f"{given} is no whole number")
    return int(number)


def as_text(given: object) -> object:
    """Return a value as on a command line: the items of a tuple separated by blanks."""
    return (" ".join(map(str, given)) or "empty") if isinstance(given, tuple | list) else given


def _is_finite(given: object) -> bool:
    return isinstance(given, Integral) or (isinstance(given, Real) and isfinite(given))


def _bounds(hint: Any) -> tuple[Any, ...]:
    known = (Expected, MinLen, *HOLDS)  # others' annotations are no bounds
    return tuple(x for x in get_args(hint)[1:] if isinstance(x, known)) if get_origin(hint) is Annotated else ()


def _item(hint: Any) -> Any:
    """Return the annotation of a tuple's items, or None if it is not a tuple."""
    plain = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    return get_args(plain)[0] if get_origin(plain) is tuple else None


def _without_none(hint: Any) -> Any:
    """Return T for the union of T and None; other unions are unchanged."""
    options = [x for x in get_args(hint) if x is not type(None)]
    return options[0] if get_origin(hint) in (Union, types.UnionType) and len(options) == 1 else hint
