"""Marginal gains of set functions, against worked numbers, determinants of whole sets and brute force over sets."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rlsparse.advantage import points as of_points
from rlsparse.advantage import set_functions as set_gains

CASES = json.loads((Path(__file__).parent.parent / "data" / "set_functions.json").read_text())
NEIGHBOURS = np.array([[-1], [0], [1]])

paths = arrays(float, (7, 2), elements=st.floats(-0.25, 1.25))


def line_gains(cells, size, offsets=NEIGHBOURS):
    covered = of_points.footprint(np.array(cells)[:, None], (size,), offsets)
    return set_gains.count_gains(covered, np.zeros(size, int), "once")[0]


def brute_force(value, points):
    """F after each point less F before it, from F of whole sets."""
    values = [value(points[:n]) for n in range(len(points) + 1)]
    return np.diff(values)


# Coverage


def test_coverage_of_a_line():
    case = CASES["coverage_1d"]
    for episode, (first, *gains), total in zip(
        np.transpose(case["states"]),
        [line_gains(states, case["cells"]) for states in np.transpose(case["states"])],
        case["telescoping_sum"],
        strict=True,
    ):
        n = int(episode[0] == 0)
        assert gains == [row[n] for row in case["marginal_gains"]]
        assert sum(gains) == total
        assert first == case["modular_reward_for_comparison"][0][n]


def test_coverage_of_a_plane():
    case = CASES["grid_2d"]
    low, high = case["box"]
    shape = (case["cells"], case["cells"])
    cells = of_points.grid_cells((np.array(case["points"]) - low) / (high - low), shape)
    assert cells.tolist() == case["cell_index"]
    offsets = np.stack(np.meshgrid(range(5), range(5)), -1).reshape(-1, 2)
    gains, visits = set_gains.count_gains(of_points.footprint(cells, shape, offsets), np.zeros(10_000, int), "once")
    assert gains[1:].tolist() == case["marginal_gains"]
    assert np.cumsum(gains).tolist() == case["coverage"]
    assert np.count_nonzero(visits) == case["coverage"][-1]


def test_a_flat_index_is_that_of_the_grid_as_an_array():
    shape = (3, 4, 5)
    cells = np.argwhere(np.ones(shape))
    flat = of_points.footprint(cells, shape, np.zeros((1, 3), int))[:, 0]
    assert flat.tolist() == np.ravel_multi_index(cells.T, shape).tolist()


def test_what_lies_outside_of_the_grid_covers_nothing():
    points = np.array([[0.5, 1.01], [-0.01, 0.5], [1.0, 0.5], [1e300, 0.5], [0.0, 0.99]])
    cells = of_points.grid_cells(points, (10, 10))
    assert cells.tolist() == [[-1, -1]] * 4 + [[0, 9]]
    corner = of_points.footprint(cells, (10, 10), np.array([[0, 0], [-1, 0], [1, 0], [0, 1]]))
    assert corner.tolist() == [[-1] * 4] * 4 + [[9, -1, 19, -1]]


@pytest.mark.parametrize(("concave", "name"), [("once", "binary"), ("sqrt", "sqrt"), ("log1p", "log1p")])
def test_concave_counts(concave, name):
    case = CASES["concave_count"]
    gains, visits = set_gains.count_gains(np.array(case["cells"])[:, None], np.zeros(10, int), concave)
    np.testing.assert_allclose(gains, case[name], atol=1e-11)
    np.testing.assert_array_equal(visits, np.bincount(case["cells"], minlength=10))


@given(paths, st.sampled_from(["once", "sqrt", "log1p"]))
def test_coverage_by_brute_force(path, concave):
    shape, offsets = (4, 3), np.array([[0, 0], [1, 0], [0, -1]])
    covered = of_points.footprint(of_points.grid_cells(path, shape), shape, offsets)

    def value(rows):
        return sum(of_points.concave_worth((rows == cell).sum(), concave) for cell in range(12))

    gains, _ = set_gains.count_gains(covered, np.zeros(12, int), concave)
    np.testing.assert_allclose(gains, brute_force(value, covered), atol=1e-12)


# Facility location


def test_facility_location():
    case = CASES["facility_location"]
    likeness = of_points.gaussian_likeness(np.array(case["states"]), np.array(case["reference_points"]), 1.0)
    gains, best = set_gains.facility_gains(likeness, np.zeros(4))
    np.testing.assert_allclose(gains, case["marginal_gains"], atol=1e-11)
    assert best.sum() == pytest.approx(case["F_total"], abs=1e-11)


# Log-determinants


def test_log_det_of_features():
    case = CASES["log_det"]["features"]
    gains, precision = set_gains.log_det_gains(np.array(case["phi"]), case["lam"] * np.eye(2))
    np.testing.assert_allclose(gains, case["marginal_gains"], atol=1e-11)
    np.testing.assert_allclose(np.linalg.inv(precision), case["A_inverse_final"], atol=1e-11)


def test_log_det_is_the_information_that_a_gaussian_process_gains():
    case = CASES["log_det"]["gp"]
    states, noise = np.array(case["states"]), case["noise_variance"]
    kernel = of_points.gaussian_likeness(states, states, 1.0)
    values, vectors = np.linalg.eigh(kernel)  # features whose products are the kernel's values
    features = vectors * np.sqrt(values.clip(0))
    gains, _ = set_gains.log_det_gains(features, noise * np.eye(4))
    np.testing.assert_allclose(gains, case["marginal_gains"], atol=1e-11)
    variance = np.array(case["posterior_variances_before_adding"])
    np.testing.assert_allclose(gains, 0.5 * np.log1p(variance / noise), atol=1e-11)


def test_log_det_of_more_points_than_are_factored_together():
    features = np.random.default_rng(0).standard_normal((3 * set_gains.BLOCK + 5, 6))
    gains, precision = set_gains.log_det_gains(features, 0.3 * np.eye(6))
    expected = brute_force(lambda rows: 0.5 * np.linalg.slogdet(0.3 * np.eye(6) + rows.T @ rows)[1], features)
    np.testing.assert_allclose(gains, expected, atol=1e-9)
    np.testing.assert_allclose(precision, 0.3 * np.eye(6) + features.T @ features, rtol=1e-12)


def test_fourier_features_come_close_to_the_kernel():
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 1, (20, 3))
    features = of_points.fourier_features(points, rng.standard_normal((20_000, 3)) / 0.5)
    np.testing.assert_allclose((features**2).sum(1), 1)
    np.testing.assert_allclose(features @ features.T, of_points.gaussian_likeness(points, points, 0.5), atol=0.03)
