"""A run that is there already is that of its cell, or one line says what it has otherwise."""

import pytest

from rlsparse.run import directory
from rlsparse.run.extension import extend
from rlsparse.run.flags import TrainFlags
from rlsparse.study.arguments import study_from_arguments
from rlsparse.study.changed import differences
from rlsparse.study.study import cells
from rlsparse.train.training import planned


@pytest.fixture
def begun(tmp_path):
    """Begin the runs of a study, as a driver does; returns what reads another study in the same folder."""

    def cells_of(**arguments):
        words = {"envs": "fake_envs:Point-v0", "total_steps": 512, "agents": "ppo", **arguments}
        return cells(study_from_arguments(**words), tmp_path)

    def begin(**arguments):
        for cell in cells_of(**arguments).cells:
            plan = planned(cell.recipe, cell.asked, TrainFlags(cell.recipe, quiet=True))
            run = directory.create(plan.recipe, cell.agent, tmp_path, cell.folder, "cpu", None, plan.unfitted)
            run.release()
        return cells_of

    return begin


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"eval_every": 64},
        {"eval_episodes": 2, "num_seeds": 3},
        {"agents": "explorler-ppo", "total_steps": 20_000},
        {"settings": {"algorithm.learning_rate": [1e-3, 1e-4], "algorithm.target_kl": [None, 0.1]}},
        {"sparse": "rigl", "sparsity": 0.5},
    ],
)
def test_a_run_that_its_cell_began_differs_in_nothing(arguments, begun):
    found = begun(**arguments)(**arguments)
    assert found.cells
    assert not found.failures
    assert all((cell.folder / "recipe.toml").exists() for cell in found.cells)
    assert {differences(cell) for cell in found.cells} == {""}


def test_a_run_that_is_not_there_differs_in_nothing(begun):
    (cell,) = begun()(agents="trpo").cells
    assert differences(cell) == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"num_envs": 4}, "num_envs 4 (8 there)"),
        ({"algorithm": {"learning_rate": 1e-3}}, "algorithm.learning_rate 0.001 (0.0003 there)"),
        ({"algorithm": {"target_kl": 0.1}}, "algorithm.target_kl 0.1 (0.015 there)"),
        ({"total_steps": 1024}, "total_steps 1024 (512 there)"),
        ({"eval_every": 100}, "eval_every 100 (not set there)"),
        ({"eval_episodes": 3}, "eval_episodes 3 (10 there)"),
        ({"policy": {"actor_hidden": [32]}}, "policy.actor_hidden 32 (64x64 there)"),
        (dict.fromkeys(("num_envs", "rollout_length", "eval_every", "eval_episodes"), 32), " and 1 more"),
    ],
)
def test_what_differs_is_said_in_one_line(arguments, said, begun):
    rate = {"algorithm": {"learning_rate": 3e-4}}
    (refused,) = begun(**rate)(**{**rate, **arguments}).failures
    assert "was begun with another recipe than the study now says: " in refused.reason
    assert said in refused.reason
    assert "\n" not in refused.reason


def test_a_cell_in_whose_place_another_run_lies_is_refused_finished_or_not_and_the_others_go_on(begun):
    found = begun(num_seeds=2)(num_seeds=3, num_envs=4)
    assert [list(cell.recipe.seeds) for cell in found.cells] == [[2]]
    assert [(x.label, x.arm, x.setting, x.code) for x in found.failures] == [("ppo", "ppo", {}, 4)]


def test_a_run_that_was_given_more_steps_is_that_of_a_study_with_more(begun, tmp_path):
    cells_of = begun()
    (refused,) = cells_of(total_steps=1024).failures
    folder = tmp_path / "fake_envs:Point-v0" / "ppo" / "seeds-0-0"
    assert f"; rlsparse train --resume {folder} --total-steps 1024, undo the change" in refused.reason
    run, recipe, _, _ = directory.reopen(folder)
    with run.released_on_error():
        extend(run, recipe, 1024)
    run.release()
    assert not cells_of(total_steps=1024).failures


def test_a_run_of_other_seeds_than_its_name_is_refused(begun):
    cells_of = begun(num_seeds=2)
    (cell,) = cells_of(num_seeds=2).cells
    cell.folder.rename(cell.folder.with_name("seeds-0-2"))
    (refused,) = cells_of(num_seeds=3).failures
    assert "holds seeds 0 to 1, not those of its name" in refused.reason


def test_a_run_that_is_damaged_is_refused(begun):
    cells_of = begun()
    (cell,) = cells_of().cells
    (cell.folder / "recipe.toml").write_text("env = ")
    (refused,) = cells_of().failures
    assert "not a TOML file" in refused.reason
