"""Recipes: a document says all of a recipe, and every mistake in one is told with what would be right."""

import math
from copy import deepcopy
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlsparse import cards
from rlsparse.advantage.gae import GAE
from rlsparse.errors import UsageError
from rlsparse.policy import ActorCritic
from rlsparse.ppo import PPO
from rlsparse.recipe import Recipe, check, from_dict, from_toml, to_dict, to_toml

counts = st.integers(1, 500)
positive = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
share = st.floats(0, 1)
hidden = st.lists(counts, max_size=3).map(tuple)
recipes = st.builds(
    Recipe,
    env=st.text(st.characters(codec="utf-8"), min_size=1),
    seed=st.integers(0, 2**40),
    num_seeds=counts,
    total_steps=counts,
    num_envs=counts,
    rollout_length=st.integers(2, 500),
    eval_every=st.none() | counts,
    eval_episodes=counts,
    policy=st.builds(
        ActorCritic, hidden, hidden, st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.booleans()
    ),
    advantage=st.builds(GAE, share, share),
    algorithm=st.builds(
        PPO,
        learning_rate=positive,
        learning_rate_decay=st.booleans(),
        epochs=counts,
        minibatches=st.just(1),
        clip_range=positive,
        entropy_coef=positive | st.just(0.0),
        value_coef=positive | st.just(0.0),
        max_grad_norm=positive,
        target_kl=st.none() | positive,
        normalise_advantages=st.booleans(),
        adam_epsilon=positive,
    ),
)
RECIPE = Recipe("Pendulum-v1")


@given(recipes)
def test_a_recipe_equals_the_one_read_from_its_document(recipe):
    assert from_toml(to_toml(recipe), "recipe.toml") == recipe


def test_a_document_names_every_field_that_is_set():
    assert set(to_dict(RECIPE)) == {f.name for f in fields(Recipe)} - {"eval_every"}
    assert set(to_dict(RECIPE)["algorithm"]) == {f.name for f in fields(PPO)} - {"target_kl"}


def test_what_a_document_leaves_out_is_the_default():
    assert from_toml('env = "Pendulum-v1"', "recipe.toml") == RECIPE


def test_a_whole_number_is_a_number():
    recipe = from_dict({"env": "Pendulum-v1", "advantage": {"gamma": 1}}, "card")
    assert type(recipe.advantage.gamma) is float


@pytest.mark.parametrize("env_id", cards.environments())
@pytest.mark.parametrize("agent", cards.agents().values(), ids=lambda card: card.name)
def test_a_shipped_card_is_a_recipe_which_it_does_not_alter(agent, env_id):
    values = {"env": env_id, **agent.recipe_for(env_id)}
    kept = deepcopy(values)
    recipe = to_dict(from_dict(values, str(agent.path)))
    assert values == kept
    assert agent.recipe_for(env_id) == {key: x for key, x in kept.items() if key != "env"}
    for key, x in kept.items():
        assert (recipe[key] | x if isinstance(x, dict) else x) == recipe[key]


# What follows from a recipe


def test_budget_arithmetic():
    recipe = replace(RECIPE, seed=5, num_seeds=3, num_envs=4, rollout_length=25, total_steps=1001)
    assert list(recipe.seeds) == [5, 6, 7]
    assert recipe.batch_size == 100
    assert recipe.iterations == 11  # the last rollout overruns the budget
    assert recipe.eval_interval == 50
    assert replace(recipe, eval_every=7).eval_interval == 7
    assert replace(recipe, total_steps=5).eval_interval == 1


# Mistakes


def changed(name, value):
    component, _, field = name.rpartition(".")
    if component:
        return replace(RECIPE, **{component: replace(getattr(RECIPE, component), **{field: value})})
    return replace(RECIPE, **{field: value})


WHOLE, ABOVE_ZERO, NOT_NEGATIVE = "a positive whole number", "a positive number", "zero or a positive number"
BROKEN = [
    *((name, 0, WHOLE) for name in ("num_seeds", "total_steps", "num_envs", "rollout_length", "eval_episodes")),
    ("num_envs", -1, WHOLE),
    ("seed", -1, "zero or a positive whole number"),
    ("eval_every", 0, "a positive number of steps"),
    *((f"algorithm.{name}", 0, WHOLE) for name in ("epochs", "minibatches")),
    *(
        (f"algorithm.{name}", value, ABOVE_ZERO)
        for name in ("learning_rate", "clip_range", "max_grad_norm", "adam_epsilon", "target_kl")
        for value in (0.0, -1.0, math.inf, math.nan)
    ),
    *(
        (f"algorithm.{name}", value, NOT_NEGATIVE)
        for name in ("entropy_coef", "value_coef")
        for value in (-1.0, math.inf, math.nan)
    ),
    *(
        (f"advantage.{name}", value, "a number from 0 to 1")
        for name in ("gamma", "gae_lambda")
        for value in (-0.1, 1.1, math.nan)
    ),
    *((f"policy.{name}", (8, 0), "widths from 1 to ") for name in ("actor_hidden", "critic_hidden")),
    *(("policy.log_std_init", value, "a finite number") for value in (math.inf, math.nan)),
]


@pytest.mark.parametrize(("name", "value", "expected"), BROKEN)
def test_a_value_out_of_range_is_told_with_its_flag_and_what_is_expected(name, value, expected):
    given_text = " ".join(map(str, value)) if isinstance(value, tuple) else value
    with pytest.raises(UsageError) as error:
        check(changed(name, value))
    assert str(error.value).startswith(f"--{name.replace('_', '-')} is {given_text}: expected {expected}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("advantage.gamma", 1.0),
        ("advantage.gae_lambda", 0.0),
        ("algorithm.value_coef", 0.0),
        ("seed", 0),
        ("policy.actor_hidden", ()),
    ],
)
def test_the_ends_of_ranges_are_allowed(name, value):
    check(changed(name, value))


@given(st.integers(1, 12), st.integers(2, 60), st.integers(1, 2000), st.booleans())
def test_a_number_of_minibatches_that_does_not_fit_is_answered_by_the_nearest_that_does(envs, length, parts, normalise):
    def recipe(minibatches):
        ppo = PPO(minibatches=minibatches, normalise_advantages=normalise)
        return replace(RECIPE, num_envs=envs, rollout_length=length, algorithm=ppo)

    batch, fewest = envs * length, 2 if normalise else 1
    fitting = [n for n in range(1, batch + 1) if batch % n == 0 and batch // n >= fewest]
    if parts in fitting:
        check(recipe(parts))
        return
    with pytest.raises(UsageError) as error:
        check(recipe(parts))
    if batch % parts == 0:
        assert "leaves one sample in each minibatch" in str(error.value)
        return
    assert f"= {batch} samples: the nearest number that does is " in str(error.value)
    suggested = int(str(error.value).rpartition(" ")[2])
    check(recipe(suggested))
    assert abs(suggested - parts) == min(abs(n - parts) for n in fitting)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_seeds": 2**11, "num_envs": 2**10}, "makes 2,097,152 environments: expected at most 1,048,576"),
        ({"num_seeds": 2**11, "eval_episodes": 2**10}, "makes 2,097,152 environments: expected at most 1,048,576"),
        ({"rollout_length": 2**28}, "makes a rollout of 2,147,483,648 steps: expected at most 1,073,741,824"),
    ],
)
def test_what_no_machine_holds_is_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        check(replace(RECIPE, **changes))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("env = ", "card.toml is not valid TOML: "),
        ("seed = 1", "card.toml: missing key env"),
        ('env = "E"\nnum_env = 4', "card.toml: unknown key num_env: did you mean num_envs?"),
        (
            'env = "E"\n[algorithm]\nlearning_rat = 1',
            "card.toml: unknown key algorithm.learning_rat: did you mean algorithm.learning_rate?",
        ),
        ('env = "E"\n[advantage]\nxyz = 1', "card.toml: unknown key advantage.xyz (known: gae_lambda, gamma)"),
        ("env = 3", "card.toml: env = 3 should be a value of type str"),
        ('env = "E"\nnum_envs = 4.0', "card.toml: num_envs = 4.0 should be a value of type int"),
        ('env = "E"\nnum_envs = true', "card.toml: num_envs = True should be a value of type int"),
        ('env = "E"\neval_every = "often"', "card.toml: eval_every = 'often' should be a value of type int"),
        ('env = "E"\nalgorithm = "PPO"', "card.toml: algorithm = 'PPO' should be a value of type PPO"),
        (
            'env = "E"\n[algorithm]\nclip_range = true',
            "card.toml: algorithm.clip_range = True should be a value of type float",
        ),
        (
            'env = "E"\n[algorithm]\nlearning_rate_decay = 1',
            "card.toml: algorithm.learning_rate_decay = 1 should be a value of type bool",
        ),
        (
            'env = "E"\n[policy]\nactor_hidden = [8, 8.5]',
            "card.toml: policy.actor_hidden = [8, 8.5] should be a value of type tuple",
        ),
        ('env = "E"\n[algorithm]\nclip_range = nan', "--algorithm.clip-range is nan: expected a positive number"),
    ],
)
def test_a_mistake_in_a_document_is_told_with_its_place(document, message):
    with pytest.raises(UsageError) as error:
        from_toml(document, "card.toml")
    assert str(error.value).startswith(message)
