"""A run like another: its recipe is the default of every flag, and what differs is in its name."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import tiny

from rlsparse.advantage.estimators import GAE, NStep
from rlsparse.algorithms.ppo import PPO
from rlsparse.algorithms.reuse import Reuse
from rlsparse.errors import RunDirectoryError, UsageError
from rlsparse.run import directory, from_python
from rlsparse.run.choose import as_asked
from rlsparse.run.command_line import values
from rlsparse.run.flags import ASKED, train_flags
from rlsparse.run.reading import read_json, seal
from rlsparse.run.recipe import Recipe
from rlsparse.sim.user_classes import given_classes
from rlsparse.sparse.config import Sparse
from rlsparse.sparse.rules import SET
from rlsparse.train.training import planned

CARD_S = PPO(epochs=2, minibatches=4, objective=Reuse())
"""With the kinds of the card, so that names do not tell them."""
RECIPE = Recipe("Pendulum-v1", seed=3, num_seeds=2, total_steps=500, advantage=NStep(n=8), algorithm=CARD_S)


@pytest.fixture
def like(tmp_path, monkeypatch):
    """Name and recipe of what is like the run in runs/, with further flags."""
    monkeypatch.chdir(tmp_path)
    directory.create(RECIPE, "ppo+nstep", Path("runs"), Path("runs/old")).release()

    def parsed(flags="", name="runs/old"):
        agent, recipe, _ = train_flags(["--like", str(name), *flags.split()])
        return agent, recipe

    return parsed


def test_every_field_is_the_run_s_unless_a_flag_says_else(like):
    assert like() == ("ppo+nstep", RECIPE)
    assert like("--seed 7 --advantage.n 4") == ("ppo+nstep", replace(RECIPE, seed=7, advantage=NStep(n=4)))
    assert like("--env Pendulum-v1") == ("ppo+nstep", RECIPE)


@pytest.mark.parametrize(
    ("flags", "name", "changes"),
    [
        ("--advantage gae", "ppo", {"advantage": GAE()}),
        ("--sparse set --sparsity 0.5", "ppo+set+nstep", {"sparse": Sparse(0.5, rule=SET())}),
        ("--algorithm.objective cispo", "ppo+nstep+cispo", None),
        ("--algorithm trpo", "ppo+trpo+nstep", None),
        ("--explore explorler-ppo", "ppo+explorler+nstep", None),
    ],
)
def test_kinds_are_chosen_as_over_a_card_and_the_name_tells_what_differs_from_the_card(flags, name, changes, like):
    agent, recipe = like(flags)
    assert agent == name
    assert changes is None or recipe == replace(RECIPE, **changes)


def test_a_component_is_named_once_however_often_it_changes(like):
    directory.create(replace(RECIPE, sparse=Sparse()), "ppo+rigl+nstep", Path("runs"), Path("runs/sparse")).release()
    assert like("--sparse set", "runs/sparse")[0] == "ppo+set+nstep"
    assert like("--sparse none", "runs/sparse") == ("ppo+nstep", RECIPE)


def test_an_agent_without_a_card_keeps_its_name_with_what_differs_from_the_run(like):
    directory.create(RECIPE, "mine+nstep", Path("runs"), Path("runs/mine")).release()
    assert like(name="runs/mine")[0] == "mine+nstep"
    assert like("--advantage gae", "runs/mine")[0] == "mine+nstep+gae"


def test_a_folder_a_recipe_and_a_policy_file_are_taken_too(like, tmp_path):
    assert like(name="runs") == ("ppo+nstep", RECIPE)
    assert like(name="runs/old/recipe.toml") == ("ppo+nstep", RECIPE)
    run = tiny.train(tmp_path / "tiny", tiny.recipe(env="Pendulum-v1", algorithm=CARD_S))
    shutil.copy(run / "policy.safetensors", "alone.safetensors")
    assert like(name="alone.safetensors") == ("ppo", tiny.recipe(env="Pendulum-v1", algorithm=CARD_S))


def test_in_another_environment_nothing_of_the_old_one_stays(like):
    old = replace(RECIPE, env="HalfCheetah-v5", env_kwargs={"forward_reward_weight": 2.0})
    directory.create(old, "ppo", Path("runs"), Path("runs/cheetah")).release()
    assert like(name="runs/cheetah")[1] == old
    assert like("--env Hopper", "runs/cheetah")[1] == replace(RECIPE, env="Hopper-v5")


def test_code_that_the_run_names_is_run_only_if_it_is_named_or_trusted(like, tmp_path, capsys):
    (tmp_path / "sly.py").write_text("raise SystemExit('run')")
    directory.create(replace(RECIPE, env="sly:Env-v0"), "ppo", Path("runs"), Path("runs/sly")).release()
    with pytest.raises(UsageError, match=r"runs/sly/recipe.toml names the environment sly:Env-v0, .* --trust"):
        like(name="runs/sly")
    assert like("--trust", "runs/sly")[1].env == "sly:Env-v0"
    assert "running the module sly" in capsys.readouterr().err
    assert "sly" not in sys.modules
    assert like("--env Hopper", "runs/sly")[1].env == "Hopper-v5"


def test_wrappers_of_the_run_are_kept_and_trusted_or_given_anew(like, monkeypatch):
    monkeypatch.delitem(given_classes, "fake_envs:Point", raising=False)  # which other tests give
    ours = "gymnasium.wrappers.TimeAwareObservation"
    wrapped = replace(RECIPE, wrappers=("fake_envs:Point",))
    directory.create(wrapped, "ppo", Path("runs"), Path("runs/wrapped")).release()
    with pytest.raises(UsageError, match="names the wrapper fake_envs:Point"):
        like(name="runs/wrapped")
    assert like("--trust", "runs/wrapped")[1].wrappers == ("fake_envs:Point",)
    assert like(f"--wrappers {ours}", "runs/wrapped")[1].wrappers == (ours,)
    assert from_python.recipe(None, None, "auto", {"wrappers": [ours]}, "runs/wrapped")[1].wrappers == (ours,)


@pytest.mark.parametrize("agent", ["../../elsewhere", "a/b", "", 3, ".hidden", None])
def test_a_name_that_could_be_another_folder_s_is_not_taken(agent, like):
    versions = Path("runs/old/versions.json")
    versions.write_text(seal({**read_json(versions), "agent": agent}))
    assert like()[0] == "ppo+nstep"
    versions.unlink()
    assert like()[0] == "ppo+nstep"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--like none", "--like none: expected a run directory, its recipe.toml or a policy.safetensors$"),
        ("--like ppo", "--like ppo: expected .*: --agent ppo takes the recipe of an agent card$"),
        ("--like runs/old --agent ppo", "--like and --agent both say which recipe is the default: give one of them"),
        ("--env Hopper --trust", "--trust is for the run of --like or --resume"),
        (
            "--env Hopper --agent runs/old/recipe.toml",
            "is the recipe of a run and no agent card: use --like runs",
        ),
        ("--like card.toml", "--like card.toml: it is an agent card, so use --agent card.toml"),
    ],
)
def test_what_is_no_run_is_told_with_what_to_use(flags, message, like):
    Path("card.toml").write_text('name = "a"\ndescription = "b"\n[recipe]\n')
    with pytest.raises(UsageError, match=message):
        train_flags(flags.split())


def test_a_damaged_recipe_is_named(like):
    Path("runs/old/recipe.toml").write_text("seed = [")
    with pytest.raises(UsageError, match="runs/old/recipe.toml: not a TOML file"):
        like()
    Path("x.safetensors").write_bytes(b"no")
    with pytest.raises(RunDirectoryError, match="x.safetensors is not a policy file"):
        like(name="x.safetensors")


def test_python_means_the_same(like):
    alike = {"": {}, "--seed 7 --advantage.n 4": {"seed": 7, "advantage": {"n": 4}}, "--sparse set": {"sparse": "set"}}
    for flags, fields in alike.items():
        assert from_python.recipe(None, None, "auto", fields, Path("runs/old")) == like(flags)
    with pytest.raises(UsageError, match="like and agent both say"):
        from_python.recipe(None, "ppo", "auto", {}, "runs/old")


# What a budget changes


@pytest.fixture
def planned_by(like):
    """The recipe that a command would train; with a name, its run begins, as the command begins one."""

    def plan(flags, name=None):
        _, recipe, parsed = train_flags(f"{flags} --quiet".split())
        plan = planned(*as_asked(recipe, parsed.like, values(ASKED, flags.split())), parsed)
        if name:
            directory.create(plan.recipe, "ppo", Path("runs"), Path(name), unfitted=plan.unfitted).release()
        return plan.recipe

    return plan


SHORT = "--env Pendulum-v1 --total-steps 4000"


def intervals(recipe):
    """What a budget changes."""
    return recipe.eval_every, recipe.eval_episodes, recipe.explore and recipe.explore.start


def test_a_run_like_a_short_one_with_another_budget_is_evaluated_as_if_it_were_the_first(planned_by):
    short = planned_by(SHORT, "short")
    assert intervals(short) == (1000, 1, None)
    assert planned_by("--like short") == short
    for steps in (2000, 20_000, 1_000_000):
        anew = planned_by(f"--env Pendulum-v1 --total-steps {steps}")
        assert planned_by(f"--like short --total-steps {steps}", f"again-{steps}") == anew
        assert planned_by(f"--like again-{steps} --total-steps 4000") == short
    assert intervals(anew) == (None, 10, None)


def test_what_the_first_user_asked_for_stays(planned_by):
    planned_by(f"{SHORT} --eval-every 700 --eval-episodes 3", "both")
    assert intervals(planned_by("--like both --total-steps 90000")) == (700, 3, None)
    planned_by(f"{SHORT} --eval-episodes 3", "one")
    assert intervals(planned_by("--like one --total-steps 1000000")) == (None, 3, None)
    assert planned_by("--like one --total-steps 2000 --eval-every 500").eval_every == 500
    assert planned_by("--like one --total-steps 1000000 --eval-episodes 7").eval_episodes == 7


def test_the_start_of_probing_is_fitted_anew_too(planned_by):
    short, explore = "--env HalfCheetah --total-steps 40000", "--explore explorler"
    found = planned_by(f"{short} {explore}", "short")
    assert found.explore.start == 0.66
    longer = planned_by("--like short --total-steps 300000")
    assert longer == planned_by(f"--env HalfCheetah --total-steps 300000 {explore}")
    planned_by(f"{short} {explore} --explore.start 0.7", "asked")
    assert planned_by("--like asked --total-steps 300000").explore.start == 0.7
    planned_by(short, "plain")
    assert planned_by(f"--like plain {explore}").explore == found.explore


def test_a_run_that_does_not_tell_what_was_asked_for_keeps_all(planned_by):
    short = planned_by(SHORT, "short")
    versions = {**read_json(Path("short/versions.json"))}
    for unfitted in ({}, [], None):
        Path("short/versions.json").write_text(seal({**versions, "unfitted": unfitted}))
        assert intervals(planned_by("--like short --total-steps 90000")) == intervals(short)
    Path("short/versions.json").write_text(seal({**versions, "unfitted": {"eval-episodes": "many"}}))
    with pytest.raises(UsageError, match="short/versions.json: eval_episodes must be a whole number, not 'many'"):
        planned_by("--like short")
    Path("short/versions.json").write_text(seal({**versions, "unfitted": {"eval-episodes": None}}))
    assert planned_by("--like short").eval_episodes <= 10


def test_in_python_likewise(planned_by):
    planned_by(SHORT, "short")
    _, recipe = from_python.recipe(None, None, "auto", {"total_steps": 1_000_000, "eval_episodes": 4}, "short")
    recipe, asked = as_asked(recipe, Path("short"), from_python.asked({"total_steps": 1_000_000, "eval_episodes": 4}))
    assert (intervals(recipe), asked) == ((None, 4, None), {"eval-episodes"})
