"""A run is named by its agent, and by the kinds of components that are not the agent's."""

import pytest

from rlsparse.run import choose
from rlsparse.run.command_line import values
from rlsparse.run.naming import run_name


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ("", "ppo"),
        ("--advantage nstep --advantage.n 8", "ppo+nstep"),
        ("--advantage gae --advantage.gamma 0.9 --seed 3", "ppo"),
        ("--algorithm.objective cispo", "ppo+cispo"),
        ("--algorithm n-pg-igt", "ppo+n-pg-igt"),
        ("--algorithm trpo", "trpo"),
        ("--sparse rigl --sparsity 0.5 --advantage td-lambda", "ppo+rigl+td-lambda"),
        ("--advantage submodular --advantage.set-function facility-location", "ppo+submodular+facility-location"),
        ("--agent sparse-ppo --sparse none", "sparse-ppo+no-sparse"),
    ],
)
def test_a_run_is_named_by_the_kinds_that_differ_from_its_agent_s(flags, name):
    arguments = ["--env", "Pendulum-v1", *flags.split()]
    agent, usual = choose.chosen_recipe(values(choose.CHOOSING, arguments))
    assert run_name(agent, usual, choose.with_kinds(usual, arguments)) == name


def test_the_recipe_that_a_run_began_with_is_known_by_its_name_without_importing_anything():
    agent, recipe = choose.recipe_of_name("ppo+rigl+nstep", "nowhere:Env-v0", {"nstep"})
    assert (agent, recipe.env, recipe.sparse.rule) == ("ppo+rigl", "nowhere:Env-v0", choose.RULES["rigl"]())
    assert choose.recipe_of_name("ppo+nstep", "Ant-v5") is None
    assert choose.recipe_of_name("mine", "Ant-v5") is None
    assert choose.recipe_of_name("n-pg-igt+explorler", "Ant-v5") is None


@pytest.mark.parametrize(
    "chosen",
    [{"sparse": "set"}, {"explore": "explorler", "sparse": "dcil"}, {"agent": "sparse-ppo", "sparse": "none"}],
)
def test_every_name_that_flags_give_is_understood(chosen):
    name, recipe = choose.chosen_recipe({"env": "Hopper", **chosen})
    assert choose.recipe_of_name(name, "Hopper-v5") == (name, recipe)
