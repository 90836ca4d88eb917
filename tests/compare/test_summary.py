"""The summary's numbers are those of progress.csv."""

import csv
import json
import math
import statistics
from dataclasses import replace

import pytest
import tiny
from scipy import stats

from rlsparse.compare.summary import summarise, table
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.in_rollout import InRollout
from rlsparse.run import directory as runs
from rlsparse.run.recipe import Recipe

# two-sided 95 % quantile of Student's t distribution with 3 degrees of freedom, from printed tables
T_3 = 3.182


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run of four seeds."""
    return tiny.train(tmp_path_factory.mktemp("summary") / "run", tiny.recipe(num_seeds=4, seed=2))


@pytest.fixture
def final(run_dir):
    """The last evaluation of every seed, read with the csv module alone."""
    with open(run_dir / "progress.csv") as file:
        rows = list(csv.DictReader(file))
    return {row["seed"]: row for row in rows if row["total_steps"] == "96"}


@pytest.fixture
def summary(run_dir):
    return summarise(runs.read_progress(run_dir / "progress.csv"), runs.read_recipe(run_dir), "ppo", 8.0)


def test_every_seed_has_its_last_evaluation(summary, final):
    assert [row["seed"] for row in summary["seeds"]] == [2, 3, 4, 5]
    for row in summary["seeds"]:
        written = final[str(row["seed"])]
        for name in ("return_mean", "return_std", "episodes", "train_steps", "probe_steps", "eval_steps"):
            assert row[name] == float(written[name])


def test_mean_and_interval_are_over_seeds(summary, final):
    returns = [float(row["return_mean"]) for row in final.values()]
    mean = statistics.mean(returns)
    half_width = T_3 * statistics.stdev(returns) / math.sqrt(4)
    assert summary["n"] == 4
    assert summary["return_mean"] == pytest.approx(mean)
    assert summary["interval_95"] == pytest.approx([mean - half_width, mean + half_width], rel=1e-3)


def test_speed_counts_the_training_steps_of_all_seeds(summary):
    assert summary["steps_per_second"] == 4 * 96 / 8.0


def test_seconds_of_evaluations_do_not_count_as_training(run_dir):
    """384 steps in 8 - 6 seconds are 192 steps/s."""
    rows, recipe = runs.read_progress(run_dir / "progress.csv"), runs.read_recipe(run_dir)
    summary = summarise(rows, recipe, "ppo", 8.0, eval_seconds=6.0)
    assert (summary["eval_seconds"], summary["steps_per_second"]) == (6.0, 192)
    assert table(summary).endswith("\n8 s, of which evaluation 75 %; 192 training steps/s (48 a seed)")
    one = summarise([row for row in rows if row["seed"] == 2], recipe, "ppo", 8.0)
    assert table(one).endswith("; 12 training steps/s")


def test_it_says_what_was_trained_where(summary):
    assert (summary["env"], summary["agent"], summary["seconds"]) == ("fake_envs:Point-v0", "ppo", 8.0)


def test_it_is_json_without_nan(summary):
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


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


@pytest.fixture
def probed(run_dir):
    """The summary as if 40 steps each of seeds 2 and 3 had gone to probes, 3 and 1, of which 2 and 0 were accepted."""
    rows = runs.read_progress(run_dir / "progress.csv")
    for row in rows:
        if row["seed"] < 4 and row["total_steps"] == 96:
            row |= {"train_steps": 56.0, "probe_steps": 40.0}
    recipe = replace(runs.read_recipe(run_dir), explore=ExploRLer())
    return summarise(rows, recipe, "ppo", 8.0, [(2, True), (3, False), (2, False), (2, True)])


def test_probes_are_counted_by_seed_where_the_recipe_has_them(probed, summary):
    assert [(row["probes"], row["accepted"]) for row in probed["seeds"]] == [(3, 2), (1, 0), (0, 0), (0, 0)]
    assert [(row["train_steps"], row["probe_steps"]) for row in probed["seeds"]] == [
        (56, 40),
        (56, 40),
        (96, 0),
        (96, 0),
    ]
    assert probed["steps_per_second"] == 4 * 96 / 8.0
    assert not {"probes", "accepted"} & set(summary["seeds"][0])


def test_the_table_shows_steps_of_training_and_of_probing_apart(probed):
    header, *lines = table(probed).splitlines()
    assert header.split() == ["seed", "train", "steps", "probe", "steps", "return", "+-", "std", "over"]
    for line, row in zip(lines[:4], probed["seeds"], strict=True):
        assert line.split()[:4] == [
            *(str(row["seed"]), str(row["train_steps"]), str(row["probe_steps"]), f"{row['return_mean']:,.1f}"),
        ]
    assert lines[0].endswith("2 evaluation episodes, 2 of 3 probes accepted")
    assert (
        lines[4].index(f"{probed['return_mean']:,.1f}") + len(f"{probed['return_mean']:,.1f}")
        == header.index("return") + 6
    )
    assert lines[6] == "8 s, of which evaluation 0 %; 48 training and probe steps/s (12 a seed)"


def test_probes_without_steps_of_their_own_need_no_column(run_dir):
    rows = runs.read_progress(run_dir / "progress.csv")
    recipe = replace(runs.read_recipe(run_dir), explore=ExploRLer(probe=InRollout()))
    header, line, *_ = table(summarise(rows, recipe, "ppo", 8.0, [(2, False)])).splitlines()
    assert header.split() == ["seed", "steps", "return", "+-", "std", "over"]
    assert line.endswith("2 evaluation episodes, 0 of 1 probes accepted")


@pytest.mark.parametrize("seeds", [1, 2])
def test_too_few_seeds_have_no_interval_and_are_told_so(seeds, run_dir, final):
    rows = [row for row in runs.read_progress(run_dir / "progress.csv") if row["seed"] < 2 + seeds]
    summary = summarise(rows, runs.read_recipe(run_dir), "ppo", 8.0)
    assert summary["interval_95"] is None
    assert f"n = {seeds}: too few seeds for an interval" in table(summary)


def test_the_table_shows_the_same_numbers(summary):
    lines = table(summary).splitlines()
    for line, row in zip(lines[1:5], summary["seeds"], strict=True):
        assert line.split() == [
            *(str(row["seed"]), "96", f"{row['return_mean']:,.1f}", f"{row['return_std']:,.1f}"),
            *("2", "evaluation", "episodes"),
        ]
    low, high = summary["interval_95"]
    assert lines[5].split()[:2] == ["mean", f"{summary['return_mean']:,.1f}"]
    assert f"95 % interval {low:,.1f} to {high:,.1f}, n = 4" in lines[5]
    maximum = statistics.mean(row["best"]["maximum"] for row in summary["seeds"])
    assert lines[6].startswith(f"best of 4 evaluations: {maximum:,.1f} on average; a maximum, and so no score")
    assert lines[7] == "8 s, of which evaluation 0 %; 48 training steps/s (12 a seed)"


def test_the_maximum_is_the_best_evaluation_and_of_equal_ones_the_first():
    rows = [row(0, steps, mean) for steps, mean in ((0, 1.0), (32, 5.0), (64, 5.0), (96, 3.0))]
    (seed,) = summarise(rows, Recipe("x"), "ppo", 1.0)["seeds"]
    assert (seed["return_mean"], seed["best"]) == (3.0, {"maximum": 5.0, "total_steps": 32, "evaluations": 4})


def test_of_many_seeds_the_table_shows_three_and_says_so():
    rows = [row(seed, 100, float((seed * 7) % 101)) for seed in range(101)]
    lines = table(summarise(rows, Recipe("Pendulum-v1", num_seeds=101), "ppo", 1.0)).splitlines()
    assert [line.split()[2] for line in lines[1:5]] == ["0.0", "50.0", "100.0", "95"]
    assert lines[5] == "lowest, middle and highest of 101 seeds; summary.json has all"
