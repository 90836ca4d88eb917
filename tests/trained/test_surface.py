"""The surface through noisy scores, and the test of whether scores differ at all."""

import numpy as np
import pytest
from scipy import stats

from rlsparse.trained.surface import Spread, Surface


@pytest.fixture
def rng():
    return np.random.default_rng(1)


def bowl(x):
    return 100 - 20 * (x[:, 0] - 0.5) ** 2 - 5 * x[:, 1] ** 2


def test_a_smooth_function_is_found_between_its_points(rng):
    points = rng.uniform(-1, 1, (80, 2))
    surface = Surface.fit(points, bowl(points) + 0.5 * rng.standard_normal(80))
    x = rng.uniform(-0.8, 0.8, (200, 2))
    height, unsure = surface(x)
    assert np.abs(height - bowl(x)).max() < 2
    assert ((height - bowl(x)) ** 2).mean() < 0.5**2, "closer to the function than the scores are"
    assert unsure.max() < 1.5


def test_what_is_far_from_all_points_is_unknown(rng):
    points = rng.uniform(-1, 1, (40, 3))
    surface = Surface.fit(points, bowl(points))
    height, unsure = surface(np.array([[0.0, 0, 0], [1e3, 0, 0]]))
    assert height[1] == pytest.approx(surface.level)
    assert unsure[1] == pytest.approx(np.sqrt(surface.variance * (1 - surface.noise_share)))
    assert unsure[0] < unsure[1] / 10


def test_noise_alone_makes_a_flat_surface(rng):
    points = rng.uniform(-1, 1, (100, 2))
    scores = 30 + rng.standard_normal(100)
    height, _ = Surface.fit(points, scores)(points)
    assert height.std() < 0.3
    assert height.mean() == pytest.approx(scores.mean(), abs=0.1)


def test_height_and_deviation_are_those_of_the_conditional_normal_distribution(rng):
    points, x, scores = rng.standard_normal((7, 2)), rng.standard_normal((3, 2)), rng.standard_normal(7)
    surface = Surface(points, scores, length=0.7, noise_share=0.3, level=0.2, variance=2.5)
    everywhere = np.concatenate([points, x])
    apart = ((everywhere[:, None] - everywhere) ** 2).sum(-1)
    prior = 2.5 * 0.7 * np.exp(-apart / (2 * 0.7**2))
    seen = np.linalg.inv(prior[:7, :7] + 2.5 * 0.3 * np.eye(7))
    mean = 0.2 + prior[7:, :7] @ seen @ (scores - 0.2)
    deviation = np.sqrt(np.diag(prior[7:, 7:] - prior[7:, :7] @ seen @ prior[:7, 7:]))
    np.testing.assert_allclose(surface(x), [mean, deviation], rtol=1e-9)


@pytest.mark.parametrize("points", [np.zeros((4, 2)), np.outer(np.arange(4.0), [1, 0])])
@pytest.mark.parametrize("scores", [np.full(4, 5.0), np.arange(4.0)])
def test_degenerate_points_and_scores_stand(points, scores):
    height, unsure = Surface.fit(points, scores)(points)
    assert np.isfinite(height).all()
    assert np.isfinite(unsure).all()


def test_the_spread_is_tested_as_in_a_two_way_analysis_of_variance(rng):
    returns = rng.standard_normal((9, 1)) + rng.standard_normal(6) * 10 + rng.standard_normal((9, 6))
    rows, columns, grand = returns.mean(1, keepdims=True), returns.mean(0), returns.mean()
    between = 6 * ((rows - grand) ** 2).sum() / 8
    residual = ((returns - rows - columns + grand) ** 2).sum() / 40
    spread = Spread.of(returns)
    assert spread.p_value == pytest.approx(stats.f.sf(between / residual, 8, 40))
    assert spread.observed == pytest.approx(returns.mean(1).std(ddof=1))
    assert spread.explained == pytest.approx(np.sqrt(residual / 6))


def test_what_an_episodes_start_does_to_all_alike_is_no_noise(rng):
    returns = rng.standard_normal((20, 5))
    shifted = returns + 1000 * rng.standard_normal(5)
    assert Spread.of(shifted).p_value == pytest.approx(Spread.of(returns).p_value, rel=1e-6)


def test_equal_policies_are_called_different_as_often_as_the_level_says(rng):
    p = [Spread.of(rng.standard_normal((20, 5))).p_value for _ in range(1000)]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.02)
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_returns_without_noise():
    different = Spread.of(np.repeat(np.arange(4.0)[:, None], 3, 1))
    assert (different.explained, different.p_value) == (0, 0)
    equal = Spread.of(np.full((4, 3), 7.3))
    assert (equal.observed, equal.p_value) == (pytest.approx(0), 1)
