"""A study whose processes are killed at any time, and that is run again, ends as one to which nothing happened."""

import os
import random
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import tiny

from rlsparse.run import directory as runs
from rlsparse.study.outcome import read_status

STUDY = [
    *("--envs", "fake_envs:Point-v0", "--num-envs", "2", "--rollout-length", "8", "--eval-every", "480"),
    *("--eval-episodes", "2", "--policy.actor-hidden", "8", "--policy.critic-hidden", "8", "--total-steps", "9600"),
    *("--algorithm.epochs", "2", "--algorithm.minibatches", "4", "--out", "study", "--num-seeds", "2"),
    *("--sweep.algorithm.learning-rate", "1e-3", "1e-2", "--sweep.advantage.gamma", "0.9", "0.99", "--jobs", "2"),
]


def start():
    words = [sys.executable, "-m", "rlsparse", "sweep", *STUDY]
    return subprocess.Popen(words, env=tiny.environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def directories():
    return sorted(path.parent for path in Path().glob("study/*/*/*/*/recipe.toml"))


def workers():
    """The processes that train, by what the runs tell."""
    states = [read_status(path) for path in directories()]
    return {x["pid"] for x in states if x.get("state") == "running" and x.get("total_steps")}


@pytest.mark.long
@pytest.mark.parametrize("trial", range(2))
def test_a_study_that_is_killed_again_and_again_ends_as_if_nothing_had_happened(trial, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chance, kills = random.Random(trial), 0
    for _ in range(40):
        driver = start()
        with suppress(subprocess.TimeoutExpired):
            driver.wait(chance.uniform(2, 6))
        if driver.poll() == 0:
            break
        kills += 1
        how = chance.choice(["driver", "worker", "stop"])
        if how == "worker":
            for pid in sorted(workers())[:1]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                driver.wait(chance.uniform(0, 2))
        if how == "stop" and directories():  # before, it is Python that imports
            driver.send_signal(signal.SIGINT)
        else:
            driver.kill()
        _, err = driver.communicate(timeout=60)
        assert "Traceback" not in err
    assert driver.returncode == 0, driver.communicate()
    assert kills
    assert [read_status(path)["state"] for path in directories()] == ["finished"] * 4
    for i, path in enumerate(directories()):
        assert tiny.outcome(path) == tiny.outcome(tiny.train(Path(f"alone-{i}"), runs.read_recipe(path))), path
