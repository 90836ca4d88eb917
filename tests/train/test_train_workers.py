"""Runs whose environments step in several processes: the bytes of one process, and processes that end badly."""

from pathlib import Path

import numpy as np
import pytest
import tiny
from train_runs import status

import rlsparse
from rlsparse.errors import EnvironmentFailure, Interrupted
from rlsparse.run import directory as runs
from rlsparse.run import session as sessions

SHORT = {name: getattr(tiny.RECIPE, name) for name in ("total_steps", "num_envs", "rollout_length", "eval_every")}
FIELDS = {**SHORT, "eval_episodes": 2, "policy": tiny.RECIPE.policy, "algorithm": tiny.RECIPE.algorithm}
"""As tiny.FLAGS."""


def test_a_run_that_is_stopped_in_two_processes_and_goes_on_in_one_is_the_same():
    """With environments that raise: how often they may do so is counted for all processes."""
    recipe = tiny.recipe(env="fake_envs:Flaky-v0", env_restarts=20)
    tiny.train(Path("whole"), recipe)
    session = sessions.open_session(recipe, runs.create(recipe, "ppo", Path("cut"), Path("cut")), "cpu", workers=2)
    with pytest.raises(Interrupted):
        tiny.go_on(session, lambda: session.learner.counters.train[0] >= 48)
    tiny.resume(Path("cut"))
    assert tiny.outcome(Path("cut")) == tiny.outcome(Path("whole"))


def test_a_run_whose_process_is_killed_says_so_in_one_line_and_goes_on_as_if_it_had_not_been(monkeypatch):
    flags = [*tiny.FLAGS, "--env", "fake_envs:Signalled-v0", "--run-dir", "run", "--env-workers", "2", "--quiet"]
    killed = tiny.command(*flags, cwd=".", SIGNALS="SIGKILL@30")
    told = (
        "fake_envs:Signalled-v0: the process of seed 0, environment 0 was killed by SIGKILL, as for want of memory, in "
    )
    assert (killed.returncode, killed.stdout) == (3, "")
    assert killed.stderr.startswith(f"rlsparse: {told}")
    assert killed.stderr.count("\n") == 1
    assert (status()["state"], status()["reason"][: len(told)]) == ("failed", told)
    monkeypatch.setenv("SIGNALS", "SIGKILL@-1")
    recipe = runs.read_recipe(Path("run"))
    tiny.resume(Path("run"))
    assert tiny.outcome(Path("run")) == tiny.outcome(tiny.train(Path("whole"), recipe))


def test_a_run_with_an_environment_that_hangs_in_a_process_ends_as_in_one(run):
    flags = [*tiny.FLAGS, "--env", "fake_envs:Hanging-v0", "--env-timeout", "0.3", "--eval-episodes", "8", "--quiet"]
    code, out, err = run(*flags, "--env-workers", "2")
    told = "fake_envs:Hanging-v0: seed 0, environment 2 hangs in step 3 after reset(seed="
    assert (code, out) == (3, "")
    assert err.startswith(f"rlsparse: {told}")
    assert err.endswith("): longer than --env-timeout 0.3 s\n")
    assert status()["reason"].startswith(told)


def test_from_python_an_environment_that_hangs_ends_the_run_and_not_this_process():
    """Environments then step in a process of their own, which is told from the one that may not end."""
    with pytest.raises(
        EnvironmentFailure, match="seed 0, environment 1 hangs in step 3 .*longer than --env-timeout 0.3"
    ):
        rlsparse.train("fake_envs:Hanging-v0", run_dir="run", env_timeout=0.3, **FIELDS)
    assert (status()["state"], status()["env_timeout"]) == ("failed", 0.3)
    with pytest.raises(EnvironmentFailure, match="environment 1 hangs in step 3"):
        rlsparse.train("fake_envs:Hanging-v0", resume="run")


def test_from_python_one_that_hangs_as_it_is_made_ends_nothing_either():
    Path("slow.py").write_text(
        "import fake_envs, time\nclass Slow(fake_envs.Point):\n    def __init__(self): time.sleep(60)"
    )
    with pytest.raises(EnvironmentFailure, match="hangs in make: longer than --env-timeout 0.3"):
        rlsparse.train("slow.py:Slow", env_timeout=np.float64(0.3), **FIELDS)
    assert not Path("runs").exists()


def test_a_timeout_changes_no_number():
    for name, timeout in (("one", None), ("two", 60)):
        rlsparse.train(
            "fake_envs:Point-v0", run_dir=name, env_timeout=timeout, env_workers=None if timeout else 1, **FIELDS
        )
    assert tiny.outcome(Path("one")) == tiny.outcome(Path("two"))


def test_the_number_of_processes_is_told(run, monkeypatch):
    monkeypatch.setattr("rlsparse.sim.workers_for", lambda *_: (1, "environments step in 1 process"))
    assert "environments step in 1 process\n" in run(*tiny.FLAGS)[2]


@pytest.mark.parametrize("number", ["0", "-1"])
def test_no_process_is_none(number, run):
    assert run(*tiny.FLAGS, "--env-workers", number)[0] == 2
    assert not Path("run").exists()
