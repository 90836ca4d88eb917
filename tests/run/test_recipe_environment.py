"""The environment in a recipe: its arguments and wrappers, which every file can hold."""

import json
import math
import sys

import pytest

from rlsparse.errors import UsageError
from rlsparse.run.flags import train_flags
from rlsparse.run.recipe import Recipe, from_dict, from_toml, to_dict, to_toml
from rlsparse.sim.environment import Environment


def test_arguments_come_back_from_every_file_as_they_were_given():
    kwargs = {"healthy_z_range": (0.7, math.inf), "lookat": {"at": [1, -math.inf]}, "name": "x", "flag": False, "n": 3}
    recipe = Recipe("Pendulum-v1", env_kwargs=kwargs, wrappers=("a.B", "c:D"))
    assert recipe.env_kwargs["healthy_z_range"] == [0.7, math.inf]
    assert from_toml(to_toml(recipe), "recipe.toml") == recipe
    text = json.dumps(to_dict(recipe), allow_nan=False)
    assert from_dict(json.loads(text), "policy") == recipe
    assert recipe.environment == Environment("Pendulum-v1", recipe.env_kwargs, ("a.B", "c:D"))


def test_arguments_of_a_task_are_checked_with_the_recipe_and_of_others_when_they_are_made():
    with pytest.raises(UsageError, match="--env-kwargs.ctrl-cost-weight is much: expected a number"):
        from_dict({"env": "Hopper-v5", "env_kwargs": {"ctrl_cost_weight": "much"}}, "recipe.toml")
    from_dict({"env": "nowhere:Env-v0", "env_kwargs": {"x": "much"}}, "recipe.toml")
    assert "nowhere" not in sys.modules


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"env_kwargs": {"a.b": 1}}, "a.b cannot be given to an environment"),
        ({"env_kwargs": [1]}, "env_kwargs must be a table, not"),
        ({"wrappers": "a.B"}, "wrappers must be a list, not"),
        ({"wrappers": [1]}, "wrappers must be text, not 1"),
        ({"wrappers": ["a.B"] * 33}, "--wrappers names 33 classes: expected at most 32"),
        ({"simulator": "warp", "env": "Ant-v5", "wrappers": ["a.B"]}, "--simulator warp: --wrappers need single"),
    ],
)
def test_arguments_and_wrappers_that_cannot_be_are_told(data, told):
    with pytest.raises(UsageError, match=told):
        from_dict({"env": "Pendulum-v1", **data}, "recipe.toml")


def test_arguments_of_the_command_line_are_put_beside_those_of_an_agent_card(tmp_path):
    card = 'name = "own"\ndescription = "one"\n[recipe.env_kwargs]\ng = 5.0\n'
    (tmp_path / "card.toml").write_text(card + '[environments."Pendulum-v1".env_kwargs]\nmax_episode_steps = 30\n')
    flags = ["--env", "Pendulum-v1", "--agent", str(tmp_path)]
    assert train_flags(flags)[1].env_kwargs == {"g": 5.0, "max_episode_steps": 30}
    assert train_flags([*flags, "--env-kwargs.g", "2"])[1].env_kwargs == {"g": 2, "max_episode_steps": 30}
