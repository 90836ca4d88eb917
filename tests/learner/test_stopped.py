"""Members that end their update early: their state of that moment comes back, on arrays and on tensors alike."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlsparse.learner.learner import Learner
from rlsparse.learner.network import ActorCritic
from rlsparse.learner.stopped import Stopped

MEMBERS = 3
DEVICES = pytest.mark.parametrize("device", ["cpu", "cpu:0"])


def new(device):
    return Learner(ActorCritic(actor_hidden=(2,), critic_hidden=(2,)), 2, 1, range(MEMBERS), device)


def array(x, device):
    return np.array(x) if device == "cpu" else torch.tensor(x)


def move(learner):
    """What a step changes: parameters, moments, steps."""
    for x in (learner.params, *learner.optimiser.state_dict().values()):
        x += 1


@given(st.lists(st.lists(st.booleans(), min_size=MEMBERS, max_size=MEMBERS), max_size=5))
def test_everyone_gets_the_state_of_the_moment_that_it_stopped_in(moments):
    for device in ("cpu", "cpu:0"):
        learner, begun = new(device), new(device).params
        stopped, left = Stopped(learner), np.ones(MEMBERS, bool)
        expected = np.zeros(MEMBERS)
        for exceeded in moments:
            stopped.add(array(exceeded, device))
            left &= ~np.array(exceeded)
            assert np.asarray(stopped.members).tolist() == (~left).tolist()
            move(learner)
            expected += left
        stopped.restore()
        np.testing.assert_allclose(learner.params - begun, expected[:, None] * np.ones_like(learner.params), atol=1e-6)
        for x in learner.optimiser.state_dict().values():
            np.testing.assert_array_equal(np.asarray(x).reshape(MEMBERS, -1)[:, 0], expected)


def test_who_stopped_stops_once_and_a_second_time_changes_nothing():
    learner = new("cpu")
    stopped = Stopped(learner)
    for _ in range(3):
        assert not stopped.add(np.array([True, False, False]))
        move(learner)
    stopped.restore()
    assert learner.optimiser.steps[:, 0].tolist() == [0, 3, 3]


def test_draws_after_the_stop_are_taken_back():
    learner, alone = new("cpu"), new("cpu")
    stopped = Stopped(learner)
    stopped.add(np.array([False, True, False]))
    learner.permutations(8)
    stopped.restore()
    alone.permutations(8)
    states, drawn, begun = (x.random_state()["minibatch"] for x in (learner, alone, new("cpu")))
    assert states == [drawn[0], begun[1], drawn[2]]


@DEVICES
def test_without_a_stop_nothing_is_put_back(device):
    learner = new(device)
    stopped = Stopped(learner)
    stopped.add(array([False] * MEMBERS, device))
    move(learner)
    moved = learner.params + 0
    stopped.restore()
    np.testing.assert_array_equal(learner.params, moved)
    assert not stopped.all()


def test_it_is_known_when_all_have_stopped_but_on_a_device_nobody_waits_for_the_answer():
    everybody = [True] * MEMBERS
    assert Stopped(new("cpu")).add(array(everybody, "cpu"))
    stopped = Stopped(new("cpu:0"))
    assert not stopped.add(array(everybody, "cpu:0"))
    assert stopped.members.all()
