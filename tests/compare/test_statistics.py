"""Aggregates, tests and curve shapes against rliable, scipy, published numbers and simulated truth."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from rlsparse.compare.statistics import (
    align,
    area,
    detectable_effect,
    effect_size,
    final_score,
    first_reach,
    holm,
    iqm,
    iqm_interval,
    mean_interval,
    performance_profile,
    permutation_p,
    probability_of_improvement,
    stratified_iqm,
    welch,
)

DATA = Path(__file__).parent.parent / "data"
RLIABLE = json.loads((DATA / "rliable.json").read_text())
EXPLORLER = json.loads((DATA / "explorler_returns.json").read_text())
X, Y = np.array(RLIABLE["x"]), np.array(RLIABLE["y"])  # [seeds, environments]


@pytest.fixture
def generator():
    return np.random.default_rng(4)


class TestParityWithRliable:
    """tests/data/rliable.json was written by the package itself, which does not install beside current pandas."""

    def test_iqm(self):
        assert iqm(X.ravel()) == pytest.approx(RLIABLE["iqm"]["x"], abs=1e-12)
        assert iqm(Y.ravel()) == pytest.approx(RLIABLE["iqm"]["y"], abs=1e-12)
        assert iqm(X[:7].ravel()) == pytest.approx(RLIABLE["iqm"]["first_7_of_x"], abs=1e-12)

    @pytest.mark.parametrize("name", ["x", "y"])
    def test_iqm_interval(self, name):
        scores = np.array(RLIABLE[name])
        low, high = RLIABLE["iqm_interval"][name]
        assert stratified_iqm(list(scores.T))[1:] == pytest.approx([low, high], abs=0.06 * (high - low))

    def test_probability_of_improvement(self):
        center, *ends = probability_of_improvement(X.T, Y.T)
        low, high = RLIABLE["improvement_interval"]
        assert center == pytest.approx(RLIABLE["improvement"], abs=1e-12)
        assert ends == pytest.approx([low, high], abs=0.06 * (high - low))

    def test_performance_profile(self):
        center, low, high = performance_profile(X.T, np.array(RLIABLE["thresholds"]))
        np.testing.assert_allclose(center, RLIABLE["profile"], atol=1e-12)
        np.testing.assert_allclose([low, high], RLIABLE["profile_interval"], atol=0.0251)


@pytest.mark.parametrize("case", EXPLORLER["normalised_iqm"]["data"].values(), ids=EXPLORLER["normalised_iqm"]["data"])
def test_published_returns_give_the_published_normalised_iqm(case):
    method, baseline = np.array(case["method"]), np.array(case["baseline"])
    ratios = method / baseline.mean(1, keepdims=True)
    center, low, high = stratified_iqm(list(ratios))
    assert center == pytest.approx(case["iqm"], abs=1e-9)
    assert [low, high] == pytest.approx(case["interval_95"], abs=0.02)


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_interval_is_students(n, level):
    x = np.random.default_rng(n).normal(100, 20, (n, 4))
    mean, half_width = mean_interval(x, level)
    low, high = stats.t.interval(level, n - 1, loc=x.mean(0), scale=stats.sem(x, 0))
    np.testing.assert_allclose(mean - half_width, low)
    np.testing.assert_allclose(mean + half_width, high)


@pytest.mark.parametrize("n", [1, 2])
def test_fewer_than_three_seeds_have_a_mean_but_no_interval(n):
    x = np.arange(n * 2.0).reshape(n, 2)
    mean, half_width = mean_interval(x)
    np.testing.assert_array_equal(mean, x.mean(0))
    assert np.isnan(half_width).all()
    assert half_width.shape == (2,)


def test_equal_seeds_have_an_interval_of_no_width():
    assert mean_interval(np.full(4, 7.0)) == (7.0, 0.0)


class TestIqm:
    @pytest.mark.parametrize("n", range(1, 14))
    def test_equals_scipys_trimmed_mean(self, generator, n):
        x = generator.normal(size=(n, 5))
        np.testing.assert_allclose(iqm(x), stats.trim_mean(x, 0.25, 0), atol=1e-14)

    def test_ignores_one_wild_seed_of_five(self):
        assert iqm(np.array([1.0, 2.0, 3.0, 4.0, 1e9])) == 3

    @pytest.mark.parametrize("n", [3, 4, 5, 8, 9])
    def test_small_samples_get_the_t_interval_of_a_trimmed_mean(self, generator, n):
        x = generator.normal(size=n)
        cut = n // 4
        winsorised = stats.mstats.winsorize(x, limits=(cut / n, cut / n)).std(ddof=1)
        kept = n - 2 * cut
        half_width = stats.t.ppf(0.975, kept - 1) * winsorised / ((kept / n) * np.sqrt(n))
        center, low, high = iqm_interval(x)
        assert [low, high] == pytest.approx([center - half_width, center + half_width])

    def test_from_ten_seeds_on_the_interval_is_the_bootstrap(self, generator):
        x = generator.normal(size=(12, 1))
        drawn = x[generator.integers(0, 12, (12, 20_000)), 0]
        expected = np.quantile(iqm(drawn), [0.025, 0.975])
        _, low, high = iqm_interval(x)
        np.testing.assert_allclose([low[0], high[0]], expected, atol=0.05 * np.ptp(expected))

    @pytest.mark.parametrize("n", [1, 2])
    def test_fewer_than_three_seeds_get_no_interval(self, n):
        center, low, high = iqm_interval(np.ones((n, 4)))
        assert center.shape == low.shape == high.shape == (4,)
        assert np.isnan([low, high]).all()

    def test_equal_data_give_equal_intervals(self, generator):
        x = generator.normal(size=(11, 3))
        np.testing.assert_array_equal(iqm_interval(x), iqm_interval(x.copy()))


class TestCoverage:
    """How often an interval that says 95 % holds the truth, over simulated experiments."""

    EXPERIMENTS = 2000
    TOLERANCE = 3.5 * np.sqrt(0.95 * 0.05 / EXPERIMENTS)

    @pytest.mark.parametrize("n", [3, 5, 10])
    def test_of_the_mean(self, generator, n):
        mean, half_width = mean_interval(generator.normal(10, 3, (n, self.EXPERIMENTS)))
        assert np.mean(np.abs(mean - 10) <= half_width) == pytest.approx(0.95, abs=self.TOLERANCE)

    @pytest.mark.parametrize(("n", "least"), [(3, 0.93), (5, 0.93), (8, 0.93), (10, 0.90), (20, 0.92)])
    def test_of_the_iqm(self, generator, n, least):
        _, low, high = iqm_interval(generator.normal(10, 3, (n, self.EXPERIMENTS)))
        assert np.mean((low <= 10) & (high >= 10)) >= least - self.TOLERANCE

    def test_of_the_normalised_iqm_over_environments(self, generator):
        truths = [0.8, 0.9, 1.0, 1.1, 1.2]
        covered = 0
        for _ in range(300):
            _, low, high = stratified_iqm([generator.normal(1.0, 0.2, 10) for _ in truths])
            covered += low <= 1.0 <= high
        assert covered / 300 >= 0.95 - 0.03 - 3.5 * np.sqrt(0.95 * 0.05 / 300)

    def test_of_the_difference(self, generator):
        differences = [welch(generator.normal(5, 1, 5), generator.normal(4, 3, 7)) for _ in range(1000)]
        covered = np.mean([x.low <= 1 <= x.high for x in differences])
        assert covered == pytest.approx(0.95, abs=3.5 * np.sqrt(0.95 * 0.05 / 1000))


@pytest.mark.parametrize("n", [5, 10])
def test_equal_arms_are_rarely_called_different(generator, n):
    pairs = [(generator.normal(size=n), generator.normal(size=n)) for _ in range(500)]
    most = 0.05 + 3.5 * np.sqrt(0.05 * 0.95 / 500)
    assert np.mean([welch(x, y).p < 0.05 for x, y in pairs]) <= most
    assert np.mean([permutation_p(x, y) < 0.05 for x, y in pairs]) <= most


def test_no_interval_of_ten_equal_comparisons_is_starred_more_often_than_one_should_be(generator):
    families = [[welch(generator.normal(size=5), generator.normal(size=5)).p for _ in range(10)] for _ in range(300)]
    assert np.mean([holm(np.array(p)).min() < 0.05 for p in families]) <= 0.05 + 3.5 * np.sqrt(0.05 * 0.95 / 300)


class TestWelch:
    @pytest.mark.parametrize(("n", "m"), [(3, 3), (5, 5), (4, 9)])
    def test_equals_scipys(self, generator, n, m):
        x, y = generator.normal(1, 1, n), generator.normal(0, 4, m)
        expected = stats.ttest_ind(x, y, equal_var=False)
        ours = welch(x, y)
        assert ours.p == pytest.approx(expected.pvalue)
        assert (ours.low, ours.high) == pytest.approx(tuple(expected.confidence_interval()))

    def test_two_seeds_get_no_interval_and_no_p(self):
        ours = welch(np.array([1.0, 2.0]), np.arange(5.0))
        assert ours.mean == -0.5
        assert np.isnan([ours.low, ours.high, ours.p]).all()

    def test_equal_constants_do_not_differ(self):
        assert welch(np.full(5, 1000.0), np.full(5, 1000.0)).p == 1
        assert welch(np.full(5, 1000.0), np.full(5, 999.0)).p == 0


class TestPermutation:
    def test_equals_scipys_exact_test(self, generator):
        x, y = generator.normal(1, 1, 5), generator.normal(0, 1, 5)
        expected = stats.permutation_test((x, y), lambda a, b: np.mean(a) - np.mean(b), n_resamples=np.inf)
        assert permutation_p(x, y) == pytest.approx(expected.pvalue)

    @pytest.mark.parametrize(("n", "smallest"), [(3, 0.1), (4, 0.029), (5, 0.008)])
    def test_smallest_p_that_so_few_seeds_can_reach(self, n, smallest):
        assert permutation_p(np.arange(n) + 100.0, np.arange(n)) == pytest.approx(smallest, abs=5e-4)

    def test_ten_against_ten_are_drawn_and_agree_with_scipy(self, generator):
        x, y = generator.normal(0.8, 1, 10), generator.normal(0, 1, 10)
        exact = stats.permutation_test((x, y), lambda a, b: np.mean(a) - np.mean(b), n_resamples=20_000, rng=1).pvalue
        assert permutation_p(x, y) == pytest.approx(exact, abs=0.01)
        assert permutation_p(x, y) == permutation_p(x, y)

    def test_ties_count_as_extreme(self):
        assert permutation_p(np.ones(5), np.ones(5)) == 1


def test_holm_on_a_worked_example():
    # Holm (1979) on p = 0.01, 0.04, 0.03, 0.005: 0.005 * 4, 0.01 * 3, 0.03 * 2, then not below its predecessor
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([np.nan, 0.03, 0.6])), [np.nan, 0.06, 0.6])


@pytest.mark.parametrize(("d", "n"), [(0.5, 64), (0.8, 26), (1.0, 17), (1.5, 9), (2.0, 6)])
def test_detectable_effect_agrees_with_power_tables(d, n):
    assert detectable_effect(n, n) <= d < detectable_effect(n - 1, n - 1)


def test_detectable_effect_is_found_in_80_percent_of_experiments(generator):
    d = detectable_effect(6, 8)
    found = [stats.ttest_ind(generator.normal(d, 1, 6), generator.normal(0, 1, 8)).pvalue < 0.05 for _ in range(1000)]
    assert np.mean(found) == pytest.approx(0.8, abs=3.5 * np.sqrt(0.16 / 1000))


def test_effect_size_is_cohens_d():
    assert effect_size(np.array([2.0, 4.0, 6.0]), np.array([1.0, 3.0, 5.0])) == pytest.approx(1 / 2)
    assert np.isnan(effect_size(np.ones(5), np.ones(5)))


class TestProbabilityOfImprovement:
    def test_is_the_mann_whitney_statistic(self, generator):
        x, y = generator.normal(1, 1, 6).round(1), generator.normal(0, 1, 9).round(1)
        expected = stats.mannwhitneyu(x, y).statistic / 54
        assert probability_of_improvement([x], [y])[0] == pytest.approx(expected)

    def test_paired_compares_each_seed_with_itself(self):
        x, y = np.array([1.0, 5.0, 3.0, 9.0]), np.array([0.0, 6.0, 3.0, 1.0])
        assert probability_of_improvement([x], [y], paired=True)[0] == (1 + 0 + 0.5 + 1) / 4

    def test_four_wins_of_four_are_not_certainty(self):
        center, low, high = probability_of_improvement([np.arange(4.0) + 9], [np.arange(4.0)], paired=True)
        assert (center, high) == (1, 1)
        assert low == pytest.approx(stats.binomtest(4, 4).proportion_ci().low)

    def test_nor_where_another_environment_is_tied(self):
        four, ties = np.arange(4.0), np.ones(4)
        center, low, high = probability_of_improvement([four + 9, ties], [four, ties], paired=True)
        assert (center, high) == (0.75, 0.75)
        assert low == pytest.approx(stats.binomtest(4, 4).proportion_ci().low / 2 + 0.25)
        assert probability_of_improvement([ties], [ties], paired=True) == (0.5, 0.5, 0.5)


class TestShape:
    def test_final_score_of_a_published_example(self):
        rule = EXPLORLER["last10_rule"]
        assert final_score(np.arange(23.0), np.array(rule["curve"], float)) == rule["score"]

    def test_final_score_ends_where_the_common_range_ends(self):
        x = np.arange(0, 101.0)
        assert final_score(x, x, end=49.5) == np.mean([45, 46, 47, 48, 49])
        assert final_score(x, x, end=-1) == 0

    def test_area_of_a_triangle(self):
        x, y = np.array([0.0, 10.0, 20.0]), np.array([0.0, 10.0, 0.0])
        assert area(x, y, 0, 20) == 5
        assert area(x, y, 5, 15) == 7.5
        assert area(x, y, 10, 10) == 10

    def test_first_reach_is_on_the_line_between_two_points(self):
        x, y = np.array([0.0, 100.0, 200.0]), np.array([0.0, 10.0, 5.0])
        assert first_reach(x, y, 5) == 50
        assert first_reach(x, y, 0) == 0
        assert first_reach(x, y, 11) == np.inf
        assert first_reach(x, y, 5, end=40) == np.inf

    def test_points_that_all_seeds_share_are_kept(self, generator):
        x, y = np.array([0.0, 3.0, 7.0, 9.0]), generator.normal(size=(2, 4))
        grid, returns = align([(x, y[0]), (x, y[1])], 0, 9)
        np.testing.assert_array_equal(grid, x)
        np.testing.assert_array_equal(returns, y)

    def test_other_points_are_interpolated_on_the_common_range(self):
        a, b = np.arange(0, 11.0), np.arange(0.5, 13.0)
        grid, returns = align([(a, 2 * a), (b, -b)], 0.5, 10)
        assert (grid[0], grid[-1]) == (0.5, 10)
        np.testing.assert_allclose(returns, [2 * grid, -grid])
