"""Benchmarks of learning: their arms are valid, and what they train is kept once, goes on, and is reported."""

import csv
import re
import runpy
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
sys.path.insert(0, str(Path(__file__).resolve().parent / "study"))
import advantages
import arms
import explorler
import learning
import published
import rare_success
import robust
import sparse
import train
import tuning
import zoo
from cells import Here
from matplotlib.figure import Figure

import rlsparse
from rlsparse.run import cards, policy_file
from rlsparse.study.arguments import study_from_arguments
from rlsparse.study.study import cells

del sys.modules["sparse"]  # scipy takes a module of that name for a package that it knows

STUDIES = {
    "advantages": (arms.of_cards(advantages.COLOURS), advantages.ENVS),
    "explorler": (arms.of_cards(explorler.COLOURS), explorler.ENVS),
    "explorler, equal updates": (explorler.UPDATES, explorler.ENVS),
    "rare successes": (rare_success.arms(rare_success.COMPARED), rare_success.ENVS),
    "sparse": (sparse.arms(sparse.ARMS, ["Ant-v5"], 1_000_000), ["Ant-v5"]),
    "learning": (arms.of_cards(learning.COLOURS), learning.ENVS),
    "tuning": (tuning.ARMS, tuning.ENVS),
}


@pytest.mark.parametrize(("asked", "envs"), STUDIES.values(), ids=STUDIES)
def test_every_arm_is_valid_in_every_environment(asked, envs, tmp_path):
    found = cells(study_from_arguments(envs, arms=asked, num_seeds=5), tmp_path)
    assert found.failures == ()
    assert {(cell.arm, cell.recipe.env) for cell in found.cells} == {(arm, env) for arm in asked for env in envs}


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
    curve(tmp_path, "a", "Ant-v5", [0, 1, 2, 4])
    found = arms.missing(["a", "b", "c"], ["Hopper-v5", "Ant-v5", "Swimmer-v5"], range(5), arms.curves_in(tmp_path))
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


PUBLISHED = {"advantages": advantages.report, "explorler": explorler.report_steps, "sparse": sparse.report}
"""How the tables of docs/notes/<name>.md are made of the curves that are kept."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_tables_say_what_the_kept_curves_say(name, monkeypatch, capsys):
    monkeypatch.setattr(Figure, "savefig", lambda *_, **__: None)
    for folder in arms.budgets(arms.RESULTS / name):
        PUBLISHED[name](folder)
    printed = capsys.readouterr().out.splitlines()
    page = arms.RESULTS.parent.parent / "docs" / "notes" / f"{name}.md"
    rows = re.findall(r"^\| \**`([\w-]+)`(.*)$", page.read_text(), re.MULTILINE)
    cells = [(arm, cell) for arm, row in rows for cell in re.findall(r"[-\d,.]+ \([-\d,.]+ to [-\d,.]+", row)]
    assert len(cells) >= 15
    lost = [x for x in cells if not any(line.split(" ")[0] == x[0] and x[1] in line for line in printed)]
    assert lost == []


def test_a_row_tells_what_a_reader_needs_in_order_to_compare():
    source = "SLM-Lab, https://github.com/kengz/SLM-Lab/blob/02477a9e/docs/BENCHMARKS.md"
    reference = cards.Reference("PPO", "Ant-v5", 10_000_000, 2138.28, 4, "training returns", source)
    link = "PPO, [SLM-Lab](https://github.com/kengz/SLM-Lab/blob/02477a9e/docs/BENCHMARKS.md)"
    assert published.row(reference) == f"| 2,138 | 4 | {link} | Ant-v5 | 10,000,000 | training returns |"
    assert published.row(replace(reference, mean=-4.65, std=0.96)).startswith("| -4.7 +- 1.0 | 4 |")
    assert published.row(replace(reference, std=905.78)).startswith("| 2,138 +- 906 | 4 |")


def test_rows_are_in_order_of_steps_and_then_of_returns():
    cells = [row.split(" | ") for row in published.rows(cards.environment("Ant"))]
    steps = [int(cell[4].replace(",", "")) for cell in cells]
    assert steps == sorted(steps)
    returns = [float(cell[0].removeprefix("| ").split(" ")[0].replace(",", "")) for cell in cells]
    assert returns[: steps.count(1_000_000)] == sorted(returns[: steps.count(1_000_000)], reverse=True)
    assert len(cells) == len(cards.environment("Ant").references)


@pytest.mark.parametrize(
    ("returns", "seed"),
    [({0: 3.0}, 0), ({0: 3.0, 1: 1.0}, 1), ({4: 3.0, 5: 1.0, 6: 2.0}, 6), ({0: 4, 1: 3, 2: 2, 3: 1}, 2)],
)
def test_the_median_seed_is_the_lower_one_of_the_two_in_the_middle(returns, seed):
    assert zoo.median_seed(returns) == seed


def test_a_card_ships_the_curve_of_all_seeds_and_the_policy_and_film_of_the_median_one(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "film", lambda policy, path: path.write_text(policy.name))
    runs = [
        rlsparse.train(
            "InvertedPendulum",
            total_steps=64,
            num_envs=1,
            rollout_length=64,
            algorithm={"minibatches": 4},
            seed=seed,
            num_seeds=2,
            out=tmp_path / str(seed),
            quiet=True,
        )
        for seed in (0, 2)
    ]
    curve = tmp_path / "kept.csv"
    curve.write_text("seed,total_steps,return_mean\n0,64,1\n1,64,9\n2,64,3\n3,64,4\n")
    zoo.ship([run.path for run in runs], curve, tmp_path / "card", tmp_path / "films" / "ppo" / "Pendulum.gif")
    assert {path.name for path in (tmp_path / "card").iterdir()} == {"policy.safetensors", "curve.csv"}
    assert (tmp_path / "films" / "ppo" / "Pendulum.gif").exists()
    shipped = policy_file.load(tmp_path / "card" / "policy.safetensors")
    of_all = policy_file.load(runs[1].path / "policy.safetensors")
    assert (shipped.recipe.seed, shipped.recipe.num_seeds, shipped.actors.seeds) == (2, 1, (2,))
    np.testing.assert_array_equal(shipped.actors.params, of_all.actors.params[:1])
    assert {name: x.tolist() for name, x in shipped.statistics.items()} == {
        name: x[:1].tolist() for name, x in of_all.statistics.items()
    }


TINY = {
    "advantages": ("run --steps 64 --arms", "ppo", "ppo-monte-carlo"),
    "explorler": ("run --steps 64 --arms", "ppo", "explorler-ppo-in-rollout"),
    "rare_success": ("run --steps 64 --arms", "gae-clip", "gae-hpt"),
    "sparse": ("run --steps 64 --arms", "small-64-90", "kl-64-90"),
    "learning": ("run --steps 64 --arms", "ppo", "trpo"),
    "tuning": ("run --steps 2048 --arms", "base", "kl"),
}
"""Of each benchmark how it is asked for its arms, and arms."""


@pytest.mark.parametrize("name", TINY)
def test_a_benchmark_trains_what_is_missing_keeps_it_and_reports(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.fsync", lambda _: None)
    monkeypatch.setattr(Figure, "savefig", lambda *_, **__: None)
    pools = []
    monkeypatch.setattr("rlsparse.study.sweep.LocalPool", lambda slots: pools.append(Here()) or pools[-1])
    env = "DistantGoal" if name == "rare_success" else "Hopper-v5"

    def kept(num_seeds):
        words = [*" ".join(TINY[name]).split(), "--envs", env, "--num-seeds", str(num_seeds), "--results", "kept"]
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *words])
        runpy.run_path(f"{Path(arms.__file__).with_name(name)}.py", run_name="__main__")
        return {path.parent.name: path.read_text() for path in Path("kept").rglob(f"{env}.csv")}

    one = kept(1)
    assert set(one) == set(TINY[name][1:])
    assert set(one) <= set(capsys.readouterr().out.replace("`", "").split())
    two = kept(2)
    assert all(two[arm].startswith(one[arm]) for arm in one)
    seeds = {"100", "101"} if name == "tuning" else {"0", "1"}
    assert {row["seed"] for text in two.values() for row in csv.DictReader(text.splitlines())} == seeds
    trained = sum(len(pool.jobs) for pool in pools)
    shutil.rmtree("kept")
    assert kept(2) == two  # of the runs that are there
    assert sum(len(pool.jobs) for pool in pools) == trained


def test_the_page_of_results_says_what_the_reports_print(monkeypatch, capsys):
    monkeypatch.setattr(Figure, "savefig", lambda *_, **__: None)
    page = (arms.RESULTS.parents[1] / "docs" / "results.md").read_text().splitlines()
    for folder in arms.budgets(arms.RESULTS / "learning"):
        learning.report(folder)
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    known = [line for env in cards.environments().values() for line in (*published.HEADER, *published.rows(env))]
    assert [line for line in page if line.startswith("|")] == [*printed, *known]


def test_the_page_on_robots_says_what_varied_models_are_worth(capsys):
    page = (arms.RESULTS.parents[1] / "docs" / "your-own-robot.md").read_text()
    robust.report()
    assert capsys.readouterr().out in page


def test_the_time_of_a_training_run_is_split_whole():
    recipe = replace(train.whole_runs()["sb3-defaults, 1 seed x 100,000 steps"], total_steps=2048, eval_episodes=1)
    shares = train.split("a run", replace(recipe, eval_every=2048))
    assert sum(share for name, share in shares.items() if name not in ("run", "seconds")) == pytest.approx(100, abs=0.3)
    assert all(shares[phase] > 0 for phase in ("simulate", "act", "advantage", "update", "record"))
