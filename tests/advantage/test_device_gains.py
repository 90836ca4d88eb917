"""Set functions on a device: the gains of every point of many episodes are those of each episode on the CPU."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from plane import FUNCTIONS
from tensors import DEVICE, never_waiting

from rlsparse.advantage.set_functions import LogDet

each = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
episodes = arrays(float, (8, 3, 2), elements=st.floats(-0.25, 1.25))


def gains_on_device(function, points):
    """Gains [L, E] of points [L, E, d], a step after the other."""
    on_device, rows = function.on_device(2, DEVICE), []
    collected = on_device.empty.expand(points.shape[1], *on_device.empty.shape)
    for step in torch.as_tensor(points):
        gains, collected = on_device.add(collected, step)
        rows.append(gains.numpy())
    return np.stack(rows)


@each
@settings(max_examples=30)
@given(points=episodes)
def test_points_add_what_they_add_on_the_cpu(function, points):
    found = gains_on_device(function, points)
    for e in range(points.shape[1]):
        expected, _ = function.add(function.empty(2), points[:, e])
        np.testing.assert_allclose(found[:, e], expected, rtol=1e-9, atol=1e-9)


def test_a_long_episode_s_inverse_stays_exact():
    function = LogDet(features=64, noise=0.01)
    points = np.random.default_rng(0).uniform(0, 0.3, (1000, 1, 2))
    expected, _ = function.add(function.empty(2), points[:, 0])
    np.testing.assert_allclose(gains_on_device(function, points)[:, 0], expected, rtol=1e-6, atol=1e-12)


@each
def test_the_host_waits_for_no_gain(function):
    on_device, points = function.on_device(2, DEVICE), torch.rand(3, 2, dtype=torch.float64)
    with never_waiting():
        on_device.add(on_device.empty.expand(3, *on_device.empty.shape), points)
