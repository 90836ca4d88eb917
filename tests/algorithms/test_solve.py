"""Conjugate gradient against dense solutions, and the line search against its definition."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlsparse.algorithms.natural_gradient import conjugate_gradient, line_search, woodbury

VECTORS = json.loads((Path(__file__).parent.parent / "data" / "trpo.json").read_text())


def systems(seed, members, size, conditions):
    """Positive definite A [S, P, P] with eigenvalues from 1 to each condition, and b [S, P]."""
    rng = np.random.default_rng(seed)
    q = np.linalg.qr(rng.normal(size=(members, size, size)))[0]
    eigenvalues = np.geomspace(1, conditions, size).T
    return q @ (eigenvalues[..., None] * q.mT), rng.normal(size=(members, size))


def product(matrix):
    return lambda v: (matrix @ v[..., None])[..., 0]


@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 8), st.floats(1, 100))
def test_as_many_iterations_as_unknowns_give_the_dense_solution(seed, members, size, condition):
    matrix, b = systems(seed, members, size, [condition] * members)
    x = conjugate_gradient(product(matrix), b, 2 * size)
    np.testing.assert_allclose(x, np.linalg.solve(matrix, b[..., None])[..., 0], rtol=1e-6, atol=1e-9)


def test_iterates_of_the_tiny_gaussian():
    vector = VECTORS["trpo_tiny_gaussian"]
    matrix = np.array(vector["expect"]["fisher"]) + vector["damping"] * np.eye(4)
    b = np.array([vector["expect"]["surrogate_grad"]])
    for k, iterate in enumerate(vector["expect"]["cg_iterates"], 1):
        np.testing.assert_allclose(conjugate_gradient(product(matrix[None]), b, k)[0], iterate, atol=2e-10)


def test_each_member_stops_at_its_own_tolerance():
    matrix, b = systems(0, 3, 12, [1.0, 10.0, 1000.0])
    seen = []

    def watched(v):
        seen.append(v)
        return product(matrix)(v)

    x = conjugate_gradient(watched, b, 50, tolerance=1e-3)
    residual = np.linalg.norm(b - product(matrix)(x), axis=1) / np.linalg.norm(b, axis=1)
    assert (residual <= 1e-3).all()
    assert len(seen) < 50


@pytest.mark.parametrize("tolerance", [0.0, 1e-2])
def test_a_member_is_bitwise_as_if_it_were_alone(tolerance):
    matrix, b = (x.astype(np.float32) for x in systems(1, 4, 9, [1.0, 5.0, 50.0, 500.0]))
    b[2] = 0
    together = conjugate_gradient(product(matrix), b, 12, tolerance)
    for s in range(4):
        one = slice(s, s + 1)
        np.testing.assert_array_equal(together[one], conjugate_gradient(product(matrix[one]), b[one], 12, tolerance))
    assert not together[2].any()


def test_curvature_that_is_not_positive_ends_a_member_where_it_is():
    matrix = np.stack([np.diag([1.0, -3.0]), np.eye(2) * np.nan, np.diag([1.0, 2.0])])
    x = conjugate_gradient(product(matrix), np.ones((3, 2)), 10)
    np.testing.assert_allclose(x, [[0, 0], [0, 0], [1, 0.5]])


def test_a_right_side_that_is_not_finite_gives_no_step():
    b = np.array([[np.nan, 1.0], [np.inf, 1.0], [2.0, 2.0]])
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(conjugate_gradient(lambda v: 2 * v, b, 5), [[0, 0], [0, 0], [1, 1]])


def test_the_inverse_of_a_damped_mean_of_outer_products():
    vector = VECTORS["mfac_ihvp"]
    x = woodbury(np.array([vector["gradients"]]), vector["damping"], np.array([vector["x"]]))
    np.testing.assert_allclose(x, [vector["expect"]], atol=1e-11)


@given(st.integers(0, 1000), st.integers(1, 3), st.integers(1, 6), st.integers(1, 9), st.floats(0.01, 10))
def test_it_is_the_dense_solution_whether_there_are_more_vectors_or_more_unknowns(seed, members, count, size, damping):
    rng = np.random.default_rng(seed)
    vectors, b = rng.normal(size=(members, count, size)), rng.normal(size=(members, size))
    matrix = damping * np.eye(size) + vectors.mT @ vectors / count
    expected = np.linalg.solve(matrix, b[..., None])[..., 0]
    np.testing.assert_allclose(woodbury(vectors, damping, b), expected, rtol=1e-7, atol=1e-9)


def test_the_line_search_takes_each_members_longest_good_step():
    def trial(step):
        return step * np.array([1.0, 1.0, -1.0, 1.0]), step**2 * np.array([1.0, 2.0, 0.0, 100.0])

    taken, gain, cost = line_search(trial, np.array([1.0, 1.0, 1.0, 0.0]), limit=1.0, shrink=0.5, attempts=3)
    np.testing.assert_allclose(taken, [1.0, 0.5, 0.0, 0.0])
    np.testing.assert_allclose(gain, [1.0, 0.5, 0.0, 0.0])
    np.testing.assert_allclose(cost, [1.0, 0.5, 0.0, 0.0])


@given(st.floats(0.05, 0.95), st.integers(1, 8), st.floats(1e-3, 10))
def test_a_step_that_is_taken_keeps_the_limit_and_the_next_longer_one_would_not(shrink, attempts, limit):
    taken, gain, cost = line_search(lambda x: (x, 3 * x**2), np.ones(1), limit, shrink, attempts)
    if taken[0] == 0:
        assert 3 * shrink ** (2 * (attempts - 1)) > limit * (1 - 1e-9)
        return
    assert cost[0] <= limit
    assert gain[0] == taken[0]
    assert taken[0] == 1 or 3 * (taken[0] / shrink) ** 2 > limit * (1 - 1e-9)


def test_numbers_that_are_not_finite_are_not_taken():
    values = iter([(np.nan, 0.1), (1.0, np.nan), (np.inf, np.inf), (1.0, 0.1)])
    taken, _, _ = line_search(lambda x: tuple(map(np.atleast_1d, next(values))), np.ones(1), 1.0, 0.5, 4)
    assert taken[0] == 0.125
