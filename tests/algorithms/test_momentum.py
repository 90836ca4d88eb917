"""Running means of gradients and normalised steps, against worked examples."""

import json
from pathlib import Path

import numpy as np
import pytest

from rlsparse.algorithms.variance_reduced import MomentumAdam, falling, look_ahead, running_mean, step_along
from rlsparse.learner.layout import actor_critic_layout

VECTORS = json.loads((Path(__file__).parent.parent / "data" / "momentum.json").read_text())


def gradient(theta):
    """Of -(t0^2 + 0.25 t1^2)."""
    return theta * [[-2.0, -0.5]]


def start(vector):
    theta = np.array([vector["theta0"]])
    return theta, np.zeros_like(theta), np.zeros_like(theta), np.array([[1.0]]), np.array([[vector["step"]]])


def test_gradients_ahead_of_the_policy_give_the_worked_steps():
    vector = VECTORS["n_pg_igt"]
    theta, moved, direction, eta, length = start(vector)
    for expect in vector["expect"]:
        ahead = look_ahead(theta, moved, eta)
        direction = running_mean(direction, gradient(ahead), eta)
        moved = step_along(direction, length)
        theta = theta + moved
        for ours, name in ((ahead, "lookahead"), (direction, "d"), (theta, "theta")):
            np.testing.assert_allclose(ours[0], expect[name], atol=1e-9)
        np.testing.assert_allclose(direction, gradient(theta - moved), atol=1e-9)  # the mean does not lag behind
        eta = np.array([[vector["eta"]]])


def test_a_mean_corrected_by_the_hessian_gives_the_worked_steps():
    vector = VECTORS["n_harpg"]
    theta, moved, direction, eta, length = start(vector)
    for expect in vector["expect"]:
        direction = running_mean(direction + gradient(moved), gradient(theta), eta)  # the Hessian is constant
        moved = step_along(direction, length)
        theta = theta + moved
        np.testing.assert_allclose(direction[0], expect["d"], atol=1e-9)
        np.testing.assert_allclose(theta[0], expect["theta"], atol=1e-9)
        eta = np.array([[vector["eta"]]])


def test_the_first_gradient_counts_alone_and_later_ones_less_and_less():
    np.testing.assert_allclose(falling(np.array([[0.0], [2.0], [6.0]]), 0.5), [[1], [0.5**0.5], [0.5]])


def test_a_step_has_its_length_and_there_is_none_along_zero():
    direction = np.array([[3.0, 4.0], [0.0, 0.0], [-30.0, 40.0]])
    step = step_along(direction, np.array([[5.0], [5.0], [1.0]]))
    np.testing.assert_allclose(step, [[3, 4], [0, 0], [-0.6, 0.8]])


def remembering():
    layout = actor_critic_layout(2, 1, (), ())
    memory = MomentumAdam(np.ones((2, layout.size), np.float32), layout, False)
    for array in memory.state_dict().values():
        array[...] = 1.0
    return memory, layout


def test_parameters_that_come_or_go_have_no_mean_and_did_not_move():
    memory, layout = remembering()
    where = np.zeros((2, layout.size), bool)
    where[1, [0, layout.size - 1]] = True
    memory.restart(where)
    for array in (memory.direction, memory.moved):
        np.testing.assert_array_equal(array, ~where[:, layout.policy])
    np.testing.assert_array_equal(memory.first, ~where)
    assert (memory.count == 1).all()


@pytest.mark.parametrize("moments", ["keep", "reset", "transport"])
def test_after_a_probe_moved_a_policy_its_memory_is_kept_or_begun_anew(moments):
    memory, layout = remembering()
    actor = layout.group("actor")
    memory.forget(1, moments, actor)
    left = {"keep": 1, "reset": 0, "transport": 0}[moments]
    for array in (memory.direction, memory.moved):
        assert (array[0] == 1).all()
        assert (array[1, actor] == left).all()
        assert (array[1, actor.stop :] == (moments != "reset")).all()
    assert memory.count[:, 0].tolist() == [1, moments != "reset"]
