"""Benchmarks of learning: their arms are valid, and what they train is kept once, goes on, and is reported."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
import advantages
import arms
import explorler
import rare_success
import sparse

from rlsparse.run.from_python import recipe
from rlsparse.run.recipe import check

STUDIES = {
    "advantages": (advantages.arms(advantages.COLOURS), advantages.ENVS),
    "explorler": (explorler.arms(explorler.COLOURS), explorler.ENVS),
    "explorler, equal updates": (explorler.UPDATES, explorler.ENVS),
    "rare successes": (rare_success.arms(rare_success.COMPARED), rare_success.ENVS),
    "sparse": (sparse.arms(sparse.ARMS, ["Ant-v5"], 1_000_000), ["Ant-v5"]),
}


@pytest.mark.parametrize(("asked", "envs"), STUDIES.values(), ids=STUDIES)
def test_every_arm_is_valid_in_every_environment(asked, envs):
    for fields in asked.values():
        for env in envs:
            given = {name: x for name, x in fields.items() if name not in ("agent", "environments")}
            own = fields.get("environments", {}).get(env, {})
            check(recipe(env, fields.get("agent"), "cpu", given | own)[1])


def test_a_dense_arm_has_as_many_parameters_as_the_sparse_one_that_it_is_compared_with():
    for env in sparse.ENVS:
        full = sparse.layout(env, 256, 256)
        kept = sum(count for _, count in sparse.Sparse(sparsity=0.9).budgets(full))
        weights = sum(slot.stop - slot.start for slot, _ in sparse.Sparse(sparsity=0.0).budgets(full))
        present = full.size - weights + kept
        small = sparse.layout(env, *sparse.equal_widths(env, 256, 0.9)).size
        assert present <= small < 1.05 * present


def curve(folder, arm, env, seeds):
    path = folder / arm / f"{env}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(["seed,total_steps,return_mean\n", *(f"{seed},96,1.5\n" for seed in seeds)]))


def test_only_seeds_without_a_curve_are_missing(tmp_path):
    curve(tmp_path, "a", "Hopper-v5", range(3))
    curve(tmp_path, "b", "Hopper-v5", range(5))
    curve(tmp_path, "a", "Ant-v5", range(3))
    found = arms.missing(["a", "b", "c"], ["Hopper-v5", "Ant-v5", "Swimmer-v5"], 5, arms.curves_in(tmp_path))
    assert found == {
        (0, ("c",)): ["Hopper-v5"],
        (3, ("a",)): ["Hopper-v5", "Ant-v5"],
        (0, ("b", "c")): ["Ant-v5"],
        (0, ("a", "b", "c")): ["Swimmer-v5"],
    }


def test_rows_are_kept_once_and_what_some_seeds_do_not_tell_is_nan(tmp_path):
    run, kept = tmp_path / "progress.csv", tmp_path / "kept.csv"
    kept.write_text("seed,return_mean\n0,1.5\n")
    run.write_text("seed,return_mean,scores,cloned\n0,9.0,1 2,0.5\n1,2.5,1 2,0.25\n")
    arms.add_rows(run, kept, without=("scores",))
    assert kept.read_text() == "seed,return_mean,cloned\n0,1.5,nan\n1,2.5,0.25\n"
    arms.add_rows(run, kept, without=("scores",))
    assert len(kept.read_text().splitlines()) == 3
