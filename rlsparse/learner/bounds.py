"""Bounds of fields, in their annotations: `Positive`, `Annotated[int, Ge(2)]`; one reader checks every component.

The bound of a tuple's annotation is one of its length; that of its items stands at the items. Where None is allowed it
is within the bound. Fields of text, yes or no, and one of a few words need none.
"""

import re
import types
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from math import isfinite
from numbers import Integral, Real
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt, MinLen, MultipleOf


@dataclass(frozen=True)
class Expected:
    """Words for what is expected, where those that follow from the bound are not the clearest."""

    words: str


@dataclass(frozen=True)
class Anything:
    """Marks numbers that may be any finite one, so that no field is left unchecked by mistake."""


Count = Annotated[int, Ge(1)]
CountFromZero = Annotated[int, Ge(0)]
Finite = Annotated[float, Anything()]
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Le(1)]
"""From 0 to 1, both included."""
FractionAboveZero = Annotated[float, Gt(0), Le(1)]
FractionBelowOne = Annotated[float, Ge(0), Lt(1)]
Probability = Annotated[float, Gt(0), Lt(1)]
"""Between 0 and 1, neither included."""

WIDEST = 2**13
"""Most units in a hidden layer."""

Widths = Annotated[tuple[Annotated[int, Ge(1), Le(WIDEST)], ...], Expected(f"widths from 1 to {WIDEST}")]

Bound = Anything | Expected | Ge | Gt | Le | Lt | MinLen | MultipleOf


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
    """Return the annotations of a dataclass's fields, with their bounds; those without one are left as they are."""
    hints = get_type_hints(cls, include_extras=True)
    return {f.name: _without_none(hints[f.name]) for f in fields(cls)}


def is_bounded(hint: Any) -> bool:
    """Whether an annotation has a bound for its numbers, or says that they may be any."""
    hint = _item(hint) if _is_tuple(hint) else hint
    return bool(_bounds(hint))


def within(hint: Any, given: object) -> bool:
    """Whether a value is within the bounds of its annotation; None is, and what has no bounds."""
    if given is None:
        return True
    if _is_tuple(hint):
        long_enough = all(len(given) >= bound.min_length for bound in _bounds(hint) if isinstance(bound, MinLen))  # type: ignore[arg-type]
        return long_enough and all(within(_item(hint), item) for item in given)  # type: ignore[attr-defined]
    return all(_holds(bound, given) for bound in _bounds(hint))


def expected(hint: Any) -> str:
    """Return in words what the bounds of an annotation allow."""
    told = [bound.words for bound in _bounds(hint) if isinstance(bound, Expected)]
    if told:
        return told[0]
    if _is_tuple(hint):
        many = re.sub(r"\ba (?=.*number)", "", expected(_item(hint))).replace("number", "numbers")
        return f"one or more {many}" if any(isinstance(bound, MinLen) for bound in _bounds(hint)) else many
    return _number_in_words(hint)


def _number_in_words(hint: Any) -> str:
    whole = "whole " if _base(hint) is int else ""
    limits = {type(bound): getattr(bound, type(bound).__name__.lower(), None) for bound in _bounds(hint)}
    low, high, above, below = (limits.get(kind) for kind in (Ge, Le, Gt, Lt))
    if MultipleOf in limits:
        return "a positive even number"
    if high is None and below is None:
        if above == 0 or (whole and low == 1):
            return f"a positive {whole}number"
        if low is None:
            return "a finite number"
        return f"zero or a positive {whole}number" if low == 0 else f"{low} or more"
    if above is not None:
        return f"a number above {above}, at most {high}" if below is None else f"a number between {above} and {below}"
    return f"a {whole}number from {low} to {high}" if below is None else f"a number from {low} on, below {below}"


def as_text(given: object) -> object:
    """Return a value as a command line has it: the items of a tuple with blanks between."""
    return (" ".join(map(str, given)) or "empty") if isinstance(given, tuple | list) else given


def _holds(bound: Any, given: Any) -> bool:
    if not _is_finite(given):
        return False
    match bound:
        case Ge(ge=low):
            return bool(given >= low)
        case Gt(gt=low):
            return bool(given > low)
        case Le(le=high):
            return bool(given <= high)
        case Lt(lt=high):
            return bool(given < high)
        case MultipleOf(multiple_of=step):
            return isinstance(given, Integral) and given % step == 0
        case _:
            return True


def _is_finite(given: object) -> bool:
    return isinstance(given, Integral) or (isinstance(given, Real) and isfinite(given))


def _bounds(hint: Any) -> list[Bound]:
    return [x for x in get_args(hint)[1:] if isinstance(x, Bound)] if get_origin(hint) is Annotated else []


def _base(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _is_tuple(hint: Any) -> bool:
    return get_origin(_base(hint)) is tuple


def _item(hint: Any) -> Any:
    return get_args(_base(hint))[0]


def _without_none(hint: Any) -> Any:
    """Return the one type that may be there instead of None; other unions stay as they are."""
    options = [x for x in get_args(hint) if x is not type(None)]
    return options[0] if get_origin(hint) in (Union, types.UnionType) and len(options) == 1 else hint
