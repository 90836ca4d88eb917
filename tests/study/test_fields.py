"""Fields by dotted name, whatever component has them, and tables of some of them."""

import pytest

from rlsparse.advantage.estimators import TDLambda
from rlsparse.errors import UsageError
from rlsparse.explore.explorler import ExploRLer
from rlsparse.learner.bounds import out_of_bounds
from rlsparse.run.recipe import Recipe
from rlsparse.sparse.config import Sparse
from rlsparse.study.fields import check_field, flat, known_fields, merged, nested, short_name, value_in, without


@pytest.mark.parametrize("name", ["total_steps", "algorithm.learning_rate", "explore.probe.episodes", "sparsity"])
def test_a_field_of_any_component_is_known(name):
    check_field(name, "here")


@pytest.mark.parametrize("name", ["env_kwargs.anything", "algorithm.kind", "algorithm.objective.kind"])
def test_arguments_of_environments_and_kinds_are_known(name):
    check_field(name, "here")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("algorithm.learning_ratee", "algorithm.learning_rate"),
        ("learning_rate", "algorithm.learning_rate"),
        ("lr", "algorithm.learning_rate"),
        ("ent_coef", "algorithm.entropy_coef"),
        ("gama", "advantage.gamma"),
        ("total_step", "total_steps"),
        ("env", "envs"),
        ("agent", "agents"),
        ("seeds", "num_seeds"),
    ],
)
def test_an_unknown_field_is_answered_with_the_nearest_one(name, near):
    with pytest.raises(UsageError, match=f"^here: unknown field {name}: did you mean {near}\\?"):
        check_field(name, "here")


def test_every_field_has_a_short_name_of_its_own():
    names = {short_name(name) for name in known_fields()}
    assert len(names) == len(known_fields())


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("algorithm.learning_rate", "learning_rate"),
        ("advantage.gamma", "gamma"),
        ("explore.proposal.gamma", "proposal.gamma"),
        ("explore.probe.episodes", "probe.episodes"),
        ("total_steps", "total_steps"),
    ],
)
def test_the_least_deep_field_has_the_shortest_name(name, short):
    assert short_name(name) == short


def test_keys_may_hold_dots_and_hyphens():
    flatly = {"algorithm.learning-rate": 1.0, "num-envs": 2}
    assert nested(flatly, "here") == {"algorithm": {"learning_rate": 1.0}, "num_envs": 2}


def test_arguments_of_environments_are_left_as_they_are():
    assert nested({"env_kwargs": {"a-b": {"c.d": 1}}}, "here") == {"env_kwargs": {"a-b": {"c.d": 1}}}


def test_the_name_of_a_kind_is_its_table():
    assert nested({"algorithm": "trpo"}, "here") == {"algorithm": {"kind": "trpo"}}
    assert nested({"init": "ppo"}, "here") == {"init": {"policy": "ppo"}}


def test_none_is_a_word_for_numbers_that_may_be_none():
    assert nested({"algorithm.target_kl": "None", "eval_every": "none"}, "here") == {
        "algorithm": {"target_kl": None},
        "eval_every": None,
    }
    assert nested({"num_envs": "none"}, "here") == {"num_envs": "none"}


@pytest.mark.parametrize(
    ("base", "other", "both"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"x": 1, "y": 2}}),
        ({"a": {"x": 1}}, {"a": {"kind": "k"}}, {"a": {"x": 1, "kind": "k"}}),
        ({"a": {"kind": "k", "x": 1}}, {"a": {"y": 2}}, {"a": {"kind": "k", "x": 1, "y": 2}}),
        ({"a": {"kind": "k", "x": 1}}, {"a": {"kind": "l"}}, {"a": {"kind": "l"}}),
        ({"a": {"x": 1}}, {"a": {"kind": "none"}}, {"a": {"kind": "none"}}),
        ({"a": {"x": 1}}, {"a": None}, {"a": None}),
    ],
)
def test_of_two_tables_the_other_goes_first(base, other, both):
    assert merged(base, other) == both


def test_parts_go_over_an_object():
    both = merged({"advantage": TDLambda(gamma=0.9)}, {"advantage": {"gamma": 0.5}})["advantage"]
    assert (both["kind"], both["gamma"]) == ("td-lambda", 0.5)


def test_flat_tells_a_kind_as_its_component():
    assert flat({"a": {"kind": "k", "x": 1}, "b": 2}) == {"a": "k", "a.x": 1, "b": 2}


def test_without_leaves_fields_out_and_tables_that_are_empty_then():
    assert without({"a": {"kind": "k", "x": 1}, "b": {"y": 2}, "c": 3}, {"a", "b.y"}) == {"a": {"x": 1}, "c": 3}


def test_values_are_found_in_a_recipe():
    recipe = Recipe("Hopper-v5", env_kwargs={"m": 2}, sparse=Sparse(0.7), explore=ExploRLer())
    assert not list(out_of_bounds(recipe))
    names = ("algorithm", "algorithm.epochs", "sparse", "sparsity", "env_kwargs.m", "init", "policy.actor_hidden")
    assert [value_in(recipe, name) for name in names] == ["ppo", 10, "rigl", 0.7, 2, None, (64, 64)]
