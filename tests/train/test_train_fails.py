"""When something goes wrong: numbers that are not finite, environments that fail, disks that are full."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import fake_envs
import numpy as np
import pytest
import safetensors.numpy
import tiny
from train_runs import interrupt, rows, sound_twin, status

from rlsparse import loop
from rlsparse.errors import Interrupted, StorageError
from rlsparse.run import checkpoint, policy_file
from rlsparse.run.stop import StopSignal

# Numbers that are not finite


BAD = ["nan", "inf", "-inf", "1e200"]


def policy_after(iterations):
    """The arrays of the policy that the sound twin has after so many iterations."""
    session = tiny.begin(Path("sound"), sound_twin())
    with pytest.raises(Interrupted):
        tiny.go_on(session, lambda: session.learner.progress[0] * 96 >= iterations * 16)  # in the iteration after them
    return safetensors.numpy.load_file("sound/policy.safetensors")


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("what", ["Observation", "LastObservation", "Reward"])
def test_a_bad_number_stops_the_run_says_where_and_keeps_the_last_good_policy(what, bad, run):
    env = f"fake_envs:Bad{what}-{float(bad)}-v0".replace("+", "")
    code, out, err = run(*tiny.FLAGS, "--env", env, "--quiet")
    assert (code, out) == (5, "")
    thing = "a reward" if what == "Reward" else "an observation"
    assert err == (
        f"rlsparse: {env.partition(':')[2]} gave {thing} that is not finite: seed 0, environment 1, step 4 of the "
        "rollout after 64 training steps; the policy of the last complete iteration is kept\n"
    )
    assert status()["state"] == "failed"
    assert status()["reason"] in err
    assert policy_file.load(Path("run/policy.safetensors"))
    kept = safetensors.numpy.load_file("run/policy.safetensors")
    for name, array in policy_after(4).items():
        np.testing.assert_array_equal(kept[name], array)
    saved = checkpoint.load_latest(Path("run/checkpoint"))
    assert saved.arrays["learner"]["counters.train"] == [64]
    assert np.isfinite(saved.arrays["learner"]["params"]).all()


def test_a_bad_number_in_an_evaluation_stops_the_run_too(run):
    code, _, err = run(*tiny.FLAGS, "--env", "fake_envs:BadInEvaluation-v0", "--quiet")
    assert code == 5
    assert "gave a reward that is not finite: seed 0, environment 1, step 2 of an evaluation episode" in err
    assert err.count("\n") == 1
    assert [row["total_steps"] for row in rows()] == ["0", "32"]
    assert np.isfinite(safetensors.numpy.load_file("run/policy.safetensors")["params"]).all()


def test_the_seed_of_a_bad_number_is_that_of_its_environment(run):
    _, _, err = run(*tiny.FLAGS, "--env", "fake_envs:BadReward-nan-v0", "--num-seeds", "2", "--num-envs", "1")
    assert "seed 1, environment 0, step 4 of the rollout after 32 training steps" in err


@pytest.mark.parametrize("rate", ["1e30", "1e38"])
def test_a_huge_learning_rate_never_leaves_a_policy_that_is_not_finite(rate, run, recwarn):
    code, _, err = run(*tiny.FLAGS, "--algorithm.learning-rate", rate, "--quiet")
    assert code == 5
    assert "seed 0 is not finite" in err
    assert "try a smaller --algorithm.learning-rate" in err
    assert err.count("\n") == 1
    assert recwarn.list == []
    assert np.isfinite(safetensors.numpy.load_file("run/policy.safetensors")["params"]).all()
    assert np.isfinite(checkpoint.load_latest(Path("run/checkpoint")).arrays["learner"]["params"]).all()


# Environments that fail


def test_an_environment_that_raises_ends_the_run_with_its_own_words(run):
    code, _, err = run(*tiny.FLAGS, "--env", "fake_envs:Raises-v0", "--quiet")
    assert code == 3
    message = "environment 1 failed in step 3 after reset(seed=106796023) with RuntimeError: the motor burned out"
    assert err.endswith(f"{message}\n")
    assert err.count("\n") == 1
    assert status()["state"] == "failed"
    assert message in status()["reason"]
    assert checkpoint.load_latest(Path("run/checkpoint")).arrays["learner"]["counters.train"] == [64]


def test_a_failed_run_can_be_resumed_once_its_cause_is_gone(run, monkeypatch):
    run(*tiny.FLAGS, "--env", "fake_envs:Raises-v0", "--quiet")
    monkeypatch.setattr(fake_envs.Raises, "step", fake_envs.Point.step)
    assert run("--resume", "run", "--quiet") == (0, "run\n", "")
    assert status()["state"] == "finished"


# Disks that are full


def failing_saves(monkeypatch, failures):
    """Let the saves whose numbers are in `failures` fail."""
    save, calls = checkpoint.save, []

    def sometimes(*arguments):
        calls.append(1)
        if len(calls) in failures:
            raise StorageError("cannot write run/checkpoint/x: No space left on device")
        save(*arguments)

    monkeypatch.setattr(checkpoint, "save", sometimes)


def test_a_checkpoint_that_cannot_be_written_is_warned_of_and_training_goes_on(run, monkeypatch, caplog):
    with monkeypatch.context() as patch:
        failing_saves(patch, {1, 2})
        assert run(*tiny.FLAGS)[0] == 0
    tiny.train(Path("sound"), sound_twin())
    assert len(caplog.messages) == 2
    assert "No space left on device; the checkpoint before is kept, training goes on" in caplog.messages[0]
    final, sound = (safetensors.numpy.load_file(f"{name}/policy.safetensors") for name in ("run", "sound"))
    np.testing.assert_array_equal(final["params"], sound["params"])


def test_the_third_failure_in_a_row_ends_the_run(run, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_INTERVAL", -1)
    failing_saves(monkeypatch, {2, 4, 5, 6})
    code, _, err = run(*tiny.FLAGS, "--quiet")
    assert code == 6
    assert err.splitlines()[-1] == "rlsparse: cannot write run/checkpoint/x: No space left on device"
    assert status()["state"] == "failed"
    assert checkpoint.load_latest(Path("run/checkpoint"))


@pytest.mark.parametrize("stop", [False, True], ids=["finished", "interrupted"])
def test_a_last_checkpoint_that_cannot_be_written_is_an_error_at_once(stop, run, monkeypatch):
    if stop:
        interrupt(monkeypatch)
    failing_saves(monkeypatch, {3 if stop else 4})
    code, out, _ = run(*tiny.FLAGS, "--quiet")
    assert (code, out) == (6, "")
    assert status()["state"] == "failed"


def test_a_disk_that_is_really_full_leaves_one_line_and_exit_code_6(tmp_path):
    """Files may not grow beyond 16 kB here; the checkpoint of these networks is larger."""
    arguments = [*tiny.FLAGS, "--policy.actor-hidden", "64", "64", "--run-dir", "run", "--quiet"]
    shell = f"ulimit -f 16; exec {shlex.join([sys.executable, '-m', 'rlsparse.train', *arguments])}"
    command = ["bash", "-c", shell]
    done = subprocess.run(command, env=tiny.environment(), capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 6
    assert re.fullmatch(r"rlsparse: cannot write .*/run/checkpoint/\d+: File too large", done.stderr.splitlines()[-1])
    assert "Traceback" not in done.stderr


def test_a_run_directory_that_is_removed_is_an_error_and_does_not_come_back_in_parts(run, monkeypatch):
    def remove(stop):
        if fake_envs.steps >= 60:
            shutil.rmtree("run", ignore_errors=True)
        return False

    monkeypatch.setattr(StopSignal, "__call__", remove)
    code, out, err = run(*tiny.FLAGS, "--quiet")
    assert (code, out) == (6, "")
    assert "No such file or directory" in err
    assert "Traceback" not in err
    assert not Path("run").exists()
