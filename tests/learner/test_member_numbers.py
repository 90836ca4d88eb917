"""Numbers of several members, read like a Python float: every formula gives each member the bits that its own gives."""

import math
import operator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlsparse.learner.member_numbers import MemberNumbers

NUMBERS = st.floats(0.01, 100.0)
PER_MEMBER = st.tuples(NUMBERS, NUMBERS, NUMBERS)

OPERATORS = [operator.add, operator.sub, operator.mul, operator.truediv]
FUNCTIONS = {
    "sum": lambda x, y: x + y,
    "difference": lambda x, y: x - y,
    "difference, reflected": lambda x, y: y - x,
    "quotient": lambda x, y: x / y,
    "quotient, reflected": lambda x, y: y / x,
    "less": lambda x, y: x < y,
    "less, reflected": lambda x, y: y < x,
    "at least": lambda x, y: x >= y,
    "numbers first": lambda x, y: (x + 1.0) * (0.5 * y - 1.0),
}

DRAWN = np.random.default_rng(0)
ARRAYS = [
    DRAWN.uniform(1.0, 9.0, shape).astype(kind)
    for shape in [(3,), (3, 1), (3, 4), (5, 3, 2)]  # [S], [S, 1], [S, B], [T, S, N]
    for kind in ("f4", "f8", "i8")
]
ARRAYS += [torch.tensor(x) for x in ARRAYS]
FLOATS = [x for x in ARRAYS if "float" in str(x.dtype)]


def named(x):
    return f"{type(x).__name__} {x.dtype} {tuple(x.shape)}" if hasattr(x, "shape") else None


def member_of(x, member):
    """One member's part of an array; its axis stays."""
    return x[:, member : member + 1] if x.ndim == 3 else x[member : member + 1]


def assert_each_has_its_own(function, x, numbers):
    """What the function makes of all is, member by member, what it makes of each one's array and Python float."""
    found = function(x, MemberNumbers(numbers))
    for member, number in enumerate(numbers):
        own = function(member_of(x, member), number)
        assert member_of(found, member).dtype == own.dtype
        np.testing.assert_array_equal(member_of(found, member), own)


@pytest.mark.parametrize("apply", [*OPERATORS, operator.pow])
@given(numbers=PER_MEMBER, others=PER_MEMBER, number=NUMBERS | st.integers(1, 5))
def test_between_numbers_arithmetic_is_that_of_python(apply, numbers, others, number):
    x, y = MemberNumbers(numbers), MemberNumbers(others)
    assert apply(x, y).numbers == tuple(map(apply, numbers, others))
    assert apply(x, number).numbers == tuple(apply(a, number) for a in numbers)
    assert apply(number, x).numbers == tuple(apply(number, a) for a in numbers)
    assert (-x).numbers == tuple(-a for a in numbers)
    assert np.maximum(x, number).numbers == tuple(max(a, number) for a in numbers)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("x", ARRAYS, ids=named)
def test_with_an_array_each_member_has_the_bits_of_its_own_float(function, x):
    assert_each_has_its_own(FUNCTIONS[function], x, (0.1, 1 / 3, 6.02214076))


@pytest.mark.parametrize("x", FLOATS, ids=named)
@pytest.mark.parametrize("limits", [("member", None), (None, "member"), ("member", 5.0), (2.0, "member")])
def test_limits_may_be_each_member_s_own(x, limits):
    clip = torch.clip if isinstance(x, torch.Tensor) else np.clip

    def clipped(x, number):
        return clip(x, *(number if limit == "member" else limit for limit in limits))

    assert_each_has_its_own(clipped, x, (2.1, 10 / 3, 4.7))


@pytest.mark.parametrize("x", FLOATS, ids=named)
def test_powers_are_rounded_as_those_of_a_float(x):
    """To square and to take a root, numpy has functions of their own, more exact ones."""
    assert_each_has_its_own(operator.pow, x, (2.0, 0.5, 0.8))


@pytest.mark.parametrize("x", FLOATS, ids=named)
def test_an_array_may_be_changed_in_place(x):
    def change(x, number):
        x = x + 0
        x += number
        x[...] *= number
        return x

    assert_each_has_its_own(change, x, (0.1, 1 / 3, 6.02214076))


def test_they_can_be_compared_and_hashed():
    assert MemberNumbers((0.1, 0.2)) == MemberNumbers((0.1, 0.2)) != MemberNumbers((0.1, 0.3))
    assert len({MemberNumbers((0.1, 0.2)), MemberNumbers((0.1, 0.2))}) == 1


@pytest.mark.parametrize(
    "use",
    [
        *(bool, float, math.exp, np.asarray),
        lambda x: x > 0.0,
        lambda x: np.where([True, False], x, 0.0),
        lambda x: x ** np.ones(2),
        lambda x: np.add.reduce(x),
    ],
)
def test_a_formula_that_needs_one_number_fails(use):
    with pytest.raises(TypeError):
        use(MemberNumbers((0.1, 0.2)))


@pytest.mark.parametrize("ones", [np.ones, torch.ones])
@pytest.mark.parametrize("shape", [(2,), (4, 3), (3, 4, 3)])
def test_an_array_of_another_number_of_members_is_refused(ones, shape):
    with pytest.raises(ValueError, match=r"3 members meet an array of shape"):
        ones(shape) * MemberNumbers((0.1, 0.2, 0.3))


def test_numbers_of_other_members_are_refused():
    with pytest.raises(ValueError, match="of 2 and of 3 members do not go together"):
        MemberNumbers((0.1, 0.2)) + MemberNumbers((0.1, 0.2, 0.3))
