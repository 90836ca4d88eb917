"""A run with another budget: it goes on from where it was, loses nothing, and its records say so."""

import csv
import hashlib
import shutil
from dataclasses import replace
from functools import partial

import pytest
import tiny

from rlsparse import train
from rlsparse.compare.arms import arrange
from rlsparse.compare.logs import read_logs
from rlsparse.errors import Interrupted, RunDirectoryError, UsageError
from rlsparse.explore.explorler import ExploRLer
from rlsparse.run import directory as runs
from rlsparse.run import extension, policy_file
from rlsparse.run.extension import extend, extensions
from rlsparse.run.reading import read_json
from rlsparse.sparse.config import Sparse
from rlsparse.sparse.rules import SET
from rlsparse.trained.update import next_update

RECIPE = tiny.recipe(num_seeds=2, sparse=Sparse(0.5, rule=SET(every=1)))
"""With a learning rate that falls and weights that are exchanged, by the share of the budget that is spent."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of 96 steps."""
    return tiny.train(tmp_path_factory.mktemp("finished") / "run", RECIPE)


@pytest.fixture
def run_dir(finished, tmp_path):
    """A copy of it."""
    return shutil.copytree(finished, tmp_path / "run")


def extended(run_dir, total_steps):
    """Give a run another budget and let it go."""
    run, recipe, *_ = runs.reopen(run_dir)
    try:
        return extend(run, recipe, total_steps)
    finally:
        run.release()


@pytest.fixture(scope="module")
def longer(finished, tmp_path_factory):
    """That run with 192 steps, never stopped."""
    folder = shutil.copytree(finished, tmp_path_factory.mktemp("longer") / "run")
    extended(folder, 192)
    return tiny.resume(folder)


def rows(run_dir, seed=0):
    with open(run_dir / "progress.csv") as file:
        return [int(row["total_steps"]) for row in csv.DictReader(file) if row["seed"] == str(seed)]


def test_it_goes_on_from_its_last_step_and_keeps_its_curve(finished, longer):
    assert rows(longer) == [0, 32, 64, 96, 128, 160, 192]
    assert (longer / "progress.csv").read_text().startswith((finished / "progress.csv").read_text())
    assert runs.read_recipe(longer) == replace(RECIPE, total_steps=192)


def test_its_records_tell_both_budgets_and_when(longer):
    (told,) = extensions(longer)
    assert (told.at_steps, told.before, told.total_steps) == (96, 96, 192)
    assert told.recipe_sha256 == hashlib.sha256((longer / "recipe.toml").read_bytes()).hexdigest()
    assert told.when > read_json(longer / "versions.json")["started"][:10]


def test_stopped_and_resumed_it_ends_the_same(run_dir, longer):
    extended(run_dir, 192)
    asked = iter(range(10**6))
    with pytest.raises(Interrupted):
        tiny.resume(run_dir, lambda: next(asked) > 60)
    assert tiny.outcome(tiny.resume(run_dir)) == tiny.outcome(longer)


def test_a_member_equals_its_solo_run(longer, tmp_path):
    solo = tiny.train(tmp_path / "solo", replace(RECIPE, seed=1, num_seeds=1))
    extended(solo, 192)
    alone, whole = (policy_file.load(run / "policy.safetensors").actors for run in (tiny.resume(solo), longer))
    assert (alone.params[0] == whole.params[1]).all()


def test_a_stopped_run_is_extended_too_and_twice(tmp_path):
    asked = iter(range(10**6))
    with pytest.raises(Interrupted):
        tiny.go_on(tiny.begin(tmp_path / "run", RECIPE), lambda: next(asked) > 60)
    done = rows(tmp_path / "run")[-1]
    extended(tmp_path / "run", 128)
    extended(tmp_path / "run", 160)
    run = tiny.resume(tmp_path / "run")
    assert rows(run)[-1] == 160
    assert [(x.before, x.total_steps) for x in extensions(run)] == [(96, 128), (128, 160)]
    assert all(x.at_steps >= done for x in extensions(run))


@pytest.mark.parametrize("written", [0, 1, 2])
def test_killed_between_two_files_it_has_the_old_budget_or_the_new_one(written, run_dir, finished, longer, monkeypatch):
    left = [written]

    def killed(write, *arguments):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        write(*arguments)

    with monkeypatch.context() as patch:
        for module in (extension, runs):
            patch.setattr(module, "write_atomic", partial(killed, module.write_atomic))
        with pytest.raises(KeyboardInterrupt):
            extended(run_dir, 192)
    assert runs.read_recipe(run_dir) == RECIPE
    copy = shutil.copytree(run_dir, run_dir.parent / "copy")
    assert tiny.outcome(tiny.resume(copy)) == tiny.outcome(finished)
    extended(run_dir, 192)
    assert tiny.outcome(tiny.resume(run_dir)) == tiny.outcome(longer)


def test_fewer_steps_than_are_made_are_refused_with_the_nearest_valid_number_and_nothing_is_written(run_dir):
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match="--total-steps 95: .* has made 96 steps already, so expected 96 or more"):
        extended(run_dir, 95)
    assert {path: path.read_bytes() for path in before} == before
    assert extended(run_dir, 96) == RECIPE
    assert extensions(run_dir) == ()


def test_a_run_that_probing_has_finished_is_refused_with_what_to_do(tmp_path):
    recipe = tiny.recipe(explore=ExploRLer(num_anchors=2, start=0.5, finish=True))
    tiny.begin(tmp_path / "run", recipe).run.release()
    assert extended(tmp_path / "run", 192).total_steps == 192, "nothing is probed yet"
    (tmp_path / "run" / "checkpoint" / "96").mkdir(parents=True)
    with pytest.raises(UsageError, match="--explore.finish nothing is learned once probing has begun.* --init"):
        run = runs.Run(tmp_path / "run")
        extend(run, replace(recipe, total_steps=192), 300)
    run.release()


def test_a_budget_changed_by_hand_is_still_refused(longer, tmp_path):
    run = shutil.copytree(longer, tmp_path / "run")
    text = (run / "recipe.toml").read_text()
    (run / "recipe.toml").write_text(text.replace("total_steps = 192", "total_steps = 300"))
    with pytest.raises(RunDirectoryError, match="total_steps: 192 in the checkpoint, 300 in recipe.toml"):
        runs.reopen(run)


def test_an_update_from_before_the_extension_is_drawn_with_the_old_budget(finished, longer, tmp_path):
    run = shutil.copytree(longer, tmp_path / "run")
    old = sorted((finished / "checkpoint").iterdir(), key=lambda path: int(path.name))[0]
    shutil.copytree(old, run / "checkpoint" / old.name)
    assert next_update(run, iteration=int(old.name) // 16 + 1).recipe.total_steps == 96
    assert next_update(run).recipe.total_steps == 192


def test_it_is_compared_as_what_it_is(longer, tmp_path):
    shutil.copytree(longer, tmp_path / "runs" / "a")
    tiny.train(tmp_path / "runs" / "b", replace(RECIPE, total_steps=192, seed=5))
    names = arrange(read_logs([str(tmp_path / "runs")]).logs, {}).names
    assert len(names) == 2
    assert "extended_from=96" in names[0] and "extended_from" not in names[1]


# The command and Python


def test_the_command_extends_a_finished_run_and_says_what_that_means(run_dir, longer, caplog, capsys, monkeypatch):
    monkeypatch.chdir(run_dir.parent)
    train.main(["--resume", "run", "--env", RECIPE.env, "--total-steps", "192", "--quiet"])
    assert "run goes on to 192 steps instead of 96: schedules follow the new budget from here on" in caplog.text
    assert capsys.readouterr().out == "run\n"
    assert tiny.outcome(run_dir) == tiny.outcome(longer)
    assert read_json(run_dir / "status.json")["state"] == "finished"


def test_python_extends_it_too(run_dir, longer):
    result = train(resume=run_dir, env=RECIPE.env, total_steps=192)
    assert (result.state, result.recipe.total_steps) == ("finished", 192)
    assert tiny.outcome(run_dir) == tiny.outcome(longer)


def test_a_run_that_cannot_be_extended_is_let_go_of(run_dir):
    for _ in range(2):
        with pytest.raises(UsageError, match="has made 96 steps already"):
            train(resume=run_dir, env=RECIPE.env, total_steps=10)
