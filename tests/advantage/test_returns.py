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

from rlsparse.advantage.estimators import GAE
from rlsparse.advantage.returns import discounted_to_go, gae, n_step_returns, running_returns, unseen_share
from rlsparse.advantage.vtrace import vtrace
from rlsparse.learner.records import Rollout

DATA = Path(__file__).parent.parent / "data"
CASE = json.loads((DATA / "gae_5x2.json").read_text())
VTRACE = json.loads((DATA / "advantage.json").read_text())["vtrace_5x2"]
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


# Returns of n steps, without bootstrapping, and off-policy


ENDED = WORKED.terminated | WORKED.truncated
STEPS = (WORKED.rewards, WORKED.next_values, WORKED.terminated, WORKED.truncated)
episodes = (numbers, numbers, numbers, flags, flags, share)


def consistent(values, last_values, terminated, truncated):
    """Values of successors as a rollout has them: the next step's value within an episode."""
    ended = terminated | truncated
    ended[-1] = True
    return np.where(ended, last_values, np.concatenate([values[1:], values[:1]]))


@pytest.mark.parametrize("n", [2, 3])
def test_worked_example_of_n_steps(n):
    expected = CASE["expect"][f"nstep_returns_n{n}"]
    np.testing.assert_allclose(n_step_returns(*STEPS, GAMMA, n), expected, rtol=1e-12)


def test_worked_example_without_bootstrapping():
    expected = CASE["expect"]["mc_returns_no_bootstrap"]
    np.testing.assert_allclose(discounted_to_go(WORKED.rewards, ENDED, GAMMA), expected, rtol=1e-12)
    complete = unseen_share(WORKED.terminated, WORKED.truncated, GAMMA) == 0
    np.testing.assert_array_equal(complete, CASE["expect"]["mc_complete_to_true_terminal"])


@pytest.mark.parametrize(
    ("name", "bars"), [("expect_rho1_c1", (1.0, 1.0, 1.0)), ("expect_rhobar2_cbar1_lambda095", (0.95, 2.0, 1.0))]
)
def test_worked_example_of_vtrace(name, bars):
    names = ("rewards", "values", "next_values", "terminated", "truncated")
    log_rho = np.array(VTRACE["log_rhos"])
    advantages, targets = vtrace(*(getattr(WORKED, n) for n in names), log_rho, GAMMA, *bars)
    np.testing.assert_allclose(targets, VTRACE[name]["vs"], rtol=1e-9)
    np.testing.assert_allclose(advantages, VTRACE[name]["pg_advantages"], rtol=1e-9)


@given(*episodes)
def test_one_step_is_the_reward_and_the_next_value_all_steps_are_lambda_one(
    rewards, values, last_values, terminated, truncated, gamma
):
    next_values = consistent(values, last_values, terminated, truncated)
    steps = (rewards, next_values, terminated, truncated, gamma)
    one = rewards + gamma * np.where(terminated, 0.0, next_values)
    np.testing.assert_allclose(n_step_returns(*steps, 1), one, atol=1e-9)
    _, everything = gae(rewards, values, next_values, terminated, truncated, gamma, 1.0)
    for n in (6, 60):
        np.testing.assert_allclose(n_step_returns(*steps, n), everything, atol=1e-9)


@given(*episodes)
def test_lambda_returns_are_the_geometric_mean_of_n_step_returns(
    rewards, values, last_values, terminated, truncated, gamma
):
    """Sutton and Barto (2018), equation 12.3: (1 - l) sum over n of l^(n-1) G^n, the last one with what is left."""
    lam, next_values = 0.7, consistent(values, last_values, terminated, truncated)
    of_n = [n_step_returns(rewards, next_values, terminated, truncated, gamma, n) for n in range(1, 7)]
    mean = (1 - lam) * sum(lam**i * g for i, g in enumerate(of_n[:-1])) + lam**5 * of_n[-1]
    _, returns = gae(rewards, values, next_values, terminated, truncated, gamma, lam)
    np.testing.assert_allclose(returns, mean, atol=1e-8)


@given(*episodes)
def test_lambda_one_less_monte_carlo_is_the_bootstrap_term(rewards, values, last_values, terminated, truncated, gamma):
    next_values = consistent(values, last_values, terminated, truncated)
    _, returns = gae(rewards, values, next_values, terminated, truncated, gamma, 1.0)
    ended = terminated | truncated
    missing = returns - discounted_to_go(rewards, ended, gamma)
    ended[-1] = True
    for t, n in np.ndindex(rewards.shape):
        end = t + int(np.argmax(ended[t:, n]))
        behind = 0.0 if terminated[end, n] else gamma ** (end + 1 - t)
        np.testing.assert_allclose(missing[t, n], behind * next_values[end, n], atol=1e-9)
        np.testing.assert_allclose(unseen_share(terminated, truncated, gamma)[t, n], behind)


@given(*episodes, share)
def test_vtrace_on_policy_is_gae(rewards, values, last_values, terminated, truncated, gamma, lam):
    steps = (rewards, values, consistent(values, last_values, terminated, truncated), terminated, truncated)
    _, targets = vtrace(*steps, np.zeros_like(rewards), gamma, lam)
    np.testing.assert_allclose(targets, gae(*steps, gamma, lam)[1], atol=1e-9)
    advantages, _ = vtrace(*steps, np.zeros_like(rewards), gamma)
    np.testing.assert_allclose(advantages, gae(*steps, gamma, 1.0)[0], atol=1e-9)


def test_vtrace_targets_are_the_value_of_the_policy_that_learns():
    """Two actions from one state, rewards 1 and 5; pi takes the second with 0.75, mu with 0.5: V = 4."""
    taken = np.array([0, 1])
    log_rho = np.log(np.array([0.25, 0.75]) / 0.5)
    rewards, none = np.array([1.0, 5.0])[taken][None], np.zeros((1, 2))
    _, targets = vtrace(
        rewards, none, none, none == 0, none == 1, log_rho[None], 0.9, trace_lambda=1.0, rho_bar=10.0, c_bar=10.0
    )
    assert targets.mean() == pytest.approx(4.0)


estimates = {
    "n_step_returns": lambda r, v, w, end, cut, g: n_step_returns(r, w, end, cut, g, 3),
    "discounted_to_go": lambda r, v, w, end, cut, g: discounted_to_go(r, end | cut, g),
    "unseen_share": lambda r, v, w, end, cut, g: unseen_share(end, cut, g),
    "vtrace": lambda r, v, w, end, cut, g: vtrace(r, v, w, end, cut, (v - w) / 10, g, 0.9, 1.5, 1.2)[0],
}


@pytest.mark.parametrize("name", estimates)
@given(steps=st.tuples(*episodes), order=st.permutations(range(2)))
def test_estimates_of_an_environment_are_its_own_alone(name, steps, order):
    *arrays_, gamma = steps
    expected = estimates[name](*arrays_, gamma)[:, order]
    np.testing.assert_array_equal(estimates[name](*(x[:, order] for x in arrays_), gamma), expected)


@pytest.mark.parametrize("name", estimates)
@given(steps=st.tuples(*episodes))
def test_estimates_are_the_same_on_torch(name, steps):
    *arrays_, gamma = steps
    got = estimates[name](*map(torch.from_numpy, arrays_), gamma)
    np.testing.assert_allclose(got, estimates[name](*arrays_, gamma), rtol=1e-12, atol=1e-12)


def test_what_lies_behind_a_terminal_state_matters_to_none():
    expected = [estimates[name](*vars_of(WORKED), GAMMA) for name in estimates]
    blind = np.where(WORKED.terminated, 1e9, WORKED.next_values)
    steps = (WORKED.rewards, WORKED.values, blind, WORKED.terminated, WORKED.truncated)
    got = [
        n_step_returns(steps[0], blind, *steps[3:], GAMMA, 3),
        vtrace(*steps, (WORKED.values - WORKED.next_values) / 10, GAMMA, 0.9, 1.5, 1.2)[0],
    ]
    np.testing.assert_array_equal(got, [expected[0], expected[3]])


def vars_of(case):
    return case.rewards, case.values, case.next_values, case.terminated, case.truncated


def test_arrays_of_another_shape_are_refused_by_all():
    steps = vars_of(WORKED)
    for name, estimate in estimates.items():
        with pytest.raises(ValueError, match="one shape"):
            if name == "discounted_to_go":
                discounted_to_go(WORKED.rewards, ENDED[:, :1], GAMMA)
            else:
                estimate(*steps[:4], steps[4][:, :1], GAMMA)
