"""Numbers that training cannot go on with are told as what they are, and where they came from."""

import numpy as np
import pytest

from rlsparse.errors import DivergenceError
from rlsparse.sim.finite import LARGEST, check_finite, place


class Named:
    num_envs = 4
    spec = type("Spec", (), {"id": "Named-v0"})


def check(obs=0.0, reward=0.0, row=2):
    """Check one bad number among good ones: environment `row` of four, which belong to two members."""
    observations, rewards = np.ones((4, 3)), np.ones(4)
    observations[row, 1], rewards[row] = obs, reward
    check_finite(Named, observations, rewards, [5, 6], "step {} of a rollout", 9)


@pytest.mark.parametrize("number", [0.0, 1e6, -LARGEST, LARGEST])
def test_numbers_whose_squares_float32_can_sum_are_taken(number):
    check(obs=number)
    check(reward=number)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e39, -1e200])
@pytest.mark.parametrize("what", ["obs", "reward"])
def test_what_float32_does_not_hold_is_not_finite(what, bad):
    thing = {"obs": "an observation", "reward": "a reward"}[what]
    with pytest.raises(DivergenceError) as caught:
        check(**{what: bad})
    assert str(caught.value) == (
        f"Named-v0 gave {thing} that is not finite: seed 6, environment 0, step 9 of a rollout; the policy of the last "
        "complete iteration is kept"
    )


@pytest.mark.parametrize("bad", [1e30, -1e30, 2e15])
def test_what_would_drown_all_other_numbers_is_too_large(bad):
    with pytest.raises(DivergenceError) as caught:
        check(reward=bad, row=1)
    assert str(caught.value) == (
        f"Named-v0 gave a reward of size {abs(bad):g}, which is too large: seed 5, environment 1, step 9 of a rollout; "
        "the policy of the last complete iteration is kept: scale rewards down, below 1e+15"
    )
    with pytest.raises(DivergenceError, match=r"an observation of size .* too large.*: scale observations down"):
        check(obs=bad)


def test_a_thousand_returns_of_a_hundred_of_the_largest_rewards_have_a_finite_sum_of_squares():
    returns = np.full(1000, 100 * LARGEST, np.float32)
    assert np.isfinite((returns * returns).sum(dtype=np.float32))


def test_environments_that_belong_to_nobody_are_numbered():
    assert place(3, 4, []) == "environment 3"
