"""Set functions as components: monotone, diminishing, and the same however an episode is cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from plane import FUNCTIONS, PLANE

from rlsparse.advantage.set_functions import Coverage, FacilityLocation, LogDet
from rlsparse.errors import UsageError

each = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
paths = arrays(float, (9, 2), elements=st.floats(-0.25, 1.25, width=16))


def gains_of(function, path):
    return function.add(function.empty(2), path)[0]


@each
@given(path=paths)
def test_no_point_takes_anything_away(function, path):
    assert (gains_of(function, path) >= 0).all()


@each
@given(path=paths, left_out=st.integers(0, 7))
def test_a_point_adds_less_to_more(function, path, left_out):
    after_more = gains_of(function, path)[-1]
    after_fewer = gains_of(function, np.delete(path, left_out, 0))[-1]
    assert after_more <= after_fewer + 1e-9


@each
@given(path=paths, order=st.permutations(range(9)))
def test_the_whole_does_not_depend_on_the_order(function, path, order):
    assert gains_of(function, path[list(order)]).sum() == pytest.approx(gains_of(function, path).sum())


@each
@given(path=paths, cuts=st.sets(st.integers(1, 8)))
def test_points_may_come_one_by_one_or_together(function, path, cuts):
    collected, parts = function.empty(2), []
    for part in np.split(path, sorted(cuts)):
        gains, collected = function.add(collected, part)
        parts.append(gains)
    together, after = function.add(function.empty(2), path)
    if isinstance(function, LogDet):  # a block's factor rounds otherwise than a point's
        np.testing.assert_allclose(np.concatenate(parts), together, atol=1e-12)
        np.testing.assert_allclose(collected, after, atol=1e-12)
    else:
        np.testing.assert_array_equal(np.concatenate(parts), together)
        np.testing.assert_array_equal(collected, after)


@each
@given(path=paths)
def test_alone_a_point_is_worth_what_it_adds_to_nothing(function, path):
    first = [gains_of(function, point[None])[0] for point in path]
    np.testing.assert_allclose(function.alone(path), first, atol=1e-12)


@each
@settings(max_examples=5)
@given(path=paths)
def test_what_was_collected_before_is_left_as_it_was(function, path):
    empty = function.empty(2)
    function.add(empty, path)
    np.testing.assert_array_equal(empty, function.empty(2))


def test_no_points_add_nothing():
    for function in FUNCTIONS.values():
        function = function.on(PLANE)
        gains, collected = function.add(function.empty(2), np.empty((0, 2)))
        assert gains.shape == (0,)
        np.testing.assert_array_equal(collected, function.empty(2))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (Coverage(cells=(4,)), "cells 4: expected one number for each of 2: x and y, m"),
        (Coverage(cells=(2000, 2000)), "cells 2000 2000 makes 4,000,000 cells for each environment"),
        (Coverage(radius=16), "radius 16 covers 1,089 cells from a point of 2 dimensions: expected at most 1,024"),
        (FacilityLocation(references=2000), "references 2000 along 2 dimensions makes 4,000,000 references"),
        (LogDet(features=2000), "features 2000 makes 4,000,000 numbers"),
    ],
)
def test_what_does_not_fit_is_refused(function, message):
    with pytest.raises(UsageError, match=f"--advantage.set-function.{message}"):
        function.on(PLANE)
