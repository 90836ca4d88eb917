"""A run that is there already is that of its cell, or one line says what it has otherwise."""

import pytest

from rlsparse.errors import RunDirectoryError
from rlsparse.run import directory
from rlsparse.run.extension import extend
from rlsparse.run.flags import TrainFlags
from rlsparse.study.arguments import study_from_arguments
from rlsparse.study.changed import differences
from rlsparse.study.study import cells
from rlsparse.train.training import planned


@pytest.fixture
def begun(tmp_path):
    """Begin the runs of a study, as a driver does; returns the cells of another study in the same folder."""

    def cells_of(**arguments):
        study = study_from_arguments(**{"envs": "fake_envs:Point-v0", "total_steps": 512, **arguments})
        return cells(study, tmp_path).cells

    def begin(**arguments):
        for cell in cells_of(**arguments):
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
    assert found
    assert all((cell.folder / "recipe.toml").exists() for cell in found)
    assert [differences(cell) for cell in found] == [""] * len(found)


def test_a_run_that_is_not_there_differs_in_nothing(begun):
    (cell,) = begun()(agents="trpo")
    assert differences(cell) == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"num_envs": 4}, "num_envs 4 (8 there)"),
        ({"algorithm": {"learning_rate": 1e-3}}, "algorithm.learning_rate 0.001 (0.0003 there)"),
        ({"algorithm": {"target_kl": 0.1}}, "algorithm.target_kl 0.1 (not set there)"),
        ({"total_steps": 1024}, "total_steps 1024 (512 there)"),
        ({"eval_every": 100}, "eval_every 100 (not set there)"),
        ({"eval_episodes": 3}, "eval_episodes 3 (10 there)"),
        ({"policy": {"actor_hidden": [32]}}, "policy.actor_hidden 32 (64x64 there)"),
    ],
)
def test_what_differs_is_said_in_one_line(arguments, said, begun):
    (cell,) = begun(agents="ppo", algorithm={"learning_rate": 3e-4})(
        agents="ppo", **{"algorithm": {"learning_rate": 3e-4}, **arguments}
    )
    told = differences(cell)
    assert said in told.replace("; undo", " (undo")
    assert "begun with another recipe than the study now says" in told
    assert "\n" not in told


def test_a_run_that_was_given_more_steps_is_that_of_a_study_with_more(begun):
    (cell,) = begun(agents="ppo")(agents="ppo", total_steps=1024)
    assert f"; rlsparse train --resume {cell.folder} --total-steps 1024, undo the change" in differences(cell)
    run, recipe, _, _ = directory.reopen(cell.folder)
    with run.released_on_error():
        extend(run, recipe, 1024)
    run.release()
    assert differences(cell) == ""


def test_many_differences_are_counted(begun):
    (cell,) = begun(agents="ppo")(agents="ppo", num_envs=4, rollout_length=64, eval_episodes=2, eval_every=64)
    assert "and 1 more" in differences(cell)


def test_a_run_of_other_seeds_than_its_name_is_refused(begun, tmp_path):
    (cell,) = begun(agents="ppo", num_seeds=2)(agents="ppo", num_seeds=2)
    cell.folder.rename(cell.folder.with_name("seeds-0-2"))
    other = cells(study_from_arguments(envs="fake_envs:Point-v0", agents="ppo", num_seeds=3), tmp_path).cells[0]
    with pytest.raises(RunDirectoryError, match="holds seeds 0 to 1, not those of its name"):
        differences(other)


def test_a_run_that_is_damaged_is_refused(begun):
    (cell,) = begun()()
    (cell.folder / "recipe.toml").write_text("env = ")
    with pytest.raises(RunDirectoryError, match="not a TOML file"):
        differences(cell)
