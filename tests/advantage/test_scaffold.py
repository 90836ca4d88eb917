"""Help for groups that stall: when it comes, when it goes, and what the group learns from it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlsparse.advantage.group_relative import GroupRelative, relative
from rlsparse.advantage.scaffold import ArchivedEpisode, Help, Scaffold, better, next_help, skipped_steps
from rlsparse.learner.arrays import pack_ragged, unpack_ragged
from rlsparse.learner.records import Rollout

CASE = json.loads((Path(__file__).parent.parent / "data" / "advantage.json").read_text())["scaffold_controller"]

FAILED, AIDED, UNAIDED = "failed", "succeeded with help", "succeeded without"
RESULTS = (FAILED, AIDED, UNAIDED)


def after(results, config, start=None):
    """(tier, share) of one group after each of these results."""
    help, found = start or Help.none(1), []
    for result in results:
        help = next_help(help, np.array([result == UNAIDED]), np.array([result == AIDED]), config)
        found.append((int(help.tier[0]), int(help.share[0])))
    return found


def test_one_guided_success_makes_a_gradient_where_there_was_none():
    returns, all_of_them = np.array(CASE["group_returns_before"], float), np.ones(4, bool)
    np.testing.assert_array_equal(relative(returns, all_of_them, "mean", True), CASE["expect"]["advantages_before"])
    returns[CASE["replaced_index"]] = CASE["guided_return"]
    np.testing.assert_array_equal(returns, CASE["expect"]["group_after"])
    advantages = relative(returns, all_of_them, "mean", True)
    np.testing.assert_allclose(advantages, CASE["expect"]["grpo_ddof1_eps1e6"], rtol=0, atol=1e-9)


def test_help_comes_after_so_many_failures_in_a_row_and_the_next_tier_after_as_many_more():
    assert after([FAILED] * 8, Scaffold(2)) == [(0, 0), (1, 4), (1, 4), (2, 4), (2, 4), (2, 4), (2, 4), (2, 4)]
    assert after([FAILED, UNAIDED] * 3, Scaffold(2)) == [(0, 0)] * 6


def test_help_is_withdrawn_part_by_part_and_comes_back_part_by_part():
    config = Scaffold(1, increments=2)
    assert after([FAILED, AIDED, AIDED], config) == [(1, 2), (1, 1), (0, 0)]
    assert after([FAILED, FAILED, AIDED, FAILED, FAILED], config) == [(1, 2), (2, 2), (2, 1), (2, 2), (2, 2)]
    assert after([FAILED, AIDED, FAILED, FAILED], config) == [(1, 2), (1, 1), (1, 2), (2, 2)]


def test_the_first_success_without_help_ends_it():
    for failures in range(1, 9):
        assert after([FAILED] * failures + [UNAIDED], Scaffold(1))[-1] == (0, 0)


@given(st.lists(st.lists(st.sampled_from(RESULTS), min_size=3, max_size=3), max_size=30), st.integers(1, 4))
def test_groups_are_helped_each_by_its_own_results(results, parts):
    config, help = Scaffold(2, increments=parts), Help.none(3)
    for row in results:
        aided = np.array([x == AIDED for x in row]) & (help.tier > 0)
        help = next_help(help, np.array([x == UNAIDED for x in row]), aided, config)
        assert ((help.tier == 0) == (help.share == 0)).all()
        assert help.tier.max() <= 2
        assert help.share.max() <= parts
        assert help.failures.max() < config.after
    for group in range(3):
        alone = Help.none(1)
        for row in results:
            own = np.array([row[group] == UNAIDED]), np.array([row[group] == AIDED]) & (alone.tier > 0)
            alone = next_help(alone, *own, config)
        assert [x[0] for x in alone] == [x[group] for x in help]


def test_help_shrinks_in_equal_parts_and_always_leaves_something_to_do():
    assert [skipped_steps(50, share, 4) for share in (4, 3, 2, 1)] == [40, 30, 20, 10]
    assert all(skipped_steps(length, 4, 4) < length for length in range(1, 100))


def test_the_best_episode_has_most_return_or_as_much_in_fewer_steps():
    def episode(total, length):
        return ArchivedEpisode(total, np.zeros((length, 3)))

    assert better(episode(1, 5), None)
    assert better(episode(2, 9), episode(1, 5))
    assert better(episode(1, 4), episode(1, 5))
    assert not better(episode(1, 5), episode(1, 5))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6))
def test_episodes_of_any_length_go_through_a_checkpoint(lengths):
    rows = [np.random.default_rng(i).normal(size=(length, 3)) for i, length in enumerate(lengths)]
    for row, again in zip(rows, unpack_ragged("rows", pack_ragged("rows", rows)), strict=True):
        np.testing.assert_array_equal(row, again)


# What a group learns of it

ENDED = np.zeros((4, 1, 3), bool)
ENDED[-1] = True
REPLAYED = np.zeros((4, 1, 3), bool)
REPLAYED[:2, 0, 2] = True
HELPED = Rollout(
    obs=None,
    action=None,
    log_prob=None,
    reward=np.array([[0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 1]], np.float32)[:, None],
    value=None,
    next_value=None,
    terminated=ENDED,
    truncated=np.zeros_like(ENDED),
    valid=np.ones_like(ENDED),
    replayed=REPLAYED,
)


@pytest.mark.parametrize("score", ["return-to-go", "outcome"])
def test_what_was_repeated_is_not_learned_from_and_what_came_after_is(score):
    found = GroupRelative(gamma=1.0, group_size=3, score=score)(HELPED)
    np.testing.assert_array_equal(found.weight, ~REPLAYED)
    np.testing.assert_array_equal(found.advantage[REPLAYED], 0)
    np.testing.assert_array_equal(found.advantage[2:, 0], [[-0.5, -0.5, 1.0]] * 2)  # by hand: 1 - 0 and 0 - 1/2


def test_others_are_not_compared_with_what_was_repeated():
    estimator = GroupRelative(gamma=1.0, group_size=3)
    assert (estimator(HELPED).advantage[:2] == 0).all()
    assert (estimator(replace(HELPED, replayed=None)).advantage[:2] != 0).all()


def test_the_length_of_an_episode_is_that_of_what_the_policy_did():
    weight = GroupRelative(gamma=1.0, group_size=3, score="outcome", count="episodes")(HELPED).weight
    np.testing.assert_allclose(weight[:, 0].sum(0), 1.0, rtol=1e-6)
