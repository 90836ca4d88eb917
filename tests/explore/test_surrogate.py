"""Scores without a step: importance-weighted advantages by hand, cut ratios, candidates too far away to tell."""

import numpy as np
import pytest

from rlsparse.explore.probe import Evidence
from rlsparse.explore.surrogate import LARGEST_RATIO, Surrogate, block_scores

ADVANTAGE = np.array([[[1.0, -1.0], [3.0, -3.0], [2.0, 2.0], [-4.0, 0.0]]])
"""One member, four steps, two environments; mean 0."""


def log_ratios(*ratios):
    """Of one member's candidates, each a number or [T, N]."""
    return np.log(np.stack([np.broadcast_to(ratio, (4, 2)) for ratio in ratios])[None])


def test_a_blocks_score_is_its_mean_of_ratio_times_advantage():
    ratio = [[2.0, 1.0], [0.5, 1.0], [1.0, 3.0], [0.25, 1.0]]
    scores = block_scores(log_ratios(1.0, ratio), ADVANTAGE, 2)
    np.testing.assert_allclose(scores, [[[0, 0], [(2 - 1 + 1.5 - 3) / 4, (2 + 6 - 1 + 0) / 4]]], atol=1e-15)


def test_a_constant_added_to_all_advantages_changes_nothing():
    """The critic's error common to all steps is none of the candidates' merit."""
    ratios = log_ratios(1.0, 0.3, [[2.0, 1.0], [0.5, 1.0], [1.0, 3.0], [0.25, 1.0]])
    np.testing.assert_allclose(block_scores(ratios, ADVANTAGE - 7, 2), block_scores(ratios, ADVANTAGE, 2), atol=1e-12)


def test_ratios_are_cut_at_ten():
    scores = block_scores(log_ratios(1e30, LARGEST_RATIO), ADVANTAGE, 4)
    np.testing.assert_allclose(scores[:, 0], scores[:, 1])
    np.testing.assert_allclose(scores[0, 0], [0, 0, 20, -20], atol=1e-12)


def test_blocks_are_stretches_of_time_as_equal_as_can_be():
    scores = block_scores(log_ratios(1.0), ADVANTAGE, 3)
    np.testing.assert_allclose(scores, [[[0, 2, -2]]])


def test_a_rollout_of_fewer_steps_leaves_blocks_empty():
    scores = block_scores(log_ratios(1.0, 2.0), ADVANTAGE, 6)
    assert np.isnan(scores[..., 4:]).all() and np.isfinite(scores[..., :4]).all()


@pytest.mark.parametrize("bad", [np.nan, -np.inf, np.inf])
def test_a_candidate_that_is_not_finite_somewhere_has_failed(bad):
    ratios = log_ratios(1.0, 2.0)
    ratios[0, 1, 3, 0] = bad
    scores = block_scores(ratios, ADVANTAGE, 2)
    assert (scores[:, 1] == -np.inf).all() and np.isfinite(scores[:, 0]).all()


# The choice


def choose(log_ratio, advantage, *candidates, accept="posterior"):
    """The choice where log-ratios depend on the first coordinate of a point."""
    points = np.array(candidates, float)[None, :, None]

    def ratios(points):
        return np.stack([log_ratio(x) for x in points[0, :, 0]])[None]

    return Surrogate(accept=accept).judge(Evidence(np.zeros((1, 1)), None, advantage, ratios, lambda _: points, 1))


NOISY = np.random.default_rng(0).standard_normal((1, 256, 4))


def towards_good(x):
    """More of what had an advantage, by so much."""
    return x * np.tanh(NOISY[0])


@pytest.mark.parametrize("accept", ["evidence", "posterior"])
def test_doing_more_of_what_was_good_is_accepted(accept):
    choice = choose(towards_good, NOISY, -0.3, 0.1, 0.3, accept=accept)
    assert choice.accepted.all() and choice.best == 3
    assert choice.steps == 0


@pytest.mark.parametrize("accept", ["evidence", "posterior"])
def test_doing_less_of_it_is_not(accept):
    assert not choose(towards_good, NOISY, -0.3, -0.1, -0.2, accept=accept).accepted.any()


@pytest.mark.parametrize("accept", ["evidence", "posterior"])
@pytest.mark.parametrize("log_ratio", [-30.0, -1000.0, -np.inf, np.nan])
def test_a_candidate_that_would_have_done_nothing_of_the_kind_is_not_accepted(accept, log_ratio):
    """Its weighted sum is zero; the critic had promised more than there was, so that the incumbent's is below."""

    def far(x):
        return np.full((256, 4), log_ratio if x else 0.0)

    choice = choose(far, NOISY - 5, 1.0, 2.0, accept=accept)
    assert not choice.accepted.any()
    np.testing.assert_array_equal(choice.point, [[0]])


def test_never_accepting_accepts_nothing():
    choice = choose(towards_good, NOISY, 0.3, accept="never")
    assert not choice.accepted.any() and choice.best == 1
