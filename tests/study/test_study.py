"""A study has a cell for each of its arms, environments, settings and ranges of seeds: what train makes of each."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from rlsparse.advantage.estimators import NStep
from rlsparse.algorithms.ppo import PPO
from rlsparse.errors import RlsparseError, UsageError
from rlsparse.run import directory, from_python
from rlsparse.run.flags import train_flags
from rlsparse.run.recipe import Recipe, check
from rlsparse.study.arguments import study_from_arguments
from rlsparse.study.fields import known_fields
from rlsparse.study.study import cells

OUT = Path("runs/x")

ARMS = {"wide": {"agent": "ppo", "policy": {"actor_hidden": [256, 256]}}}

RATES = {"algorithm.learning_rate": [1e-4, 3e-4]}


def cells_of(**arguments):
    return cells(study_from_arguments(**{"envs": ["Hopper"], **arguments}), OUT)


def test_arms_times_environments_times_settings_are_all_combined():
    found = cells_of(
        envs=["HalfCheetah", "Hopper"],
        agents=["ppo", "trpo"],
        arms=ARMS,
        settings={**RATES, "advantage.gamma": [0.9, 0.99, 0.995]},
        num_seeds=5,
    )
    assert not found.failures
    assert len({cell.folder for cell in found.cells}) == len(found.cells) == 3 * 2 * 2 * 3
    assert {cell.recipe.num_seeds for cell in found.cells} == {5}
    for cell in found.cells:
        check(cell.recipe)
        assert cell.recipe.algorithm.learning_rate == cell.setting["algorithm.learning_rate"]
        assert cell.recipe.advantage.gamma == cell.setting["advantage.gamma"]
        assert cell.recipe.policy.actor_hidden == ((256, 256) if cell.arm == "wide" else (64, 64))


def test_folder_label_and_agent_tell_the_cell():
    cell = cells_of(arms=ARMS, settings=RATES, num_seeds=10).cells[1]
    assert cell.folder == OUT / "Hopper-v5" / "wide" / "learning_rate=0.0003" / "seeds-0-9"
    assert cell.label == "wide, learning_rate 0.0003"
    assert (cell.arm, cell.agent, cell.setting) == ("wide", "ppo", {"algorithm.learning_rate": 3e-4})


def test_without_settings_there_is_no_folder_of_one():
    (cell,) = cells_of(agents="ppo", seed=3, num_seeds=2).cells
    assert cell.folder == OUT / "Hopper-v5" / "ppo" / "seeds-3-4"
    assert (cell.label, cell.setting) == ("ppo", {})


@pytest.mark.parametrize(
    ("arguments", "flags"),
    [
        ({}, ""),
        ({"agents": ["trpo"], "total_steps": 1e5}, "--agent trpo --total-steps 1e5"),
        ({"settings": {"algorithm.epochs": [3]}}, "--algorithm.epochs 3"),
        ({"settings": {"algorithm": ["trpo"]}}, "--algorithm trpo"),
        ({"settings": {"advantage": ["td-lambda"]}}, "--advantage td-lambda"),
        ({"settings": {"sparse": ["set"]}, "sparse": {"sparsity": 0.7}}, "--sparse set --sparse.sparsity 0.7"),
        ({"settings": {"sparsity": [0.7]}, "sparse": "rigl"}, "--sparse rigl --sparsity 0.7"),
        ({"settings": {"sparse": ["none"]}, "agents": ["sparse-ppo"]}, "--agent sparse-ppo --sparse none"),
        ({"settings": {"explore": ["explorler"]}}, "--explore explorler"),
        ({"settings": {"explore": ["explorler-ppo-racing"]}}, "--explore explorler-ppo-racing"),
        (
            {"settings": {"explore": ["explorler-ppo-racing"]}, "explore": {"start": 0.5}},
            "--explore explorler-ppo-racing --explore.start 0.5",
        ),
        (
            {"settings": {"explore.probe": ["racing"]}, "explore": "explorler"},
            "--explore explorler --explore.probe racing",
        ),
        ({"settings": {"init": ["ppo"]}}, "--init ppo"),
        ({"settings": {"init": ["ppo"]}, "init": {"log_std": -1.0}}, "--init ppo --init.log-std -1"),
        ({"settings": {"policy.actor_hidden": [[32, 32]]}}, "--policy.actor-hidden 32 32"),
        ({"settings": {"env_kwargs.healthy_reward": [2.0]}}, "--env-kwargs.healthy-reward 2.0"),
        ({"eval_every": 500, "eval_episodes": 3}, "--eval-every 500 --eval-episodes 3"),
        ({"device": "cuda"}, "--device cuda"),
    ],
)
def test_a_cell_is_what_train_makes_of_the_same_words(arguments, flags):
    agent, recipe, _ = train_flags(["--env", "Hopper", *flags.split()])
    (cell,) = cells_of(**arguments).cells
    assert cell.recipe == recipe
    assert cell.agent.split("+")[0] == agent.split("+")[0]


def test_an_arm_may_be_like_a_run(tmp_path):
    old = Recipe("Pendulum-v1", seed=3, num_envs=2, advantage=NStep(n=8), eval_episodes=7)
    directory.create(old, "ppo+n-step", tmp_path, tmp_path / "old", unfitted={"eval-every": None}).release()
    same, other = cells_of(envs=["Pendulum", "Hopper"], like=str(tmp_path / "old"), num_envs=4).cells
    assert (same.recipe, same.agent) == (replace(old, num_envs=4), "ppo+nstep+clip")
    assert other.recipe == replace(old, env="Hopper-v5", num_envs=4)
    assert same.asked == ("eval-episodes", "explore.start")  # as in the run, which asked for them
    assert cells_of(envs=(), like=str(tmp_path / "old")).cells[0].recipe.env == "Pendulum-v1"


def test_an_arm_may_differ_by_environment():
    arms = {"a": {"agent": "ppo", "num_envs": 4, "environments": {"hopper": {"num_envs": 2, "algorithm.epochs": 3}}}}
    cheetah, hopper = cells_of(envs=["HalfCheetah", "Hopper"], arms=arms).cells
    assert (cheetah.recipe.num_envs, cheetah.recipe.algorithm.epochs) == (4, 10)
    assert (hopper.recipe.num_envs, hopper.recipe.algorithm.epochs) == (2, 3)


def test_an_arm_goes_before_what_all_cells_have_in_common():
    common, other = cells_of(agents=["ppo"], arms={"a": {"agent": "ppo", "num_envs": 4}}, num_envs=2).cells
    assert (common.recipe.num_envs, other.recipe.num_envs) == (2, 4)


def test_an_arm_of_another_kind_keeps_nothing_of_a_kind_that_is_named_for_all():
    arms = {"a": {"agent": "ppo", "advantage": "td-lambda"}}
    named = cells_of(arms=arms, advantage={"kind": "nstep", "n": 4}).cells[0]
    assert named.recipe == from_python.recipe("Hopper", "ppo", "auto", {"advantage": "td-lambda"})[1]


def test_components_may_be_given_as_objects():
    slow, fast = cells_of(settings={"algorithm": [PPO(learning_rate=1e-5), PPO(learning_rate=1e-3)]}).cells
    assert (slow.recipe.algorithm, fast.recipe.algorithm) == (PPO(learning_rate=1e-5), PPO(learning_rate=1e-3))
    assert slow.folder != fast.folder


def test_the_usual_agent_of_each_environment_names_its_arm():
    agents = {cell.recipe.env: cell.arm for cell in cells_of(envs=["Hopper", "HalfCheetah"]).cells}
    assert agents == {"Hopper-v5": "ppo", "HalfCheetah-v5": "ppo"}


def test_an_arm_without_a_name_is_called_alike_in_all_settings():
    assert {cell.arm for cell in cells_of(settings={"sparse": ["none", "rigl"]}).cells} == {"ppo"}


def test_what_one_algorithm_has_not_costs_only_its_cells():
    found = cells_of(agents=["ppo", "trpo"], settings={"algorithm.epochs": [3, 5]})
    assert [cell.label for cell in found.cells] == ["ppo, epochs 3", "ppo, epochs 5"]
    assert [x.label for x in found.failures] == ["trpo, epochs 3", "trpo, epochs 5"]
    assert {x.env for x in found.failures} == {"Hopper-v5"}
    assert [(x.arm, x.setting) for x in found.failures] == [("trpo", {"algorithm.epochs": x}) for x in (3, 5)]
    assert {x.reason for x in found.failures} == {"unknown key algorithm.epochs: trpo has none, use ppo"}


def test_a_policy_that_is_not_there_costs_only_its_cells():
    found = cells_of(settings={"init": ["none", "runs/none"]})
    assert [cell.label for cell in found.cells] == ["ppo, init none"]
    assert [(x.reason, x.code) for x in found.failures] == [("there is no run directory runs/none", 4)]


def test_a_value_out_of_bounds_costs_only_its_cell():
    found = cells_of(settings={"algorithm.learning_rate": [1e-4, -1]})
    assert [cell.label for cell in found.cells] == ["ppo, learning_rate 0.0001"]
    assert [x.reason for x in found.failures] == ["--algorithm.learning-rate is -1.0: expected a positive number"]


def test_if_no_cell_is_left_there_is_no_study():
    with pytest.raises(UsageError, match=r"learning-rate is -1\.0.*no one of 2 cells"):
        cells_of(settings={"algorithm.learning_rate": [-1, -2]})


def test_parts_of_a_component_that_is_none_are_refused():
    arms = {
        "plain": {"agent": "explorler-ppo", "explore": "none", "environments": {"Hopper-v5": {"explore.start": 0.5}}}
    }
    with pytest.raises(UsageError, match=r"explore\.start needs explore, which is none here"):
        cells_of(arms=arms)


def test_two_environments_in_one_folder_are_refused(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "point.py").write_text("from fake_envs import Point")
    with pytest.raises(UsageError, match="would lie in one folder"):
        cells_of(envs=[f"{tmp_path}/a/point.py:Point", f"{tmp_path}/b/point.py:Point"])


def test_more_cells_than_anyone_wants_are_refused():
    with pytest.raises(UsageError, match="1,000,000 cells are asked for, expected at most 10,000"):
        cells_of(settings={"num_envs": range(1, 1001), "rollout_length": range(1, 1001)})


def test_what_a_short_budget_would_change_is_told_as_asked_for():
    asked = [{"eval_every": 10}, {"eval_episodes": 3}, {"agents": "explorler-ppo", "explore": {"start": 0.5}}]
    assert [cells_of(**x).cells[0].asked for x in asked] == [("eval-every",), ("eval-episodes",), ("explore.start",)]
    assert cells_of(settings={"eval_every": [10]}).cells[0].asked == ("eval-every",)
    assert cells_of(agents="explorler-ppo", explore={"every": 2}).cells[0].asked == ()


def test_seeds_that_are_there_stay_and_what_is_missing_is_a_further_run(tmp_path):
    words = {"envs": "Hopper", "agents": "ppo"}
    (there,) = cells(study_from_arguments(**words, seed=2, num_seeds=3), tmp_path).cells
    directory.create(there.recipe, "ppo", tmp_path, there.folder).release()
    found = cells(study_from_arguments(**words, num_seeds=10), tmp_path)
    assert [(cell.folder.name, [*cell.recipe.seeds]) for cell in found.cells] == [
        ("seeds-0-1", [0, 1]),
        ("seeds-2-4", [2, 3, 4]),
        ("seeds-5-9", [5, 6, 7, 8, 9]),
    ]


names = some.sampled_from([*known_fields(), "env_kwargs.healthy_reward", "algorithm.kind", "", "a.b", "..", "seeds"])
words = some.sampled_from(["ppo", "trpo", "rigl", "gae", "none", "explorler"])
plain = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text() | words,
    lambda inner: some.lists(inner, max_size=2) | some.dictionaries(names, inner, max_size=2),
    max_leaves=4,
)
tables = some.dictionaries(names, plain, max_size=1)
lists = some.dictionaries(names, some.lists(plain, min_size=1, max_size=2), max_size=1)


@settings(max_examples=100)
@given(tables, tables, lists)
def test_whatever_is_asked_for_there_are_cells_or_one_line(fields, arm, swept):
    try:
        found = cells_of(arms={"a": {"agent": "ppo"}, "b": {"agent": "trpo", **arm}}, settings=swept, **fields)
    except RlsparseError as error:
        assert "\n" not in str(error)
    else:
        assert all(len(part) < 256 and not {"/", "\0"} & {*part} for cell in found.cells for part in cell.folder.parts)
