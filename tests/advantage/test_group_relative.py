"""Group-relative advantages against the formulas of their sources, on hand-made groups."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rlsparse.advantage.group_relative import (
    GRPO,
    RLOO,
    DrGRPO,
    GroupRelative,
    ReinforcePlusPlus,
    centred_on_batch,
    relative,
    scaled_by_batch,
)
from rlsparse.learner.records import Rollout

VECTORS = json.loads((Path(__file__).parent.parent / "data" / "advantage.json").read_text())
CASE = VECTORS["group_outcome_3x4"]
RETURNS, EXPECT = np.array(CASE["returns"]), CASE["expect"]
ALL = np.ones_like(RETURNS, bool)


def rollout(reward, ended=None, valid=None, truncated=None):
    """Of one member, [T, N]; episodes end where `ended` is set, and at the rollout's end unless it is given."""
    reward = np.array(reward, np.float32)
    if ended is None:
        ended = np.zeros(reward.shape, bool)
        ended[-1] = True
    truncated = np.zeros(reward.shape, bool) if truncated is None else np.array(truncated, bool)
    return Rollout(
        obs=None,
        action=None,
        log_prob=None,
        reward=reward[:, None],
        value=None,
        next_value=None,
        terminated=np.array(ended, bool)[:, None],
        truncated=truncated[:, None],
        valid=None if valid is None else np.array(valid, bool)[:, None],
    )


# Scores of outcomes


@pytest.mark.parametrize(
    ("name", "baseline", "scale"),
    [("grpo_std_ddof1_eps1e6", "mean", True), ("dr_grpo_mean_only", "mean", False), ("rloo", "others", False)],
)
def test_worked_examples_of_outcomes(name, baseline, scale):
    got = relative(RETURNS, ALL, baseline, scale)
    np.testing.assert_allclose(got, EXPECT[name], rtol=1e-9, atol=1e-12)
    assert (got[1] == 0).all()


def test_worked_example_of_whitening_over_the_batch():
    centred = relative(RETURNS, ALL, "mean", False).reshape(1, 1, -1)
    expected = EXPECT["reinforce_pp_baseline_global_whiten_ddof1_eps1e8_inside_sqrt"]
    np.testing.assert_allclose(scaled_by_batch(centred, centred == centred).ravel(), np.ravel(expected), rtol=1e-9)


@pytest.mark.parametrize(
    ("estimator", "name"),
    [
        (GRPO(group_size=4), "grpo_std_ddof1_eps1e6"),
        (DrGRPO(group_size=4), "dr_grpo_mean_only"),
        (RLOO(group_size=4), "rloo"),
        (
            GroupRelative(group_size=4, baseline="mean", scale="batch"),
            "reinforce_pp_baseline_global_whiten_ddof1_eps1e8_inside_sqrt",
        ),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, GroupRelative) else "",
)
def test_the_estimators_reproduce_the_worked_examples_by_episodes_of_one_step(estimator, name):
    estimate = estimator(rollout(RETURNS.reshape(1, -1)))
    np.testing.assert_allclose(estimate.advantage.ravel(), np.ravel(EXPECT[name]), rtol=1e-6, atol=1e-7)
    assert estimate.value_target is None
    assert not estimator.needs_critic


def test_reinforce_plus_plus_standardises_over_all_steps():
    rewards = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    togo = np.cumsum(rewards[::-1].astype(float), 0)[::-1]
    expected = (togo - togo.mean()) / np.sqrt(togo.var(ddof=1) + 1e-8)
    got = ReinforcePlusPlus(gamma=1.0, group_size=2)(rollout(rewards)).advantage[:, 0]
    np.testing.assert_allclose(got, expected, rtol=1e-5)


AGGREGATION = VECTORS["grpo_broadcast_and_aggregation"]
LENGTHS = np.array(AGGREGATION["lengths"])
"""Three episodes of 4, 4 and 2 steps; the short one waits for the others."""
STEP = np.arange(4)[:, None]
THREE = rollout(
    np.where(STEP == LENGTHS - 1, AGGREGATION["episode_returns"], 0.0),
    ended=STEP >= LENGTHS - 1,
    valid=STEP < LENGTHS,
)


@pytest.mark.parametrize(("count", "name"), [("episodes", "sequence_mean"), ("steps", "token_mean_dapo")])
def test_worked_example_of_outcomes_of_unequal_lengths(count, name):
    estimate = GRPO(group_size=3, count=count)(THREE)
    expected = AGGREGATION["expect"]
    np.testing.assert_allclose(estimate.advantage[:, 0], expected["advantages"], rtol=1e-6)
    share = estimate.weight[:, 0] / estimate.weight.sum()
    np.testing.assert_allclose(share, expected[f"loss_weights_{name}"], rtol=1e-6)


# Returns from each step on


def test_each_step_is_compared_with_the_others_at_the_same_time():
    rewards = [[1, 0, 4], [2, 2, 2], [0, 3, 6]]
    togo = np.array([[3, 5, 12], [2, 5, 8], [0, 3, 6]])
    expected = togo - (togo.sum(1, keepdims=True) - togo) / 2
    got = GroupRelative(gamma=1.0, group_size=3)(rollout(rewards))
    np.testing.assert_allclose(got.advantage[:, 0], expected)
    assert (got.weight == 1).all()


def test_who_has_fallen_gets_nothing_more_and_counts_no_more():
    """The short episode's return from its end on is 0, the others are compared with that; its own steps are over."""
    got = GroupRelative(gamma=1.0, group_size=3)(THREE)
    np.testing.assert_allclose(got.advantage[2, 0], [3 - 4 / 2, 4 - 3 / 2, 0])
    np.testing.assert_array_equal(got.weight[:, 0], THREE.valid[:, 0])


def test_who_was_cut_by_a_time_limit_is_left_out_of_the_comparison():
    cut = replace(THREE, terminated=THREE.terminated & False, truncated=THREE.terminated)
    got = GroupRelative(gamma=1.0, group_size=3)(cut)
    np.testing.assert_allclose(got.advantage[2, 0], [3 - 4, 4 - 3, 0])


def test_groups_and_their_episodes_do_not_mix():
    """Two groups of two; the first has two episodes of two steps each, the second one of four."""
    rewards = np.random.default_rng(1).normal(size=(4, 4))
    ended = np.zeros((4, 4), bool)
    ended[3] = ended[1, :2] = True
    got = GroupRelative(gamma=0.5, group_size=2)(rollout(rewards, ended)).advantage[:, 0]
    for part in (np.s_[:2, :2], np.s_[2:, :2], np.s_[:, 2:]):
        alone = GroupRelative(gamma=0.5, group_size=2)(rollout(rewards[part])).advantage[:, 0]
        np.testing.assert_allclose(got[part], alone, rtol=1e-5, atol=1e-6)


def test_an_outcome_is_that_of_the_episode_at_hand():
    rewards = np.random.default_rng(1).normal(size=(4, 2))
    ended = np.array([[False] * 2, [True] * 2] * 2)
    got = RLOO(group_size=2)(rollout(rewards, ended)).advantage[:, 0, 0]
    first, second = (rewards[part].sum(0) for part in (np.s_[:2], np.s_[2:]))
    np.testing.assert_allclose(got, [first[0] - first[1]] * 2 + [second[0] - second[1]] * 2, rtol=1e-5)


NEVER = np.zeros((6, 2), bool)


def test_steps_of_which_too_little_is_seen_have_no_weight():
    """0.5^k of the return lies behind the rollout's end."""
    weights = [GroupRelative(0.5, 2, unseen=x)(rollout(NEVER, NEVER)).weight[:, 0, 0] for x in (1.0, 0.3, 0.1, 0.0)]
    assert [w.sum() for w in weights] == [6, 5, 3, 0]
    assert all((np.diff(w) <= 0).all() for w in weights)


def test_a_group_is_left_out_whole_where_one_of_it_is_not_seen():
    ended = NEVER.copy()
    ended[3:, 0] = True
    estimate = GroupRelative(0.5, 2, unseen=0.1)(rollout(NEVER, ended, valid=[[True] * 2] * 4 + [[False, True]] * 2))
    np.testing.assert_array_equal(estimate.weight[:, 0], [[1, 1]] * 3 + [[0, 0]] * 3)


def test_an_outcome_that_is_not_known_yet_has_no_weight():
    ended = NEVER.copy()
    ended[2] = True
    assert RLOO(group_size=2)(rollout(NEVER, ended)).weight[:, 0, 0].tolist() == [1, 1, 1, 0, 0, 0]


# Groups that teach nothing


def degenerate(estimator, given):
    return estimator.degenerate(given, estimator(given)).tolist()


def test_groups_of_equal_outcomes_are_degenerate():
    assert degenerate(RLOO(group_size=4), rollout(RETURNS.reshape(1, -1))) == [np.float32(1 / 3)]
    assert degenerate(RLOO(group_size=4), rollout(np.ones((1, 12)))) == [1]


def test_returns_to_go_are_counted_at_every_time_index():
    """The first group differs in its first step alone, the second one everywhere."""
    given = rollout([[1, 0, 0, 1], [2, 2, 0, 1], [3, 3, 0, 1], [0, 0, 0, 1]])
    assert degenerate(GroupRelative(gamma=1.0, group_size=2), given) == [3 / 8]


def test_an_outcome_is_counted_once_however_long_its_episodes_are():
    """Two episodes of equal outcome and one step, then two of unequal outcome and three steps."""
    ended = [[True] * 2, [False] * 2, [False] * 2, [True] * 2]
    given = rollout([[1, 1], [0, 2], [0, 0], [1, 0]], ended)
    assert degenerate(RLOO(group_size=2), given) == [1 / 2]


def test_only_groups_that_count_are_degenerate_and_of_none_there_is_no_share():
    """0.5^k is unseen: of six comparisons, all of equal scores but the first, the last three have no weight."""
    given = rollout([[1, 0]] + [[0, 0]] * 5, NEVER)
    assert degenerate(GroupRelative(0.5, 2, unseen=0.1), given) == [np.float32(2 / 3)]
    assert np.isnan(degenerate(GroupRelative(0.5, 2, unseen=0.0), given)).all()


def test_who_is_left_alone_by_time_limits_is_a_group_that_teaches_nothing():
    given = rollout(
        [[1, 2], [0, 0], [0, 3]],
        ended=NEVER[:3],
        truncated=[[False] * 2, [True, False], [True, True]],
        valid=[[True] * 2, [True] * 2, [False, True]],
    )
    assert degenerate(GroupRelative(1.0, 2), given) == [np.float32(1 / 3)]


def test_the_share_of_a_member_is_its_own():
    one, other = rollout([[1, 0, 2, 2], [0, 0, 1, 0]]), rollout([[1, 0, 3, 2], [1, 0, 1, 0]])
    both = Rollout(
        **{name: None if x is None else np.concatenate([x, vars(other)[name]], 1) for name, x in vars(one).items()}
    )
    assert degenerate(GroupRelative(1.0, 2), both) == [1 / 4, 0]


# Invariants

scores = arrays(np.float64, (3, 4), elements=st.floats(-100, 100))
who = arrays(bool, (3, 4))


@given(scores, who, st.sampled_from(["others", "mean"]), st.booleans())
def test_scores_of_a_group_add_up_to_zero_and_the_rest_are_zero(score, counts, baseline, scale):
    got = relative(score, counts, baseline, scale)
    np.testing.assert_allclose(got.sum(-1), 0, atol=1e-9)
    assert (got[~counts] == 0).all()
    assert (got[counts.sum(-1) < 2] == 0).all()


@given(scores, who, st.permutations(range(4)))
def test_the_order_within_a_group_does_not_matter(score, counts, order):
    got = relative(score, counts, "others", True)
    np.testing.assert_allclose(relative(score[:, order], counts[:, order], "others", True), got[:, order], atol=1e-9)


@given(scores, who)
def test_the_baseline_of_the_others_is_their_mean(score, counts):
    got = relative(score, counts, "others", False)
    for row, i in np.argwhere(counts):
        others = counts[row].copy()
        others[i] = False
        if others.any() and np.ptp(score[row][counts[row]]) > 1e-3:
            np.testing.assert_allclose(got[row, i], score[row, i] - score[row][others].mean(), atol=1e-9)


@given(st.floats(-1e6, 1e6), st.sampled_from([np.float32, np.float64]))
def test_equal_scores_are_exactly_no_advantage(x, dtype):
    score = np.full((2, 3, 4), x, dtype)
    everywhere = score == score
    for scale in (False, True):
        assert (relative(score, everywhere, "others", scale) == 0).all()
    assert (scaled_by_batch(centred_on_batch(score, everywhere), everywhere) == 0).all()


@given(arrays(np.float64, (5, 2, 4), elements=st.floats(-9, 9)), arrays(bool, (5, 2, 4)))
def test_what_is_done_over_the_batch_is_done_for_each_member_alone(score, counts):
    together = scaled_by_batch(centred_on_batch(score, counts), counts)
    for s in (slice(0, 1), slice(1, 2)):
        alone = scaled_by_batch(centred_on_batch(score[:, s], counts[:, s]), counts[:, s])
        np.testing.assert_array_equal(together[:, s], alone)
