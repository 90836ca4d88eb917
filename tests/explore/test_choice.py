"""Scores and evidence: the paired test against scipy; the posterior in closed form and by how often it is right."""

import numpy as np
import pytest
from scipy import stats

from rlsparse.explore.choice import Choice, mean_and_error, paired_gains, shrunken_probability, t_test


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


# Scores


def test_a_score_is_the_mean_with_its_standard_error():
    returns = drawn(2, 3, 7)
    score, error = mean_and_error(returns)
    np.testing.assert_allclose(score, returns.mean(-1))
    np.testing.assert_allclose(error, stats.sem(returns, axis=-1))


def test_episodes_that_were_not_run_do_not_count():
    score, error = mean_and_error(np.array([[[1.0, np.nan, 3.0], [5.0, np.nan, np.nan], [np.nan] * 3]]))
    np.testing.assert_array_equal(score, [[2, 5, np.nan]])
    np.testing.assert_array_equal(error, [[1, np.nan, np.nan]])


def test_one_failed_episode_fails_a_candidate():
    score, _ = mean_and_error(np.array([[[1e9, -np.inf, 1e9], [-np.inf] * 3]]))
    assert (score == -np.inf).all()


def test_a_rejected_probe_says_why_and_stays():
    choice = Choice.rejected(drawn(2, 5), np.array([3, 4]), "failed")
    assert not choice.accepted.any()
    assert choice.steps.tolist() == [3, 4]
    assert choice.reason == ("failed", "failed")
    np.testing.assert_array_equal(choice.point, drawn(2, 5))


# The paired t-test


@pytest.mark.parametrize("episodes", [2, 3, 20])
def test_one_minus_the_p_value_is_scipys(episodes):
    returns = drawn(4, 6, episodes)
    expected = stats.ttest_rel(returns[:, 1:], returns[:, :1], axis=-1, alternative="greater").pvalue
    np.testing.assert_allclose(t_test(*paired_gains(returns), candidates=1), 1 - expected)
    np.testing.assert_allclose(t_test(*paired_gains(returns), candidates=5), np.maximum(1 - 5 * expected, 0))


def test_only_episodes_that_both_finished_are_compared():
    returns = np.array([[[1, 2, np.nan, 4, -np.inf], [3, 5, 9, np.nan, 9]]])
    gain, error, count = paired_gains(returns)
    assert (gain, count) == (2.5, 2)
    np.testing.assert_allclose(error, 0.5)


@pytest.mark.parametrize("better, sure", [(1.0, 1.0), (-1.0, 0.0)])
def test_without_spread_the_sign_decides(better, sure):
    returns = np.array([[[0.0, 1.0, 2.0], [better, 1 + better, 2 + better]]])
    assert t_test(*paired_gains(returns), candidates=3) == sure


def test_equal_returns_are_no_evidence():
    returns = np.repeat(drawn(1, 1, 4), 3, 1)
    assert not (t_test(*paired_gains(returns), candidates=1) > 0.5).any()
    assert (shrunken_probability(returns) == 0.5).all()


@pytest.mark.parametrize("returns", [[[1.0], [2.0]], [[1, 2, 3], [np.nan] * 3], [[1, 2, 3], [-np.inf] * 3]])
def test_there_is_no_test_with_fewer_than_two_episodes(returns):
    assert np.isnan(t_test(*paired_gains(np.array([returns])), candidates=1)).all()
    assert np.isnan(shrunken_probability(np.array([returns]))).all()


# The posterior


def test_a_single_candidate_has_the_t_tests_probability():
    returns = drawn(20, 2, 5)
    np.testing.assert_allclose(shrunken_probability(returns), t_test(*paired_gains(returns), candidates=1))


def test_where_candidates_have_no_luck_of_their_own_nothing_is_shrunk():
    """They differ by the same in every episode: only the incumbent's luck is in doubt, as in a t-test of each."""
    incumbent, gains = drawn(10, 1, 4), np.linspace(-1, 2, 5)[:, None]
    returns = np.concatenate([incumbent, np.broadcast_to(gains, (10, 5, 4))], 1)
    np.testing.assert_allclose(shrunken_probability(returns), t_test(*paired_gains(returns), candidates=1), rtol=1e-6)


def test_where_candidates_differ_by_less_than_their_luck_all_are_as_good_as_their_mean():
    """Every one has the same mean and more spread than these means allow: the family has no width."""
    luck = np.array([[1.0, -1.0, 0.0], [0.0, 1.0, -1.0], [-1.0, 0.0, 1.0]])
    returns = np.concatenate([drawn(1, 1, 3), 0.5 + luck[None] + 0.1 * drawn(1, 3, 1, seed=1)], 1)
    (probability,) = shrunken_probability(returns)
    np.testing.assert_allclose(probability, probability[0])


def test_a_case_worked_out_by_hand():
    """Gains 2 and 0 on the incumbent, whose luck is nil; one point of own luck in opposite directions."""
    returns = np.array([[[0.0, 0, 0, 0], [3, 1, 3, 1], [-1, 1, -1, 1]]])
    own = 4 * 2 / 3 / 4  # eight residuals of 1 over (2 - 1)(4 - 1) degrees of freedom; over 4 episodes
    family = 2.0 - own
    weight = family / 2.0
    doubt = weight * own + (1 - weight) ** 2 * (family + own) / 2
    expected = stats.t.cdf([(1 + weight) / doubt**0.5, (1 - weight) / doubt**0.5], 3)
    np.testing.assert_allclose(shrunken_probability(returns), expected[None])


def test_a_failed_candidate_counts_for_nothing():
    returns = drawn(3, 6, 5)
    with_failure = np.insert(returns, 3, [1e6, np.nan, 1e6, 1e6, -np.inf], axis=1)
    probability = shrunken_probability(with_failure)
    assert np.isnan(probability[:, 2]).all()
    np.testing.assert_allclose(np.delete(probability, 2, 1), shrunken_probability(returns))


def test_stretches_that_nobody_has_count_for_nothing():
    returns = drawn(3, 6, 5)
    padded = np.pad(returns, ((0, 0), (0, 0), (0, 2)), constant_values=np.nan)
    np.testing.assert_allclose(shrunken_probability(padded), shrunken_probability(returns))


@pytest.mark.parametrize("shape", [(2, 2), (9, 3), (2, 16), (21, 10)])
def test_a_members_probabilities_are_those_it_has_alone(shape):
    returns = drawn(5, *shape)
    returns[1, 1, 1] = -np.inf
    returns[2, 0, 0] = np.nan
    for probability in (shrunken_probability, lambda x: t_test(*paired_gains(x), candidates=1)):
        alone = [probability(returns[s : s + 1]) for s in range(5)]
        np.testing.assert_array_equal(probability(returns), np.concatenate(alone))


# How often it is right, when the best of several candidates is asked for


def best_of(candidates, episodes, mean, width, repeats=4000):
    """True gains of the best-looking candidates [repeats] of normal families, and the probabilities given to them.

    Episodes share a start; the incumbent and every candidate have luck of deviation 1 besides.
    """
    rng = np.random.default_rng(0)
    gains = mean * np.ones((repeats, 1)) + width * rng.standard_normal((repeats, candidates))
    returns = rng.standard_normal((repeats, candidates + 1, episodes))
    returns[:, 1:] += gains[..., None]
    returns += rng.standard_normal((repeats, 1, episodes))
    best = paired_gains(returns)[0].argmax(1)[:, None]
    corrected = t_test(*paired_gains(returns), candidates=candidates)
    each = (gains, shrunken_probability(returns), corrected)
    return [np.take_along_axis(x, best, 1)[:, 0] for x in each]


@pytest.mark.parametrize("candidates, episodes", [(1, 3), (8, 3), (20, 3), (4, 16)])
def test_equals_of_the_incumbent_seldom_look_better(candidates, episodes):
    _, probability, corrected = best_of(candidates, episodes, mean=0, width=0)
    assert (probability >= 0.9).mean() < 0.19  # the variances are estimates from few episodes
    assert (corrected >= 0.9).mean() < 0.12


@pytest.mark.parametrize("candidates, episodes", [(1, 3), (8, 3), (20, 3), (4, 16)])
def test_worse_candidates_are_hardly_ever_taken(candidates, episodes):
    _, probability, corrected = best_of(candidates, episodes, mean=-1, width=0.1)
    assert (probability >= 0.9).mean() < 0.03
    assert (corrected >= 0.9).mean() < 0.02


@pytest.mark.parametrize("candidates, episodes", [(8, 3), (20, 3), (4, 16)])
def test_ninety_per_cent_is_right_at_least_nine_times_in_ten(candidates, episodes):
    """Over families of which nothing is known beforehand, as the posterior assumes."""
    mean = 3 * np.random.default_rng(1).standard_normal((4000, 1))
    gains, probability, _ = best_of(candidates, episodes, mean, width=1)
    sure = probability >= 0.9
    assert sure.mean() > 0.4
    assert (gains[sure] > 0).mean() > 0.95
    in_doubt = (probability > 0.5) & (probability < 0.8)
    assert (gains[in_doubt] > 0).mean() == pytest.approx(probability[in_doubt].mean(), abs=0.17)


def test_many_mediocre_candidates_are_shrunk_more_than_few_that_differ():
    """The same best gain is luck where the others lie close to each other, and merit where they do not."""
    luck = drawn(1, 9, 6)
    luck -= luck.mean(-1, keepdims=True)
    incumbent = luck[:, :1]
    alike = np.array([0.5, *np.linspace(-0.3, 0.3, 7)])
    apart = np.array([0.5, *np.linspace(-3, 0.3, 7)])
    merit, chance = (
        shrunken_probability(np.concatenate([incumbent, luck[:, 1:] + gains[:, None]], 1))[0, 0]
        for gains in (apart, alike)
    )
    assert chance < merit
