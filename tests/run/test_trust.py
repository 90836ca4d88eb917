"""Nothing that loads runs code: an environment's module is imported only if the command line itself names it."""

import sys

import pytest
import tiny

from rlsparse import train
from rlsparse.errors import UsageError
from rlsparse.run import cards
from rlsparse.trained import export, landscape, play

EVIL = "trap:Env-v0"
"""A module beside the command that says so when it is imported."""


@pytest.fixture
def set_trap(tmp_path, monkeypatch):
    """Put the module where Python finds it first."""
    (tmp_path / "trap.py").write_text("raise SystemExit('the module of a file was imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def foreign_run(set_trap):
    """A run directory whose files name that module; its digest is right, for whoever made it could do so."""
    recipe = tiny.recipe(env=EVIL)
    run_dir = tiny.train(set_trap / "run")
    session = tiny.begin(set_trap / "other")
    session.run.release()
    from rlsparse.run import policy_file
    from rlsparse.run.recipe import to_toml

    policy_file.save(run_dir / "policy.safetensors", recipe, session.learner)
    (run_dir / "recipe.toml").write_text(to_toml(recipe))
    (run_dir / "status.json").write_text("{}")
    return run_dir


@pytest.mark.parametrize(
    "command",
    [
        lambda run: play.run_command([str(run)]),
        lambda run: play.run_command([str(run / "policy.safetensors")]),
        lambda run: export.run_command([str(run)]),
        lambda run: landscape.run_command([str(run)]),
        lambda run: train.run_command(["--resume", str(run)]),
    ],
    ids=["play a run", "play a file", "export", "landscape", "resume"],
)
def test_a_module_that_a_file_names_is_refused_by_every_command(foreign_run, command):
    with pytest.raises(UsageError, match=f"say so by --env {EVIL}"):
        command(foreign_run)
    assert "trap" not in sys.modules


def test_the_same_environment_on_the_command_line_is_trust(tmp_path, monkeypatch, capsys):
    run_dir = tiny.train(tmp_path / "run")
    play.run_command([str(run_dir), "--env", tiny.RECIPE.env, "--json"])
    assert tiny.RECIPE.env in capsys.readouterr().out


def test_another_environment_on_the_command_line_is_none(tmp_path):
    run_dir = tiny.train(tmp_path / "run")
    with pytest.raises(UsageError, match="keeps its recipe"):
        train.run_command(["--resume", str(run_dir), "--env", "HalfCheetah"])


def test_an_agent_card_cannot_bring_an_environment(tmp_path):
    for table in (f'[recipe]\nenv = "{EVIL}"\n', f'[environments."Hopper-v5"]\nenv = "{EVIL}"\n'):
        (tmp_path / "card.toml").write_text(f'name = "x"\ndescription = "y"\n{table}')
        with pytest.raises(UsageError, match="env"):
            cards.agent(str(tmp_path))
