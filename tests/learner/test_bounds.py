"""Bounds: every number of every component has one, and what it says in words is what it allows."""

from dataclasses import fields, replace
from math import inf, nan
from types import UnionType
from typing import Annotated, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from annotated_types import Ge, MinLen

from rlsparse.errors import UsageError
from rlsparse.learner import bounds
from rlsparse.learner.bounds import Expected, bounded_hints, expected, out_of_bounds, whole_number, within
from rlsparse.learner.kinds import kinds
from rlsparse.run.recipe import Recipe, check


def places(cls, where=""):
    """Every component that a recipe may hold, with its place: fields and kinds on the way there."""
    yield where, cls
    hints = get_type_hints(cls)
    for f in fields(cls):
        for kind, part in kinds(hints[f.name]).items():
            yield from places(part, f"{where}.{f.name}:{kind}".lstrip("."))


PLACES = dict(places(Recipe))
REQUIRED = {"init": {"policy": "policy.safetensors", "sha256": "0" * 64}}
"""What a component of the recipe cannot be without."""


def holds_numbers(hint):
    """Whether a type is a number, or has some in it, text and words of a list apart."""
    if get_origin(hint) in (Union, UnionType, tuple, Annotated):
        return any(map(holds_numbers, get_args(hint)))
    return hint in (int, float)


@pytest.mark.parametrize("where", PLACES)
def test_every_number_has_a_bound_or_says_that_it_may_be_anything(where):
    cls = PLACES[where]
    plain = get_type_hints(cls)
    free = [name for name, hint in bounded_hints(cls).items() if holds_numbers(plain[name]) and not expected(hint)]
    assert not free, f"annotate {', '.join(free)} of {cls.__name__} by a bound of rlsparse.learner.bounds"


def recipe_with(where, **changes):
    """A recipe in which the component at that place has changed fields."""

    def build(part, path):
        if not path:
            return replace(part, **changes)
        name, kind = path[0].split(":")
        cls = kinds(get_type_hints(type(part))[name])[kind]
        return replace(part, **{name: build(cls(**REQUIRED.get(name, {})), path[1:])})

    return build(Recipe("Pendulum-v1"), where.split(".") if where else [])


@pytest.mark.parametrize("where", PLACES)
def test_what_is_out_of_its_bound_is_refused_by_its_flag(where):
    prefix = "".join(f"{step.partition(':')[0]}." for step in where.split(".") if step)
    for name, hint in bounded_hints(PLACES[where]).items():
        if not expected(hint):
            continue
        bad = (nan,) if "tuple" in str(hint) else -1 if not within(hint, -1) else nan
        flag = f"{prefix}{name}".replace("_", "-").replace("sparse.sparsity", "sparsity")
        with pytest.raises(UsageError, match=rf"^--{flag} is (-1|nan): expected {expected(hint)}$"):
            check(recipe_with(where, **{name: bad}))


@pytest.mark.parametrize(
    ("hint", "words", "inside", "outside"),
    [
        (bounds.Count, "a positive whole number", (1, 10**400), (0, -1, nan, "1")),
        (bounds.CountFromZero, "zero or a positive whole number", (0, 7), (-1,)),
        (bounds.Positive, "a positive number", (1e-300, 3), (0.0, -1.0, inf, nan)),
        (bounds.NotNegative, "zero or a positive number", (0.0, 1e9), (-1e-9, inf)),
        (bounds.Finite, "a finite number", (-1e9, 0), (inf, -inf, nan)),
        (bounds.Fraction, "a number from 0 to 1", (0.0, 1.0), (-0.1, 1.1, nan)),
        (bounds.FractionAboveZero, "a number above 0, at most 1", (0.1, 1), (0.0, 1.1)),
        (bounds.FractionBelowOne, "a number from 0 on, below 1", (0, 0.9), (1.0, -0.1)),
        (bounds.Probability, "a number between 0 and 1", (0.5,), (0.0, 1.0)),
        (bounds.Widths, "widths from 1 to 8192", ((), (1, 8192)), ((0,), (8193,))),
        (tuple[bounds.Count, ...], "positive whole numbers", ((), (1, 2)), ((1, 0),)),
        (Annotated[tuple[bounds.Finite, ...], MinLen(1)], "one or more finite numbers", ((0.5,),), ((), (nan,))),
        (Annotated[int, Ge(2), Expected("2 or more")], "2 or more", (2,), (1,)),
        (bounds.PlainName, "a plain name", ("ppo-gpu", "x 1.0_+", "ä"), ("", "../x", ".x", "a/b", "a\n", "x" * 101, 1)),
        (Literal["a", "b"], "", ("a",), ()),
    ],
)
def test_words_and_bounds_agree(hint, words, inside, outside):
    assert expected(hint) == words
    assert all(within(hint, x) for x in (*inside, None))
    assert not any(within(hint, x) for x in outside)


def test_parts_are_read_too_and_named_by_their_place():
    recipe = recipe_with("explore:explorler.probe:racing", keep=2.0, episodes=(1, 0))
    assert [name for name, *_ in out_of_bounds(recipe)] == ["explore.probe.episodes", "explore.probe.keep"]


@pytest.mark.parametrize(
    "given, number",
    [
        *(("7", 7), ("-3", -3), ("1_000_000", 10**6), ("1e6", 10**6), ("2.5e5", 250_000), ("3.0", 3), (1e6, 10**6)),
        ("9" * 30, int("9" * 30)),
    ],
)
def test_whole_numbers_in_all_their_spellings(given, number):
    assert whole_number(given) == number
    assert type(whole_number(given)) is int


@pytest.mark.parametrize(
    "given", ["1.5", "15e-1", "1e16", "1e99", "inf", "nan", "many", "1e", "0x10", "", 1.5, inf, nan]
)
def test_what_is_no_whole_number_or_may_be_another_is_none(given):
    with pytest.raises(ValueError):
        whole_number(given)
