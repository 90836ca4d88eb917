"""Candidates in the rollout: who acts where, what the advantages say of them, where to go."""

import numpy as np
import pytest
from scipy import stats

from rlsparse.explore.in_rollout import InRollout, evolution_step
from rlsparse.explore.probe import Evidence

INCUMBENT = np.array([[10.0, 20.0], [30.0, 40.0]])
PROPOSED = INCUMBENT[:, None] + np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]])


def moves(acting):
    """How far each environment's policy is from the incumbent, of the first member."""
    return (acting - INCUMBENT[:, None])[0].tolist()


# Who acts


def test_opposite_pairs_act_in_the_last_environments():
    acting = InRollout(share=0.5).acting(lambda _: PROPOSED, INCUMBENT, 8)
    assert moves(acting) == [[0, 0]] * 4 + [[1, 0], [-1, 0], [0, 1], [0, -1]]
    np.testing.assert_array_equal(acting[1] - INCUMBENT[1], acting[0] - INCUMBENT[0])


def test_an_odd_number_leaves_the_last_pair_incomplete():
    acting = InRollout(share=1.0).acting(lambda _: PROPOSED, INCUMBENT, 3)
    assert moves(acting) == [[1, 0], [-1, 0], [0, 1]]


def test_without_pairs_candidates_act_as_proposed_and_over_again():
    acting = InRollout(share=0.7, antithetic=False).acting(lambda _: PROPOSED, INCUMBENT, 6)
    assert moves(acting) == [[0, 0], [0, 0], [1, 0], [0, 1], [2, 2], [1, 0]]


@pytest.mark.parametrize("share, num_envs, count", [(0.5, 8, 4), (0.0, 8, 1), (1.0, 8, 8), (0.5, 1, 1), (0.3, 8, 2)])
def test_the_share_of_candidates(share, num_envs, count):
    probe = InRollout(share=share)
    assert probe.candidates(num_envs) == count
    acting = probe.acting(lambda _: PROPOSED, INCUMBENT, num_envs)
    assert ((acting != INCUMBENT[:, None]).any(2).sum(1) == count).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_the_incumbent_acts_in_place_of_a_candidate_that_is_not_finite(bad):
    proposed = PROPOSED.copy()
    proposed[0, 1, 0] = bad
    acting = InRollout(share=1.0).acting(lambda _: proposed, INCUMBENT, 6)
    assert moves(acting) == [[1, 0], [-1, 0], [0, 0], [0, 0], [2, 2], [-2, -2]]
    np.testing.assert_array_equal(acting[1], InRollout(share=1.0).acting(lambda _: PROPOSED, INCUMBENT, 6)[1])


# What their advantages say

STEPS = 16
"""Two to a block."""


def advantages(num_envs=4, seed=0):
    """Of two members, [S, T, N]."""
    return np.random.default_rng(seed).standard_normal((2, STEPS, num_envs)).astype(np.float32)


def chosen(probe, advantage):
    acting = probe.acting(lambda _: PROPOSED, INCUMBENT, advantage.shape[2])
    return judged(probe, acting, INCUMBENT, advantage)


def judged(probe, acting, incumbent, advantage):
    return probe.judge(Evidence(incumbent, acting, advantage, log_ratio=None, propose=None, rounds=1))


def test_a_score_is_the_mean_advantage_of_what_the_candidate_did():
    advantage = advantages()
    choice = chosen(InRollout(), advantage)
    np.testing.assert_allclose(choice.score[:, 0], advantage[..., :2].mean((1, 2)), rtol=1e-6)
    np.testing.assert_allclose(choice.score[:, 1:], advantage[..., 2:].mean(1), rtol=1e-6)


def test_its_error_is_that_of_eight_stretches_of_time():
    advantage = advantages()
    stretches = advantage.reshape(2, 8, 2, 4).mean(2, dtype=np.float64)
    choice = chosen(InRollout(), advantage)
    np.testing.assert_allclose(choice.error[:, 1:], stats.sem(stretches[..., 2:], axis=1))
    np.testing.assert_allclose(choice.error[:, 0], stats.sem(stretches[..., :2].mean(2), axis=1))


def test_the_best_is_tested_against_the_incumbent_in_the_same_stretches():
    advantage = advantages()
    choice = chosen(InRollout(), advantage)
    stretches = advantage.reshape(2, 8, 2, 4).mean(2, dtype=np.float64)
    for member in range(2):
        best = choice.best[member]
        assert best == 1 + advantage[member, :, 2:].mean(0).argmax()
        incumbent, candidate = stretches[member, :, :2].mean(1), stretches[member, :, 1 + best]
        p = stats.ttest_rel(candidate, incumbent, alternative="greater").pvalue
        assert choice.probability[member] == pytest.approx(max(1 - 2 * p, 0))


@pytest.mark.parametrize("move", ["none", "best", "evolution"])
def test_it_costs_no_step(move):
    assert (chosen(InRollout(move=move), advantages()).steps == 0).all()


# Where to go


def test_staying_stays():
    choice = chosen(InRollout(move="none"), advantages() + np.array([0, 0, 9, 0]))
    assert not choice.accepted.any()
    assert set(choice.reason) == {"never moves"}
    np.testing.assert_array_equal(choice.point, INCUMBENT)


def test_the_best_is_gone_to_where_there_is_evidence():
    """Of the pair (1, 0) and (-1, 0) the second is far better for the first member."""
    advantage = advantages()
    advantage[0, :, 3] += 9
    choice = chosen(InRollout(move="best"), advantage)
    assert choice.accepted.tolist() == [True, False]
    assert choice.reason == ("accepted", "no evidence")
    np.testing.assert_array_equal(choice.point, [INCUMBENT[0] - [1, 0], INCUMBENT[1]])


def test_evolution_goes_where_scores_point():
    advantage = np.zeros((2, STEPS, 4))
    advantage[0, :, 2:] = [3, 1]  # (1, 0) is better than (-1, 0)
    choice = chosen(InRollout(move="evolution"), advantage)
    np.testing.assert_array_equal(choice.point - INCUMBENT, [[1, 0], [0, 0]])


def test_with_every_environment_given_to_candidates_the_incumbents_score_is_zero():
    """That is its mean advantage under its own critic."""
    advantage = advantages()
    choice = chosen(InRollout(share=1.0), advantage)
    assert (choice.score[:, 0] == 0).all()
    np.testing.assert_allclose(choice.score[:, 1:], advantage.mean(1), rtol=1e-6)


def test_a_rollout_of_one_step_is_no_evidence():
    choice = chosen(InRollout(move="best"), advantages()[:, :1])
    assert np.isnan(choice.probability).all() and not choice.accepted.any()


@pytest.mark.parametrize("move", ["none", "best", "evolution"])
def test_a_member_is_judged_as_it_would_be_alone(move):
    probe, advantage = InRollout(move=move, level=0.5), advantages(seed=3)
    acting = probe.acting(lambda _: PROPOSED, INCUMBENT, 4)
    together = judged(probe, acting, INCUMBENT, advantage)
    for member in range(2):
        own = slice(member, member + 1)
        alone = judged(probe, acting[own], INCUMBENT[own], advantage[own])
        for name, x in vars(alone).items():
            np.testing.assert_array_equal(x, vars(together)[name][own], name)


# The evolution step


def test_weights_are_centred_scores_of_absolute_sum_one():
    directions = np.array([[[1.0, 0], [0, 1], [-1, 0], [0, -1]]])
    scores = np.array([[4.0, 1.0, 0.0, -1.0]])  # centred: 3, 0, -1, -2
    np.testing.assert_allclose(evolution_step(directions, scores), [[3 / 6 + 1 / 6, 2 / 6]])


def test_equal_scores_move_nothing():
    assert (evolution_step(np.ones((2, 3, 4)), np.full((2, 3), 7.0)) == 0).all()


def test_no_step_is_longer_than_the_longest_direction():
    rng = np.random.default_rng(0)
    directions, scores = rng.standard_normal((50, 6, 3)), rng.standard_normal((50, 6))
    lengths = np.linalg.norm(evolution_step(directions, scores), axis=-1)
    assert (lengths <= np.linalg.norm(directions, axis=-1).max(1)).all()


def test_neither_the_scale_nor_the_origin_of_the_scores_matters():
    rng = np.random.default_rng(0)
    directions, scores = rng.standard_normal((5, 6, 3)), rng.standard_normal((5, 6))
    step = evolution_step(directions, scores)
    np.testing.assert_allclose(evolution_step(directions, 7 * scores - 100), step, rtol=1e-9)
