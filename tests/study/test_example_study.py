"""examples/study.toml is a study of every kind of word; it runs, here with few steps."""

from pathlib import Path

import pytest
from cells import carry_out_here

import rlsparse
from rlsparse.study import command

STUDY = Path(__file__).resolve().parents[2] / "examples" / "study.toml"


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch, tmp_path):
    carry_out_here(monkeypatch, tmp_path)


def test_it_says_arms_environments_settings_and_what_differs(capsys):
    with pytest.raises(SystemExit) as end:
        command.main([str(STUDY), "--dry-run"])
    assert not end.value.code
    assert "12 cells: 12 waiting; 0.0 % of 720,000 steps" in capsys.readouterr().out


def test_it_runs_with_a_tiny_budget():
    few = {"total_steps": 128, "num_envs": 4, "rollout_length": 32, "num_seeds": 1, "eval_episodes": 1}
    study = rlsparse.sweep(STUDY, **few)
    assert (study.folder, study.failures, len(study.runs)) == (Path("runs/study"), (), 12)
    wide = [run.recipe for run in study.runs if run.arm == "wide"]
    assert {recipe.policy.actor_hidden for recipe in wide} == {(256, 256)}
    assert {recipe.env: recipe.algorithm.learning_rate for recipe in wide}["Reacher-v5"] == 1e-3
    assert {run.setting["advantage.gamma"] for run in study.runs} == {0.95, 0.99}
    assert study.best("Reacher").environment == "Reacher-v5"
