"""What an update believed: the clipped surrogate against torch, and its agreement with returns."""

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch

from rlsparse.learner.records import Rollout
from rlsparse.run import session as sessions
from rlsparse.trained.objective import (
    Agreement,
    Sampled,
    clipped_surrogate,
    cosine_of_slopes,
    interval_of_rank,
    rank_correlation,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_equal_policies_promise_nothing(rng):
    assert clipped_surrogate(np.zeros(50), rng.normal(3, 2, 50)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [
        ([1.1, 1.0], [1, -1], 0.05),  # a good action more probable
        ([1.5, 1.0], [1, -1], 0.1),  # not more than by a fifth
        ([1.0, 1.5], [1, -1], -0.25),  # a bad one more probable, without a bound
        ([1.0, 0.5], [1, -1], 0.1),
    ],
)
def test_a_sample_promises_no_more_than_a_fifth_of_its_advantage(ratio, advantage, expected):
    assert clipped_surrogate(np.log(ratio), np.array(advantage, float)) == pytest.approx(expected)


def test_advantages_are_standardised(rng):
    log_ratio, advantage = rng.normal(0, 0.1, 50), rng.normal(0, 1, 50)
    assert clipped_surrogate(log_ratio, 5 * advantage + 7) == pytest.approx(clipped_surrogate(log_ratio, advantage))


def test_a_ratio_beyond_all_numbers_is_finite():
    assert np.isfinite(clipped_surrogate(np.array([2000.0, 0.0]), np.array([-1.0, 1.0])))


def rollout(rng, valid=None, replayed=None):
    """Four steps of two members in three environments."""
    obs, action = (rng.normal(size=(4, 2, 3, n)).astype(np.float32) for n in (3, 1))
    numbers = [rng.normal(size=(4, 2, 3)) for _ in range(2)]
    ends = [np.zeros((4, 2, 3), bool)] * 2
    return Rollout(obs, action, *numbers, None, None, *ends, valid=valid, replayed=replayed)


def test_a_policy_is_scored_by_the_densities_of_torch(rng):
    recipe = tiny.recipe(num_seeds=2)
    learner, collector, _ = sessions.begin(recipe)
    taken = collector.collect(learner, 8, 0.99)
    advantage = rng.normal(size=taken.reward.shape)
    sampled = Sampled.of(taken, advantage, 1)
    searched = learner.layout.group("actor")
    points = learner.params[1, searched] + 0.1 * rng.normal(size=(3, searched.stop - searched.start))
    for point, height in zip(points, sampled.surrogate(learner, 1, searched, points), strict=True):
        actors = learner.actors_at(point[None, None], searched, np.array([1]))
        mean, log_std = (torch.tensor(x) for x in actors.distribution(sampled.obs[None]))
        log_prob = torch.distributions.Normal(mean, log_std.exp()).log_prob(torch.tensor(sampled.action)).sum(-1)[0]
        ratio, x = (log_prob - torch.tensor(sampled.log_prob)).exp(), torch.tensor(advantage[:, 1]).flatten()
        x = (x - x.mean()) / x.std(correction=0)
        assert height == pytest.approx(torch.minimum(ratio * x, ratio.clip(0.8, 1.2) * x).mean().item(), rel=1e-4)
    collector.env.close()


def test_steps_that_nothing_is_learned_from_are_left_out(rng):
    kept = rng.random((4, 2, 3)) < 0.5
    for given in ({"valid": kept}, {"replayed": ~kept}):
        taken = rollout(rng, **given)
        sampled = Sampled.of(taken, taken.reward, 0)
        np.testing.assert_array_equal(sampled.obs, taken.obs[:, 0][kept[:, 0]])
        np.testing.assert_array_equal(sampled.advantage, taken.reward[:, 0][kept[:, 0]])
    assert len(Sampled.of(replace(taken, replayed=None), taken.reward, 1).advantage) == 12


def test_a_rank_correlation_counts_squared_differences_of_ranks():
    x, y = np.array([1.0, 2.0, 3.0, 4.0, 5.0]), np.array([-9.0, 0.1, 0.2, 70.0, 3.0])  # ranks 1, 2, 3, 5, 4
    assert rank_correlation(x, y) == pytest.approx(1 - 6 * 2 / (5 * 24))
    assert rank_correlation(x, -x) == pytest.approx(-1)
    assert np.isnan(rank_correlation(np.ones(5), x))


def test_the_interval_of_a_rank_correlation_holds_the_true_one_nineteen_times_of_twenty(rng):
    true, hits = 6 / np.pi * np.arcsin(0.5 / 2), 0  # of a normal distribution with correlation 0.5
    for _ in range(1000):
        x, y = rng.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]], 40).T
        low, high = interval_of_rank(rank_correlation(x, y), 40)
        hits += low < true < high
    assert 0.93 < hits / 1000 < 0.97


def test_the_angle_between_two_slopes_is_found_again(rng):
    coordinates = rng.normal(size=(40, 3))
    x, y = coordinates @ [1, 0, 0], 5 + coordinates @ [3, 4, 0]
    assert cosine_of_slopes(x, y, coordinates) == pytest.approx(0.6)
    assert cosine_of_slopes(x, y, np.pad(coordinates, ((0, 0), (0, 40)))) == pytest.approx(0.6)  # of no extent
    assert np.isnan(cosine_of_slopes(x[:5], y[:5], coordinates[:5]))
    assert np.isnan(cosine_of_slopes(x, np.ones(40), coordinates))


def test_all_of_it_comes_together(rng):
    coordinates = rng.normal(size=(40, 2))
    found = Agreement.of(coordinates[:, 0], -2 * coordinates[:, 0], coordinates)
    assert (found.correlation, found.cosine) == (pytest.approx(-1), pytest.approx(-1))
