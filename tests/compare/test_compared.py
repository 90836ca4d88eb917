"""What comes out: common range, seeds left out, scores, intervals, contrasts and results over environments."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from synthetic_runs import rising, write_run

from rlsparse.compare.arms import arrange
from rlsparse.compare.comparison import compare
from rlsparse.compare.logs import read_logs
from rlsparse.errors import RunDirectoryError, UsageError

EXPLORLER = json.loads((Path(__file__).parents[1] / "data" / "explorler_returns.json").read_text())


@pytest.fixture
def generator():
    return np.random.default_rng(1)


def compared(folder, axis="steps", **options):
    return compare(arrange(read_logs([str(folder)]).logs, {}), axis, **options)


def cell(comparison, arm="ppo", env="Pendulum-v1"):
    return next(panel.cells[arm] for panel in comparison.panels if panel.env == env)


class TestCommonRange:
    def test_runs_of_different_length_are_compared_where_all_have_points_and_the_cut_is_said(self, tmp_path, generator):
        write_run(tmp_path / "a", rising(generator, 3, 21))
        write_run(tmp_path / "b", rising(generator, 3, 11), agent="trpo")
        comparison = compared(tmp_path)
        assert (comparison.panels[0].start, comparison.panels[0].end) == (0, 10_000)
        assert cell(comparison).x[-1] == 10_000
        assert any("compared up to 10,000 steps, where seed 0 of trpo ends" in text for text in comparison.remarks)
        assert any("up to 20,000 is cut" in text for text in comparison.remarks)

    def test_scores_are_of_the_common_range_alone(self, tmp_path):
        write_run(tmp_path / "a", [np.arange(21.0)] * 3, steps=np.arange(21) * 1000)
        write_run(tmp_path / "b", [np.zeros(11)] * 3, agent="trpo")
        assert cell(compared(tmp_path)).finals.tolist() == [9.5] * 3  # the mean of 9 and 10

    def test_different_grids_are_interpolated(self, tmp_path):
        write_run(tmp_path / "a", {0: np.arange(11.0)}, steps=np.arange(11) * 1000)
        write_run(tmp_path / "b", {1: np.arange(6.0) * 2}, steps=np.arange(6) * 2000)
        both = cell(compared(tmp_path))
        np.testing.assert_allclose(both.returns, [both.x / 1000] * 2)

    def test_late_starts_are_said(self, tmp_path):
        write_run(tmp_path / "a", [np.zeros(11)] * 3)
        write_run(tmp_path / "b", [np.zeros(6)] * 3, steps=np.arange(5, 11) * 1000, agent="trpo")
        comparison = compared(tmp_path)
        assert comparison.panels[0].start == 5000
        assert any("compared from 5,000 steps on" in text for text in comparison.remarks)

    def test_no_common_range_is_refused(self, tmp_path):
        write_run(tmp_path / "a", [np.zeros(3)] * 3)
        write_run(tmp_path / "b", [np.zeros(3)] * 3, steps=[5000, 6000, 7000], agent="trpo")
        with pytest.raises(RunDirectoryError, match="no range in common.*; --join makes one run of pieces like these"):
            compared(tmp_path)


@pytest.mark.parametrize(
    ("steps", "warning"),
    [
        ([0], "ONE POINT in common, 0 of 20,000 steps"),
        ([20_000], "ONE POINT in common, 20,000 of 20,000 steps"),
        ([0, 5000], "2 POINTS in common, 0 to 5,000 of 20,000 steps"),
        ([0, 1000, 2000, 3000], "4 POINTS in common, 0 to 3,000 of 20,000 steps"),
        ([0, 5000, 10_000], ""),
    ],
)
def test_a_range_that_is_almost_nothing_is_said_first(tmp_path, generator, steps, warning):
    write_run(tmp_path / "a", rising(generator, 5))
    write_run(tmp_path / "b", [np.arange(len(steps))] * 5, steps=steps, agent="trpo")
    expected = [f"SHORT RANGE: on Pendulum-v1 the curves have {warning}"] if warning else []
    assert compared(tmp_path).warnings == expected


class TestSeedsLeftOut:
    def test_a_crashed_seed_is_named_and_not_averaged(self, tmp_path, generator):
        write_run(tmp_path / "a", rising(generator, 4))
        write_run(tmp_path / "b", {4: [1.0, 2.0]}, state="failed", reason="out of memory")
        comparison = compared(tmp_path)
        one = cell(comparison)
        assert one.n_text == "n=4 of 5"
        assert comparison.panels[0].end == 20_000
        expected = "ppo on Pendulum-v1: seed 4 failed (out of memory) at 1,000; it is not in the mean"
        assert expected in comparison.remarks

    def test_a_run_that_crashed_before_its_first_evaluation_is_named(self, tmp_path, generator):
        write_run(tmp_path / "a", rising(generator, 3))
        write_run(tmp_path / "b", {}, state="failed", reason="no disk", num_seeds=2, agent="trpo")
        comparison = compared(tmp_path)
        assert cell(comparison, "trpo").n_text == "n=0 of 2"
        assert sum("failed (no disk); it is not in the mean" in text for text in comparison.remarks) == 2

    def test_a_diverged_seed_is_named(self, tmp_path, generator):
        returns = rising(generator, 4)
        returns[2, 5:] = np.nan
        write_run(tmp_path / "a", returns)
        comparison = compared(tmp_path)
        assert cell(comparison).seeds == [0, 1, 3]
        assert any("its return is not finite at 5,000 steps" in text for text in comparison.remarks)

    def test_a_seed_that_most_of_its_siblings_outran_is_named(self, tmp_path, generator):
        write_run(tmp_path / "a", rising(generator, 3), state="running")
        write_run(tmp_path / "b", {3: np.zeros(3)}, state="interrupted")
        comparison = compared(tmp_path)
        assert cell(comparison).n_text == "n=3 of 4"
        assert any("interrupted at 2,000" in text for text in comparison.remarks)

    def test_a_shorter_finished_run_shortens_the_range_instead(self, tmp_path, generator):
        write_run(tmp_path / "a", rising(generator, 3))
        write_run(tmp_path / "b", {3: np.zeros(3)})
        comparison = compared(tmp_path)
        assert cell(comparison).n_text == "n=4"
        assert comparison.panels[0].end == 2000

    def test_if_all_crashed_they_are_compared_and_said(self, tmp_path, generator):
        write_run(tmp_path / "a", rising(generator, 3), state="failed", reason="x")
        comparison = compared(tmp_path)
        assert cell(comparison).n_text == "n=3"
        assert sum("failed (x) at 20,000" in text for text in comparison.remarks) == 3

    def test_nothing_but_empty_runs_is_refused(self, tmp_path):
        write_run(tmp_path / "a", {}, num_seeds=2)
        with pytest.raises(RunDirectoryError, match="no curve of Pendulum-v1 has a point"):
            compared(tmp_path)


class TestFewSeeds:
    @pytest.mark.parametrize(
        ("n", "caution"), [(1, "n < 3"), (2, "n < 3"), (3, "fewer than 5"), (4, "fewer than 5"), (5, "")]
    )
    def test_few_seeds_are_a_smoke_check(self, tmp_path, generator, n, caution):
        write_run(tmp_path / "a", rising(generator, n))
        comparison = compared(tmp_path)
        assert len(comparison.warnings) == bool(caution)
        assert caution in "".join(comparison.warnings)
        assert np.isnan(cell(comparison).mean[1]).all() == (n < 3)

    def test_two_seeds_have_no_test(self, tmp_path, generator):
        write_run(tmp_path / "a", rising(generator, 2))
        write_run(tmp_path / "b", rising(generator, 8), agent="trpo")
        (contrast,) = compared(tmp_path).contrasts
        assert contrast.verdict == "n too small"
        assert np.isnan([contrast.p_welch, contrast.p_permutation, contrast.detectable_difference]).all()

    def test_no_star_without_five_seeds_however_far_apart(self, tmp_path, generator):
        for seeds, agent in ((4, "small"), (5, "large")):
            write_run(tmp_path / agent / "a", rising(generator, seeds), agent="low")
            write_run(tmp_path / agent / "b", rising(generator, seeds) + 1000, agent="high")
        (small,) = compared(tmp_path / "small").contrasts
        (large,) = compared(tmp_path / "large").contrasts
        assert (small.arm, small.verdict) == ("high", "smoke check, n < 5")
        assert small.p_welch < 1e-6
        assert large.verdict == "higher *"


class TestKnownNumbers:
    def test_mean_iqm_and_interval_at_every_point(self, tmp_path, generator):
        returns = rising(generator, 8)
        write_run(tmp_path / "a", returns)
        one = cell(compared(tmp_path))
        low, high = stats.t.interval(0.95, 7, loc=returns.mean(0), scale=stats.sem(returns, 0))
        np.testing.assert_allclose(one.mean, [returns.mean(0), low, high])
        np.testing.assert_allclose(one.iqm[0], stats.trim_mean(returns, 0.25, 0))

    def test_final_performance_area_and_threshold(self, tmp_path):
        line = np.arange(21.0)
        write_run(tmp_path / "a", [line, line + 3, line - 3])
        comparison = compared(tmp_path, thresholds={"": 10.0})
        one = cell(comparison)
        assert one.finals.tolist() == [19, 22, 16]
        assert one.areas.tolist() == [10, 13, 7]
        assert one.reached.tolist() == [10_000, 7000, 13_000]
        assert comparison.panels[0].threshold == 10
        assert one.summary["mean"] == 19
        assert one.summary["std"] == 3

    def test_a_threshold_per_environment(self, tmp_path, generator):
        write_run(tmp_path / "a", rising(generator, 3))
        write_run(tmp_path / "b", rising(generator, 3), env="Hopper-v5")
        comparison = compared(tmp_path, thresholds={"Hopper-v5": 7.0, "": 5.0})
        assert {panel.env: panel.threshold for panel in comparison.panels} == {"Hopper-v5": 7, "Pendulum-v1": 5}

    def test_holms_family_is_the_whole_report(self, tmp_path, generator):
        for env in ("Hopper-v5", "Ant-v5"):
            for agent in ("a", "b", "c"):
                write_run(tmp_path / env / agent, rising(generator, 5), agent=agent, env=env)
        contrasts = compared(tmp_path).contrasts
        assert len(contrasts) == 6
        smallest = min(contrasts, key=lambda x: x.p_welch)
        assert smallest.p_welch_holm == pytest.approx(min(1, 6 * smallest.p_welch))

    def test_seeds_that_match_are_paired(self, tmp_path, generator):
        write_run(tmp_path / "a", rising(generator, 5))
        write_run(tmp_path / "b", rising(generator, 5), agent="trpo")
        write_run(tmp_path / "c", dict(enumerate(rising(generator, 5), 3)), agent="other")
        assert [x.probability_of_improvement.paired for x in compared(tmp_path).contrasts] == [True, False, False]

    def test_more_than_four_arms_are_compared_with_the_first_or_the_baseline(self, tmp_path, generator):
        for agent in "abcde":
            write_run(tmp_path / agent, rising(generator, 3), agent=agent)
        assert [(x.arm, x.other) for x in compared(tmp_path).contrasts] == [(x, "a") for x in "bcde"]
        assert [(x.arm, x.other) for x in compared(tmp_path, baseline="c").contrasts] == [(x, "c") for x in "abde"]
        with pytest.raises(UsageError, match="--baseline f: the arms are a, b, c, d, e"):
            compared(tmp_path, baseline="f")


class TestOverEnvironments:
    @pytest.mark.parametrize("name", EXPLORLER["normalised_iqm"]["data"])
    def test_published_returns_normalised_by_the_baseline_arm(self, tmp_path, name):
        case = EXPLORLER["normalised_iqm"]["data"][name]
        for arm in ("method", "baseline"):
            for env, returns in zip(case["envs"], case[arm], strict=True):
                write_run(tmp_path / env / arm, [[0.0, *[y] * 3] for y in returns], agent=arm, env=env)
        comparison = compared(tmp_path, baseline="baseline")
        center, low, high = comparison.overall.normalised_iqm["method"]
        assert center == pytest.approx(case["iqm"], abs=1e-9)
        assert [low, high] == pytest.approx(case["interval_95"], abs=0.02)
        ratios = {
            panel.env: panel.cells["method"].finals.mean() / panel.cells["baseline"].finals.mean()
            for panel in comparison.panels
        }
        assert [ratios[env] for env in case["envs"]] == pytest.approx(case["per_env_ratio"], abs=1e-6)

    def test_cards_give_zero_to_random_actions_and_one_to_the_published_return(self, tmp_path):
        scales = {"Hopper-v5": (17.0, 2609.3), "Ant-v5": (-47.5, 3258.4)}
        for env, (random, published) in scales.items():
            half = (random + published) / 2
            write_run(tmp_path / env / "a", [[random] * 5] * 3, env=env, agent="random")
            write_run(tmp_path / env / "b", [[half] * 5] * 3, env=env, agent="half")
        overall = compared(tmp_path).overall
        assert overall.normalised_iqm["random"][0] == pytest.approx(0)
        assert overall.normalised_iqm["half"][0] == pytest.approx(0.5)
        above = overall.thresholds < 0.5 - 1e-9
        np.testing.assert_array_equal(overall.performance_profile["half"][0], above.astype(float))
        assert overall.probability_of_improvement["half", "random"].estimate == 1

    def test_what_cannot_be_normalised_is_left_out_and_said(self, tmp_path, generator):
        for env, top in (("Hopper-v5", 100), ("Ant-v5", 100), ("Pendulum-v1", -100)):
            for agent in ("a", "b"):
                write_run(tmp_path / env / agent, rising(generator, 3, top=top), agent=agent, env=env)
        comparison = compared(tmp_path)
        assert comparison.overall.environments == ["Ant-v5", "Hopper-v5"]
        assert any("Pendulum-v1 is not in the normalised results" in text for text in comparison.remarks)
        comparison = compared(tmp_path, baseline="a")
        assert comparison.overall.environments == ["Ant-v5", "Hopper-v5"]
        assert any("which cannot be divided by" in text for text in comparison.remarks)

    def test_environments_where_an_arm_is_missing_are_left_out_and_said(self, tmp_path, generator):
        for env in ("Hopper-v5", "Ant-v5", "Walker2d-v5"):
            write_run(tmp_path / env / "a", rising(generator, 3), agent="a", env=env)
            if env != "Walker2d-v5":
                write_run(tmp_path / env / "b", rising(generator, 3), agent="b", env=env)
        comparison = compared(tmp_path)
        assert comparison.overall.shared == 2
        assert any(text.endswith("not every arm ran there: Walker2d-v5") for text in comparison.remarks)

    def test_an_arm_that_ran_in_few_environments_does_not_cost_the_others_their_results(self, tmp_path, generator):
        for env in ("Hopper-v5", "Ant-v5", "Walker2d-v5"):
            for agent in ("a", "b", "c") if env == "Ant-v5" else ("a", "b"):
                write_run(tmp_path / env / agent, rising(generator, 3), agent=agent, env=env)
        comparison = compared(tmp_path)
        assert list(comparison.overall.normalised_iqm) == ["a", "b"]
        assert list(comparison.overall.probability_of_improvement) == [("b", "a")]
        assert len(comparison.overall.environments) == 3
        assert any(text.endswith("not run in all of them: c") for text in comparison.remarks)

    def test_no_two_environments_with_every_arm_have_no_results_and_say_so(self, tmp_path, generator):
        for env, agents in {"Hopper-v5": "a", "Ant-v5": "ab", "Walker2d-v5": "b"}.items():
            for agent in agents:
                write_run(tmp_path / env / agent, rising(generator, 3), agent=agent, env=env)
        comparison = compared(tmp_path)
        assert comparison.overall is None
        assert any("no results over environments" in text for text in comparison.remarks)
