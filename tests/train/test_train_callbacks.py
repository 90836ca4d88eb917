"""Callbacks of the whole program: named on the command line, or given in Python."""

import json
from pathlib import Path

import pytest
import tiny
from train_runs import rows, status

import rlsparse

OWN = """
import rlsparse

class Patience(rlsparse.Callback):
    best = None
    def on_evaluation(self, training, rows):
        print("seen")
        if training.total_steps >= 32 and not (training.run_dir / "go on").exists():
            training.stop()

class Broken(rlsparse.Callback):
    def on_iteration(self, training):
        raise ZeroDivisionError("by me")
"""


@pytest.fixture(autouse=True)
def own_module(fresh_folder):
    Path("own_patience.py").write_text(OWN)


FIELDS = {
    "total_steps": 96,
    "num_envs": 2,
    "rollout_length": 8,
    "eval_every": 32,
    "eval_episodes": 2,
    "policy": {"actor_hidden": (8,), "critic_hidden": (8,)},
    "algorithm": {"epochs": 2, "minibatches": 4},
}


def test_one_on_the_command_line_stops_the_run_which_goes_on_where_it_was(run):
    code, out, err = run(*tiny.FLAGS, "--callbacks", "own_patience:Patience")
    assert (code, out) == (0, "run\n")  # what it prints is on stderr
    assert "stopped by Patience at 32 steps; go on with: rlsparse train --resume run" in err
    assert err.endswith("--callbacks own_patience:Patience\n")
    assert (status()["state"], status()["reason"]) == ("interrupted", "Patience")
    Path("run/go on").touch()
    assert run("--resume", "run", "--callbacks", "own_patience:Patience", "--quiet")[0] == 0
    assert status()["state"] == "finished"
    resumed = [row["return_mean"] for row in rows()]
    run(*tiny.FLAGS, "--run-dir", "whole", "--quiet")
    assert resumed == [row["return_mean"] for row in tiny.outcome(Path("whole"))["progress"]]


def test_stopped_the_result_is_one_object_of_json(run):
    code, out, _ = run(*tiny.FLAGS, "--callbacks", "own_patience:Patience", "--json", "--quiet")
    assert (code, json.loads(out)) == (0, {"state": "interrupted", "total_steps": 32, "run_dir": "run"})


def test_what_is_no_callback_is_refused_before_a_run_is_made(run):
    code, _, err = run(*tiny.FLAGS, "--callbacks", "own_patience:Impatience")
    assert (code, err) == (2, "rlsparse: own_patience has no Impatience: did you mean Patience?\n")
    assert not Path("run").exists()


def test_what_one_raises_is_raised_as_it_is_and_the_run_can_be_resumed(run):
    with pytest.raises(ZeroDivisionError, match="by me"):
        run(*tiny.FLAGS, "--callbacks", "own_patience:Broken")
    assert (status()["state"], status()["reason"]) == ("failed", "by me")
    assert run("--resume", "run", "--quiet")[:2] == (0, "run\n")


def test_in_python_train_returns_when_one_stops_the_run(fresh_folder):
    class Enough(rlsparse.Callback):
        def on_evaluation(self, training, rows):
            training.stop()

    result = rlsparse.train("fake_envs:Point-v0", **FIELDS, run_dir="run", callbacks=[Enough()])
    assert (result.state, status()["reason"]) == ("interrupted", "Enough")
    with pytest.raises(rlsparse.RunDirectoryError, match="is interrupted: a run that is finished has a summary"):
        result.summary  # noqa: B018
    assert len(result.returns) == 1
    with pytest.raises(rlsparse.UsageError, match="write Enough()"):
        rlsparse.train(resume="run", env="fake_envs:Point-v0", callbacks=[Enough])
    result = rlsparse.train(resume="run", env="fake_envs:Point-v0", callbacks=[rlsparse.Callback()])
    assert result.state == "finished"
