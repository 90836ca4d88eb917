"""Intervals over seeds, and the summary made of them."""

import numpy as np
import pytest
from scipy import stats

from rlsparse.compare.interval import mean_interval
from rlsparse.compare.summary import summarise, table
from rlsparse.run.recipe import Recipe


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


def row(seed, total_steps, return_mean):
    steps = {"train_steps": total_steps, "probe_steps": 0, "eval_steps": 30}
    return {
        "seed": seed,
        "total_steps": total_steps,
        "return_mean": return_mean,
        "return_std": 1.0,
        "episodes": 10.0,
        **steps,
    }


def test_the_summary_is_of_the_last_evaluation_of_each_seed():
    rows = [row(seed, steps, 10 * seed + steps / 100) for steps in (0, 500, 1000) for seed in (2, 1, 0)]
    summary = summarise(rows, Recipe("Pendulum-v1", num_seeds=3), "ppo", 10.0)
    assert [(seed["seed"], seed["return_mean"]) for seed in summary["seeds"]] == [(0, 10), (1, 20), (2, 30)]
    assert summary["return_mean"] == 20
    low, high = stats.t.interval(0.95, 2, loc=20, scale=stats.sem([10, 20, 30]))
    assert summary["interval_95"] == pytest.approx([low, high])
    assert summary["steps_per_second"] == 300


def test_the_table_says_that_two_seeds_are_too_few_for_an_interval():
    summary = summarise([row(0, 100, 1.0), row(1, 100, 2.0)], Recipe("Pendulum-v1", num_seeds=2), "ppo", 1.0)
    assert summary["interval_95"] is None
    assert "n = 2: too few seeds for an interval" in table(summary)
