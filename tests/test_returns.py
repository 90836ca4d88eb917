"""Generalised advantage estimation and discounted sums, against worked numbers, SB3 and closed forms."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from stable_baselines3.common.buffers import RolloutBuffer

from rlsparse.advantage.gae import GAE
from rlsparse.data import Rollout
from rlsparse.returns import gae, running_returns

CASE = json.loads((Path(__file__).parent / "data" / "gae_5x2.json").read_text())
GAMMA, LAM = CASE["gamma"], CASE["lam"]
WORKED = SimpleNamespace(**{k: np.array(x) for k, x in CASE.items() if isinstance(x, list)})
WRONG = {name: np.array(x) for name, x in CASE["must_not_equal"].items()}
NEVER = np.zeros_like(WORKED.terminated)

numbers = arrays(float, (6, 2), elements=st.floats(-10, 10))
flags = arrays(bool, (6, 2))
share = st.floats(0, 1)


def worked(gae_lambda=LAM, **changes):
    case = vars(WORKED) | changes
    names = ("rewards", "values", "next_values", "terminated", "truncated")
    return gae(*(case[name] for name in names), GAMMA, gae_lambda)


def test_worked_example():
    advantages, returns = worked()
    np.testing.assert_allclose(advantages, CASE["expect"]["advantages"], rtol=1e-12)
    np.testing.assert_allclose(returns, CASE["expect"]["returns"], rtol=1e-12)
    np.testing.assert_allclose(returns, CASE["expect"]["td_lambda_returns"], rtol=1e-12)


@pytest.mark.parametrize("gae_lambda", [0, 1])
def test_worked_example_at_the_ends_of_lambda(gae_lambda):
    advantages, _ = worked(gae_lambda)
    np.testing.assert_allclose(advantages, CASE["expect"][f"advantages_lambda{gae_lambda}"], rtol=1e-12, atol=1e-12)


def test_one_step_advantages_are_the_temporal_differences():
    np.testing.assert_allclose(worked(0.0)[0], CASE["expect"]["deltas"], rtol=1e-12, atol=1e-12)


POST_RESET = np.concatenate([WORKED.values[1:], WORKED.next_values[-1:]])
MISTAKES = {
    "truncation_treated_as_termination": {"terminated": WORKED.terminated | WORKED.truncated, "truncated": NEVER},
    "bootstraps_from_post_reset_state": {"next_values": POST_RESET},
    "leaks_across_truncation": {"truncated": NEVER},
}


@pytest.mark.parametrize("mistake", WRONG)
def test_the_masks_keep_known_mistakes_away(mistake):
    assert not np.allclose(worked()[0], WRONG[mistake])
    np.testing.assert_allclose(worked(**MISTAKES[mistake])[0], WRONG[mistake], rtol=1e-12)


def test_what_lies_behind_a_terminal_state_does_not_matter():
    next_values = np.where(WORKED.terminated, np.nan, WORKED.next_values)
    np.testing.assert_array_equal(worked(next_values=next_values)[0], worked()[0])


def test_equals_the_rollout_buffer_of_sb3():
    sb3 = CASE["sb3_equivalent"]
    space = Box(-1, 1, (1,))
    buffer = RolloutBuffer(5, space, space, gae_lambda=LAM, gamma=GAMMA, n_envs=2)
    buffer.rewards = np.array(sb3["rewards_with_bootstrap_added_at_truncation"], np.float32)
    buffer.values = WORKED.values.astype(np.float32)
    buffer.episode_starts = np.array(sb3["episode_starts"], np.float32)
    buffer.compute_returns_and_advantage(torch.tensor(sb3["last_values"]), np.array(sb3["last_dones"]))
    advantages, returns = worked()
    np.testing.assert_allclose(advantages, buffer.advantages, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(returns, buffer.returns, rtol=1e-6, atol=1e-6)


@given(numbers, numbers, numbers, flags, flags, share)
def test_lambda_one_is_the_discounted_sum_to_the_end_of_the_episode(
    rewards, values, last_values, terminated, truncated, gamma
):
    ended = terminated | truncated
    ended[-1] = True
    following = np.concatenate([values[1:], values[:1]])
    next_values = np.where(ended, last_values, following)
    _, returns = gae(rewards, values, next_values, terminated, truncated, gamma, 1.0)
    expected = np.empty_like(rewards)
    for t, n in np.ndindex(rewards.shape):
        end = t + int(np.argmax(ended[t:, n]))
        bootstrap = 0.0 if terminated[end, n] else gamma ** (end + 1 - t) * next_values[end, n]
        expected[t, n] = gamma ** np.arange(end + 1 - t) @ rewards[t : end + 1, n] + bootstrap
    np.testing.assert_allclose(returns, expected, atol=1e-9)


@given(numbers, numbers, numbers, flags, flags, share, share, st.floats(-5, 5))
def test_advantages_scale_with_rewards_and_values(
    rewards, values, next_values, terminated, truncated, gamma, gae_lambda, k
):
    once = gae(rewards, values, next_values, terminated, truncated, gamma, gae_lambda)
    scaled = gae(k * rewards, k * values, k * next_values, terminated, truncated, gamma, gae_lambda)
    np.testing.assert_allclose(scaled, k * np.array(once), atol=1e-8)


@given(numbers, numbers, numbers, flags, share, share, st.floats(-5, 5))
def test_a_constant_reward_valued_rightly_is_no_advantage(
    rewards, values, next_values, truncated, gamma, gae_lambda, c
):
    never = np.zeros_like(truncated)
    advantages, _ = gae(rewards, values, next_values, never, truncated, gamma, gae_lambda)
    shifted, _ = gae(rewards + (1 - gamma) * c, values + c, next_values + c, never, truncated, gamma, gae_lambda)
    np.testing.assert_allclose(shifted, advantages, atol=1e-8)


@given(numbers, numbers, numbers, flags, flags, share, share)
def test_numpy_and_torch_agree(rewards, values, next_values, terminated, truncated, gamma, gae_lambda):
    inputs = (rewards, values, next_values, terminated, truncated)
    expected = gae(*inputs, gamma, gae_lambda)
    got = gae(*(torch.from_numpy(x) for x in inputs), gamma, gae_lambda)
    np.testing.assert_allclose(np.array(got), np.array(expected), rtol=1e-12, atol=1e-12)


def test_precision_is_that_of_the_rewards():
    names = ("rewards", "values", "next_values")
    assert worked(**{name: getattr(WORKED, name).astype(np.float32) for name in names})[0].dtype == np.float32


@pytest.mark.parametrize("name", ["values", "next_values", "terminated", "truncated"])
def test_arrays_of_another_shape_are_refused(name):
    # [T, 1] would broadcast without a word
    with pytest.raises(ValueError, match=r"one shape \[T, \.\.\.\], got .*\(5, 1\).*\(5, 2\)"):
        worked(**{name: getattr(WORKED, name)[:, :1]})


def test_the_component_estimates_a_rollout_with_a_member_axis():
    by_member = {name: x[:, :, None] for name, x in vars(WORKED).items()}
    rollout = Rollout(
        obs=None,
        action=None,
        log_prob=None,
        reward=by_member["rewards"],
        value=by_member["values"],
        next_value=by_member["next_values"],
        terminated=by_member["terminated"],
        truncated=by_member["truncated"],
    )
    estimate = GAE(GAMMA, LAM)(rollout)
    np.testing.assert_allclose(estimate.advantage[..., 0], CASE["expect"]["advantages"])
    np.testing.assert_allclose(estimate.value_target[..., 0], CASE["expect"]["returns"])


@given(numbers, flags, arrays(float, (2,), elements=st.floats(-10, 10)), share, st.integers(1, 5))
def test_running_returns_sum_the_past_of_the_episode(rewards, ended, start, gamma, cut):
    sums, _ = running_returns(rewards, ended, start, gamma)
    for t, n in np.ndindex(rewards.shape):
        ends = np.flatnonzero(ended[:t, n])
        first = ends[-1] + 1 if len(ends) else 0
        before = 0.0 if len(ends) else gamma ** (t + 1) * start[n]
        expected = gamma ** np.arange(t - first, -1, -1) @ rewards[first : t + 1, n] + before
        np.testing.assert_allclose(sums[t, n], expected, atol=1e-9)

    early, carried = running_returns(rewards[:cut], ended[:cut], start, gamma)
    late, _ = running_returns(rewards[cut:], ended[cut:], carried, gamma)
    np.testing.assert_array_equal(np.concatenate([early, late]), sums)
