"""The arguments of `rlsparse.sweep` mean a study: names, classes, numbers of numpy, arms as dicts."""

from pathlib import Path

import numpy as np
import pytest
from fake_envs import Point

from rlsparse.errors import UsageError
from rlsparse.study.arguments import study_from_arguments
from rlsparse.study.study import cells


def cells_of(**arguments):
    return cells(study_from_arguments(**arguments), Path("runs")).cells


def test_one_name_is_a_list_of_one():
    (cell,) = cells_of(envs="Hopper", agents="trpo")
    assert (cell.recipe.env, cell.arm) == ("Hopper-v5", "trpo")


def test_an_environment_may_be_a_class():
    (cell,) = cells_of(envs=Point)
    assert cell.recipe.env == "fake_envs:Point"


def test_values_may_be_numbers_and_arrays_of_numpy():
    found = cells_of(envs="Hopper", settings={"algorithm.learning_rate": np.geomspace(1e-5, 1e-3, 3)})
    assert [cell.recipe.algorithm.learning_rate for cell in found] == [*np.geomspace(1e-5, 1e-3, 3).tolist()]
    assert all(type(cell.recipe.algorithm.learning_rate) is float for cell in found)


def test_settings_may_be_nested():
    found = cells_of(envs="Hopper", settings={"algorithm": {"epochs": (3, 5)}})
    assert [cell.setting for cell in found] == [{"algorithm.epochs": 3}, {"algorithm.epochs": 5}]


def test_arguments_go_before_a_file(tmp_path):
    file = tmp_path / "study.toml"
    file.write_text('envs = ["Hopper"]\nagents = ["ppo", "trpo"]\nnum_envs = 4')
    (cell,) = cells_of(study=file, agents=["ppo"], num_envs=2)
    assert cell.recipe.num_envs == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "which environments?"),
        ({"envs": 3}, "envs must be a list"),
        ({"envs": "Hopper", "agents": [3]}, "agents must be text or a path, not 3"),
        ({"env": "Hopper"}, "unknown field env: did you mean envs?"),
        ({"envs": "Hopper", "setings": {}}, "unknown field setings: did you mean settings?"),
        ({"envs": "Hopper", "sweep": {}}, "unknown field sweep: did you mean sweep, or settings in Python?"),
        ({"envs": "Hopper", "num_envs": [2, 4]}, "num_envs has several values, [2, 4]: lists of them"),
        ({"envs": "Hopper", "num_env": 3}, "unknown field num_env: did you mean num_envs?"),
        ({"envs": "Hopper", "settings": {"num_envs": 3}}, "sweep num_envs must be a list"),
        ({"envs": "Hopper", "arms": {"a": {"agnt": "ppo"}}}, "arms.a: unknown field agnt: did you mean agent?"),
        ({"envs": "Hopper", "settings": ["num_envs"]}, "settings must be a dict, not ['num_envs']"),
        ({"envs": "Hopper", "like": "x", "arms": {"a": {"agent": "ppo"}}}, "like and arms both say which recipe"),
        ({"envs": "Hopper", "like": "nosuch"}, "--like nosuch: expected a run directory"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments, said):
    with pytest.raises(UsageError) as told:
        cells_of(**arguments)
    assert said in str(told.value)
