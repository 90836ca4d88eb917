"""The allowance of a member: never overdrawn; who cannot pay a step for all that are alive takes no more steps."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlsparse.sim.episodes import Allowance

MEMBERS, EACH = 3, 4

lives = st.lists(st.lists(st.booleans(), min_size=MEMBERS * EACH, max_size=MEMBERS * EACH).map(np.array), max_size=12)
"""Who is alive, [S * K], step by step."""


def of(left, array=np.array):
    return Allowance(array(left), array([False] * MEMBERS))


@given(lives, st.lists(st.integers(0, 30), min_size=MEMBERS, max_size=MEMBERS))
def test_nobody_spends_more_than_allowed_and_a_step_is_paid_for_all_of_a_member_or_for_none(alive, allowed):
    allowance, spent = of(allowed), np.zeros(MEMBERS, int)
    out = np.zeros(MEMBERS, bool)
    for now in alive:
        before = allowance.left.copy()
        paid = allowance.spend(now)
        rows, wanted = paid.reshape(MEMBERS, EACH), now.reshape(MEMBERS, EACH)
        out |= wanted.sum(1) > before  # once and for all, though a smaller step could be paid
        for member in range(MEMBERS):
            assert rows[member].tolist() == ([False] * EACH if out[member] else wanted[member].tolist())
        spent += rows.sum(1)
        assert allowance.exhausted.tolist() == out.tolist()
        assert allowance.left.tolist() == (allowed - spent).tolist()
        assert (allowance.left >= 0).all()


@given(lives, st.lists(st.integers(0, 30), min_size=MEMBERS, max_size=MEMBERS))
def test_on_tensors_it_is_what_it_is_on_arrays(alive, allowed):
    host, device = of(allowed), of(allowed, torch.tensor)
    for now in alive:
        np.testing.assert_array_equal(device.spend(torch.tensor(now)).numpy(), host.spend(now))
        np.testing.assert_array_equal(device.left.numpy(), host.left)
        np.testing.assert_array_equal(device.exhausted.numpy(), host.exhausted)


@given(lives, st.lists(st.integers(0, 30), min_size=MEMBERS, max_size=MEMBERS))
def test_a_member_pays_for_itself_alone(alive, allowed):
    together = of(allowed)
    alone = [Allowance(np.array([left]), np.array([False])) for left in allowed]
    for now in alive:
        paid = [own.spend(part) for own, part in zip(alone, now.reshape(MEMBERS, EACH), strict=True)]
        assert together.spend(now).tolist() == np.concatenate(paid).tolist()


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
def test_without_a_limit_everything_is_paid(device):
    allowance = Allowance.unlimited(2, device)
    alive = np.ones(6, bool) if device == "cpu" else torch.ones(6, dtype=torch.bool)
    for _ in range(100):
        assert allowance.spend(alive).all()
    assert not allowance.exhausted.any()
