"""The plane of a landscape: its axes, true distances in it, and how much it shows."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from rlsparse.trained.plane import Plane, share_in_plane


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_the_axes_are_the_direction_and_what_varies_most_across_it(rng):
    direction, across, rest = np.linalg.qr(rng.standard_normal((6, 6)))[0][:3]
    spread = np.array([[-5, 1, 0.1], [0, -3, 0.1], [5, 1, -0.2], [0, 1, 0.0]])
    plane = Plane.through(spread @ [direction, across, rest] + 7, 3 * direction)
    np.testing.assert_allclose(plane.axes[0], direction, atol=1e-12)
    assert plane.axes[1] @ across < -0.99, "turned towards the farthest point"
    np.testing.assert_allclose(plane.axes @ plane.axes.T, np.eye(2), atol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 3, 40])
def test_distances_are_those_in_parameter_space(size, rng):
    points = rng.standard_normal((12, size)) * 1e-3 + 50
    plane = Plane.through(points[:5], points[1] - points[0])
    coordinates = plane.coordinates(points)
    np.testing.assert_allclose(pdist(coordinates), pdist(points), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(coordinates[:, :2], (points - points[:5].mean(0)) @ plane.axes.T, atol=1e-12)
    # a point of the plane has no other coordinates
    x, y = 0.3, -0.2
    there = plane.origin + x * plane.axes[0] + y * plane.axes[1]
    to_there = np.linalg.norm(coordinates - np.append([x, y], np.zeros(coordinates.shape[1] - 2)), axis=1)
    if size > 1:
        np.testing.assert_allclose(to_there, np.linalg.norm(points - there, axis=1), rtol=1e-6)


def test_points_in_one_place_or_on_the_line_have_no_second_axis(rng):
    direction = rng.standard_normal(5)
    for points in (np.ones((3, 5)), np.outer([0.0, 1.0, 3.0], direction)):
        plane = Plane.through(points, direction)
        assert not plane.axes[1].any()
        assert not plane.coordinates(points)[:, 1:].any()


def test_an_update_of_no_length_has_no_first_axis(rng):
    plane = Plane.through(rng.standard_normal((4, 5)), np.zeros(5))
    assert not plane.axes[0].any()
    assert np.linalg.norm(plane.axes[1]) == pytest.approx(1)


def test_the_share_of_variance_in_the_plane():
    coordinates = np.array([[3.0, 0, 0, 0], [-3, 0, 0, 0], [0, 2, 0, 0], [0, -2, 0, 0], [0, 0, 1, 0], [0, 0, -1, 0]])
    assert share_in_plane(coordinates) == pytest.approx((9 + 4) / (9 + 4 + 1))
    assert share_in_plane(coordinates + 5) == pytest.approx(13 / 14)
    assert share_in_plane(np.ones((3, 4))) == 1
