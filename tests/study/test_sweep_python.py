"""`rlsparse.sweep(...)` in a script or a notebook."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
from cells import carry_out_here

import rlsparse
from rlsparse import UsageError
from rlsparse.run import directory as runs
from rlsparse.run.stop import StopInterrupt
from rlsparse.study import worker

SMALL = {
    "envs": "fake_envs:Point-v0",
    "num_envs": 2,
    "rollout_length": 8,
    "eval_every": 32,
    "eval_episodes": 2,
    "policy": {"actor_hidden": [8], "critic_hidden": [8]},
    "algorithm": {"epochs": 2, "minibatches": 4},
    "total_steps": 96,
    "out": "study",
}


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch, tmp_path):
    carry_out_here(monkeypatch, tmp_path)


def test_it_returns_runs_by_arm_environment_and_setting(capsys):
    study = rlsparse.sweep(
        **SMALL,
        arms={"narrow": {"agent": "ppo"}, "wide": {"agent": "ppo", "policy": {"actor_hidden": [16]}}},
        settings={"advantage.gamma": [0.9, 0.99]},
        num_seeds=2,
    )
    assert capsys.readouterr().out == ""
    assert [(run.arm, run.environment, run.setting) for run in study.runs] == [
        (arm, "fake_envs:Point-v0", {"advantage.gamma": gamma}) for arm in ("narrow", "wide") for gamma in (0.9, 0.99)
    ]
    assert study.failures == ()
    for run in study.runs:
        assert run.returns.shape == (2,)
        assert np.isfinite(run.returns).all()
        assert run.recipe.advantage.gamma == run.setting["advantage.gamma"]
    assert study.comparison.folder == Path("study/comparison")
    assert study.comparison.account["arms"][0] == "narrow, gamma 0.9"
    assert repr(study) == study.table()
    assert "4 cells: 4 finished" in study.table()


def test_called_again_it_trains_what_is_missing():
    first = rlsparse.sweep(**SMALL)
    before = (first.runs[0].path / "status.json").stat().st_mtime_ns
    again = rlsparse.sweep(**SMALL, num_seeds=3)
    assert [run.recipe.seeds for run in again.runs] == [range(1), range(1, 3)]
    assert (first.runs[0].path / "status.json").stat().st_mtime_ns == before


def test_a_study_file_is_taken_and_what_is_given_beside_it_goes_first():
    Path("small.toml").write_text('envs = ["InvertedPendulum"]\ntotal_steps = 50\nadvantage.gamma = 0.5\n')
    study = rlsparse.sweep("small.toml", **{**SMALL, "out": None})
    assert study.folder == Path("runs/small")
    assert [(run.recipe.env, run.recipe.total_steps) for run in study.runs] == [("fake_envs:Point-v0", 96)]
    assert study.runs[0].recipe.advantage.gamma == 0.5


def test_what_fails_is_among_the_failures():
    study = rlsparse.sweep(**{**SMALL, "envs": ["fake_envs:Unbuildable", "fake_envs:Point-v0"]})
    assert [run.environment for run in study.runs] == ["fake_envs:Point-v0"]
    (failure,) = study.failures
    assert (failure.state, failure.env) == ("failed", "fake_envs:Unbuildable")
    assert "meshes/leg.stl is missing" in failure.reason


def test_a_study_that_is_wrong_as_a_whole_raises():
    with pytest.raises(UsageError, match="did you mean"):
        rlsparse.sweep(**SMALL, settings={"advantage.gama": [0.9]})
    with pytest.raises(UsageError, match="which environments"):
        rlsparse.sweep()
    with pytest.raises(UsageError, match="jobs"):
        rlsparse.sweep(**SMALL, jobs=0)
    with pytest.raises(UsageError, match="expected ray"):
        rlsparse.sweep(**SMALL, on="moon")
    assert not Path("study").exists()


def test_ctrl_c_raises_after_all_is_saved(monkeypatch):
    monkeypatch.setattr(StopInterrupt, "received", 2)
    with pytest.raises(KeyboardInterrupt, match="the same call goes on"):
        rlsparse.sweep(**SMALL)
    assert not [*Path().rglob("comparison")]
    monkeypatch.undo()


def test_a_script_that_a_worker_imports_begins_no_study(monkeypatch):
    monkeypatch.setenv(worker.WORKER, "1")
    with pytest.raises(UsageError, match="if __name__ == '__main__'"):
        rlsparse.sweep(**SMALL)


SCRIPT = """
import fake_envs, gymnasium, rlsparse

class Own(fake_envs.Point):
    pass

if __name__ == "__main__":
    study = rlsparse.sweep(
        envs=[Own], num_envs=2, rollout_length=16, total_steps=96, eval_every=96, eval_episodes=1, out="study",
        settings={"algorithm.learning_rate": [1e-3, 1e-2]}, jobs=1, quiet=False,
    )
    print(len(study.runs), study.failures)
"""


def test_a_script_may_give_a_class_of_its_own():
    Path("script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"], env=tiny.environment(), capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout == "2 ()\n", done.stderr
    assert "running" in done.stderr
    assert len([*map(runs.read_recipe, Path().glob("study/*/*/*/seeds-0-0"))]) == 2
