"""What Python code may say of a recipe: names of kinds, dicts of what differs, components; each as the flags say it."""

import inspect
from pathlib import Path

import gymnasium
import numpy as np
import pytest

import rlsparse
from rlsparse.advantage.estimators import NStep
from rlsparse.algorithms.ppo import PPO
from rlsparse.algorithms.trpo import TRPO
from rlsparse.errors import UsageError
from rlsparse.explore.explorler import ExploRLer
from rlsparse.learner.network import ActorCritic
from rlsparse.run import from_python
from rlsparse.run.flags import train_flags
from rlsparse.run.from_python import refuse_beside_resume, settings


def recipe(env="Hopper", agent=None, device="cpu", **fields):
    """Agent and recipe for these arguments."""
    return from_python.recipe(env, agent, device, fields)


ALIKE = {
    "nothing": ({}, ""),
    "an agent": ({"agent": "trpo"}, "--agent trpo"),
    "numbers": ({"num_seeds": 3, "total_steps": 5000}, "--num-seeds 3 --total-steps 5000"),
    "part of a component": ({"algorithm": {"learning_rate": 1e-4}}, "--algorithm.learning-rate 1e-4"),
    "an algorithm by name": ({"algorithm": "trpo"}, "--algorithm trpo"),
    "an algorithm of no card": ({"algorithm": {"kind": "n-harpg"}}, "--algorithm n-harpg"),
    "a kind within": ({"algorithm": {"objective": "cispo"}}, "--algorithm.objective cispo"),
    "a kind within, by a dict": (
        {"algorithm": {"objective": {"kind": "cispo"}, "epochs": 4}},
        "--algorithm.objective cispo --algorithm.epochs 4",
    ),
    "another kind with a field": ({"advantage": {"kind": "nstep", "n": 8}}, "--advantage nstep --advantage.n 8"),
    "widths": ({"policy": {"actor_hidden": (32, 32)}}, "--policy.actor-hidden 32 32"),
    "probing": ({"explore": "explorler"}, "--explore explorler"),
    "probing as of a card": ({"explore": "explorler-ppo"}, "--explore explorler-ppo"),
    "probing with a field": (
        {"explore": {"budget_fraction": 0.2}},
        "--explore explorler --explore.budget-fraction 0.2",
    ),
    "a field of the card's own probing": (
        {"agent": "explorler-ppo-paper", "explore": {"start": 0.5}},
        "--agent explorler-ppo-paper --explore.start 0.5",
    ),
    "a field of the card's own sparse networks": (
        {"agent": "sparse-trpo", "sparse": {"init": "masked"}},
        "--agent sparse-trpo --sparse.init masked",
    ),
    "another rule than the card's": (
        {"agent": "sparse-ppo", "sparse": {"rule": "rigl", "drop_by": "kl"}},
        "--agent sparse-ppo --sparse rigl --sparse.drop-by kl",
    ),
    "no probing": ({"agent": "explorler-ppo", "explore": None}, "--agent explorler-ppo --explore none"),
    "a rule": ({"sparse": "set", "sparsity": 0.8}, "--sparse set --sparsity 0.8"),
    "a rule in a dict": ({"sparse": {"rule": "static", "sparsity": 0.8}}, "--sparse static --sparsity 0.8"),
    "numbers of numpy": (
        {"num_envs": np.int64(4), "algorithm": {"learning_rate": np.float32(0.5)}},
        "--num-envs 4 --algorithm.learning-rate 0.5",
    ),
    "whole numbers that are floats": (
        {"eval_every": 1e4, "total_steps": np.float64(2e5)},
        "--eval-every 1e4 --total-steps 2e5",
    ),
    "arrays of numpy": (
        {"eval_every": np.array(500), "policy": {"actor_hidden": np.array([32, 32])}},
        "--eval-every 500 --policy.actor-hidden 32 32",
    ),
    "lists of numbers of numpy": ({"policy": {"actor_hidden": [np.int64(32)]}}, "--policy.actor-hidden 32"),
    "a component with numbers of numpy": ({"advantage": NStep(n=np.int64(8))}, "--advantage nstep --advantage.n 8"),
    "a share that is a number of numpy": (
        {"sparse": "set", "sparsity": np.float64(0.5)},
        "--sparse set --sparsity 0.5",
    ),
}


@pytest.mark.parametrize(("given", "flags"), ALIKE.values(), ids=ALIKE)
def test_arguments_mean_what_the_flags_mean(given, flags):
    agent, expected, _ = train_flags(["--env", "Hopper", *flags.split()])
    assert recipe(**given) == (agent, expected)


def test_flags_that_are_no_fields_are_whole_numbers_too():
    found = settings(keep_checkpoints=np.int64(3), checkpoint_every=1e4, env_workers=None)
    assert (found, *map(type, found.values())) == ({"keep_checkpoints": 3, "checkpoint_every": 10_000}, int, int)
    for x in (224.5, float("inf"), float("nan"), "4000", True):
        with pytest.raises(UsageError, match=f"^total_steps is {x!r}: expected a whole number$"):
            settings(total_steps=x)


def test_components_are_taken_as_they_are():
    policy = ActorCritic(actor_hidden=(16,), critic_hidden=(16,))
    _, found = recipe(policy=policy, advantage=NStep(n=3), algorithm=PPO(epochs=2), explore=ExploRLer(every=2))
    assert (found.policy, found.advantage, found.algorithm) == (policy, NStep(n=3), PPO(epochs=2))
    assert found.explore == ExploRLer(every=2)


def test_a_component_brings_the_card_of_its_algorithm():
    agent, found = recipe(algorithm=TRPO(damping=0.5))
    usual, card = recipe(algorithm="trpo")
    assert (agent, usual) == ("trpo", "trpo")
    assert found.algorithm == TRPO(damping=0.5)
    assert (found.num_envs, found.advantage) == (card.num_envs, card.advantage)


WRONG = {
    "a mistyped argument": ({"num_seed": 2}, "rlsparse.train: unknown argument num_seed: did you mean num_seeds?"),
    "a field of a component": (
        {"learning_rate": 1e-3},
        "rlsparse.train: unknown argument learning_rate: write algorithm={'learning_rate': ...}",
    ),
    "a name of another library": (
        {"lr": 1},
        "rlsparse.train: unknown argument lr: write algorithm={'learning_rate': ...}",
    ),
    "a list of seeds": ({"seeds": [0, 1]}, "rlsparse.train: unknown argument seeds: did you mean num_seeds?"),
    "an argument of train alone": (
        {"callback": 1},
        "rlsparse.train: unknown argument callback: did you mean callbacks?",
    ),
    "a class": ({"algorithm": PPO}, "rlsparse.train: PPO is a class: write PPO()"),
    "a class within": ({"algorithm": {"objective": PPO}}, "rlsparse.train: PPO is a class: write PPO()"),
    "yes": ({"sparse": True}, "rlsparse.train: sparse must be a name, a dict or an object, not True"),
    "a component for an agent": ({"agent": PPO()}, "agent must be text or a path, not PPO(learning_rate="),
    "a policy that is no file": ({"init": 5}, "init must be text or a path, not 5"),
    "no policy to begin with": ({"init": {"log_std": -1.0}}, "rlsparse.train: init needs a policy to begin with"),
    "no device": ({"device": None}, "device must be text or a path, not None"),
    "one wrapper": ({"wrappers": "a.b:C"}, "wrappers must be a list, as in wrappers=[...], not 'a.b:C'"),
    "a field far inside": ({"epsilon": 1}, "rlsparse.train: unknown argument epsilon: "),
    "a mistyped field": (
        {"algorithm": {"learning_rat": 1}},
        "rlsparse.train: unknown key algorithm.learning_rat: did you mean algorithm.learning_rate?",
    ),
    "a kind that there is not": (
        {"algorithm": "pp"},
        "rlsparse.train: algorithm.kind must be one of ppo, trpo, n-pg-igt, n-harpg, not 'pp'",
    ),
    "text for a number": ({"total_steps": "many"}, "rlsparse.train: total_steps must be a whole number, not 'many'"),
    "out of bounds": ({"total_steps": -1}, "--total-steps is -1: expected a positive whole number"),
    "sparsity of nothing": ({"sparsity": 0.5}, "--sparsity 0.5 needs --sparse, for example --sparse rigl"),
    "no environment": ({"env": None}, "which environment? e.g. rlsparse.train('HalfCheetah')"),
    "a mistyped environment": ({"env": "Hoper"}, "unknown environment 'Hoper': did you mean Hopper-v5?"),
}


@pytest.mark.parametrize(("given", "told"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_told_with_the_nearest_choice(given, told):
    with pytest.raises(UsageError) as caught:
        recipe(**given)
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize("given", [5, ["Hopper"], gymnasium.Env()], ids=["number", "list", "environment"])
def test_an_environment_is_a_name_or_a_class(given):
    assert from_python.class_name(Path("own.py:Env")) == "own.py:Env"
    with pytest.raises(UsageError, match="expected a name, as 'Hopper-v5' or 'file.py:Class', or a class, not "):
        from_python.class_name(given)


def test_every_argument_of_train_may_be_suggested():
    known = inspect.signature(rlsparse.train).parameters.keys() - {"env", "fields"}
    assert known <= set(from_python.OTHERS)


def test_what_a_short_budget_would_change_stays_where_it_is_asked_for():
    assert from_python.asked({"total_steps": 2000, "explore": "explorler"}) == []
    assert from_python.asked({"eval_episodes": 3, "explore": {"start": 0.5}}) == ["eval-episodes", "explore.start"]


def test_a_run_that_goes_on_keeps_its_recipe():
    refuse_beside_resume({}, agent=None, run_dir=None)
    with pytest.raises(UsageError, match="num_envs does not go with resume: a resumed run keeps its recipe"):
        refuse_beside_resume({"num_envs": 2}, agent=None)
    with pytest.raises(UsageError, match="run_dir does not go with resume"):
        refuse_beside_resume({}, run_dir=Path("x"))


@pytest.mark.parametrize(
    ("explore", "asked"),
    [
        ({"start": 0.5}, ["explore.start"]),
        ({"budget_fraction": 0.2}, []),
        (ExploRLer(), ["explore.start"]),
        ("explorler", []),
        (None, []),
    ],
)
def test_a_start_of_probing_is_asked_for_where_it_is_given(explore, asked):
    assert from_python.asked({"explore": explore}) == asked
