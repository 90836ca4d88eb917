"""Environments of one's own: they hang, raise and are made anew, print and move, or are not what they were."""

import json
import os
from pathlib import Path

import fake_envs
import pytest
import tiny
from train_runs import rows, status

from rlsparse import train
from rlsparse.errors import Interrupted, UsageError
from rlsparse.run import checkpoint
from rlsparse.run import directory as runs
from rlsparse.sim.environment import Environment
from rlsparse.trained import export, play
from rlsparse.trained.policy import PolicyFlags, acting_environment


def command(*flags, env, **variables):
    return tiny.command(*tiny.FLAGS, "--env", f"fake_envs:{env}", *flags, "--quiet", cwd=".", **variables)


# Environments that hang


def test_an_environment_that_hangs_ends_the_run_in_one_line_and_leaves_the_checkpoint():
    flags = ["--run-dir", "run", "--env-timeout", "0.2", "--eval-episodes", "1", "--keep-checkpoints", "3"]
    done = command(*flags, env="Hanging-v0")
    assert (done.returncode, done.stdout) == (3, "")
    reason = "fake_envs:Hanging-v0: seed 0, environment 0 hangs in step 3 after reset(seed="
    assert done.stderr.startswith(f"rlsparse: {reason}")
    assert done.stderr.endswith("): longer than --env-timeout 0.2 s\n")
    assert done.stderr.count("\n") == 1
    assert status()["state"] == "failed"
    assert status()["reason"].startswith(reason)


def test_a_resumed_run_waits_no_longer_than_before_unless_told(run):
    assert run(*tiny.FLAGS, "--env-timeout", "60", "--quiet")[0] == 0
    assert status()["env_timeout"] == 60
    held = runs.reopen(Path("run"))[0]
    held.release()
    assert held.settings.env_timeout == 60


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf"])
def test_a_timeout_must_be_a_time(seconds, run):
    code, _, err = run(*tiny.FLAGS, "--env-timeout", seconds)
    assert code == 2
    assert f"--env-timeout is {float(seconds)}: expected a positive number of seconds" in err


# Environments that raise


FLAKY = [*tiny.FLAGS, "--env", "fake_envs:Flaky-v0", "--policy.log-std-init", "-0.5", "--quiet"]


def test_an_environment_that_raises_is_made_anew_and_counted(run, caplog):
    assert run(*FLAKY, "--env-restarts", "20")[0] == 0
    counts = [int(row["env_restarts"]) for row in rows()]
    assert counts[0] == 0
    assert counts == sorted(counts)
    assert counts[-1] == sum("it is made anew" in message for message in caplog.messages) >= 2
    assert "seed 0, environment" in caplog.text


def test_without_restarts_there_is_no_such_column_and_no_such_line(run):
    assert run(*tiny.FLAGS, "--quiet")[0] == 0
    assert "env_restarts" not in rows()[0]
    assert "env_restarts" not in Path("run/recipe.toml").read_text()


def test_when_restarts_are_used_up_the_run_ends_with_the_reason(run):
    code, _, err = run(*FLAKY, "--env-restarts", "1")
    assert code == 3
    assert err.endswith("RuntimeError: the link was lost; --env-restarts 1 are used up\n")
    assert checkpoint.load_latest(Path("run/checkpoint"))


def test_a_run_with_restarts_that_is_stopped_goes_on_as_if_it_had_not_been(run, monkeypatch):
    recipe = tiny.recipe(env="fake_envs:Flaky-v0", env_restarts=20)
    tiny.train(Path("whole"), recipe)
    session = tiny.begin(Path("cut"), recipe)
    with pytest.raises(Interrupted):
        tiny.go_on(session, lambda: session.learner.counters.train[0] >= 48)
    tiny.resume(Path("cut"))
    assert tiny.outcome(Path("cut")) == tiny.outcome(Path("whole"))


# Arguments and wrappers


CHANGED = {
    "in wrappers": {
        "env": "fake_envs:Windy",
        "env_kwargs": {"wind": 0.05, "max_episode_steps": 7},
        "wrappers": ("fake_envs:Doubled", "gymnasium.wrappers.TimeAwareObservation"),
    },
    "in a batch": {
        "env": "InvertedPendulum-v5",
        "env_kwargs": {"reset_noise_scale": 0.05, "max_episode_steps": 9},
    },
}


@pytest.mark.parametrize("changes", CHANGED.values(), ids=CHANGED)
def test_a_run_with_other_arguments_that_is_stopped_goes_on_as_if_it_had_not_been(changes, run):
    recipe = tiny.recipe(**changes)
    tiny.train(Path("whole"), recipe)
    session = tiny.begin(Path("cut"), recipe)
    with pytest.raises(Interrupted):
        tiny.go_on(session, lambda: session.learner.counters.train[0] >= 48)
    tiny.resume(Path("cut"))
    assert tiny.outcome(Path("cut")) == tiny.outcome(Path("whole"))
    usual = tiny.train(Path("usual"), tiny.recipe(env=recipe.env))
    assert tiny.outcome(usual)["progress"] != tiny.outcome(Path("whole"))["progress"]


def test_a_run_is_played_and_exported_with_its_own_arguments_and_wrappers(run, capsys):
    flags = ["--env-kwargs.wind", "0.5", "--env-kwargs.max-episode-steps=7", "--wrappers", "fake_envs.Doubled"]
    assert run(*tiny.FLAGS, "--env", "fake_envs:Windy", *flags, "--quiet")[0] == 0

    def returns(*flags):
        play.main(["run", "--json", "--episodes", "2", *flags])
        episodes = json.loads(capsys.readouterr().out)["episodes"]
        return [x["episode_return"] for x in episodes], [x["length"] for x in episodes]

    own, lengths = returns("--trust")
    assert max(lengths) == 7
    assert returns("--env", "fake_envs:Windy", "--wrappers", "fake_envs.Doubled")[0] == own
    assert returns("--trust", "--wrappers") == ([x / 2 for x in own], lengths)
    changed, shorter = returns("--trust", "--env-kwargs.max-episode-steps", "1", "--env-kwargs.wind", "0")
    assert (changed != own, shorter) == (True, [1, 1])
    export.main(["run", "--trust", "--out", "out", "--json"])
    assert Path("out/policy.rlsp").exists()
    with pytest.raises(UsageError, match="fake_envs:Windy has no argument wnid: did you mean wind?"):
        play.run_command(["run", "--trust", "--env-kwargs.wnid", "1"])


def test_arguments_and_wrappers_belong_to_the_environment_that_the_policy_was_trained_in():
    recipe = tiny.recipe(env="/a/robot.py:Robot", env_kwargs={"x": 1}, wrappers=("gymnasium.wrappers.ClipReward",))

    def acting(env_id, **flags):
        return acting_environment(recipe, env_id, PolicyFlags("run", env_id, **flags), Path("run"))

    assert acting("/b/robot.py:Robot") == Environment("/b/robot.py:Robot", {"x": 1}, recipe.wrappers)  # it has moved
    assert acting("/b/robot.py:Robot", env_kwargs={"y": 2}, wrappers=()).kwargs == {"x": 1, "y": 2}
    assert acting("Pendulum-v1") == Environment("Pendulum-v1")
    assert acting("Pendulum-v1", env_kwargs={"g": 2}) == Environment("Pendulum-v1", {"g": 2})


# Environments that print, and move


def test_what_an_environment_prints_does_not_spoil_the_result_nor_does_it_move_the_run(capfd):
    here = Path.cwd()
    train.main([*tiny.FLAGS, "--env", "fake_envs:Unruly-v0", "--run-dir", "run", "--quiet", "--json"])
    out, err = capfd.readouterr()
    assert json.loads(out)["run_dir"] == "run"
    assert "printed by Python" in err
    assert "printed by its descriptor" in err
    assert Path.cwd() == here
    held = {path.name for path in Path("run").iterdir()}
    assert {"curve.png", "policy.safetensors", "progress.csv", "recipe.toml", "summary.json"} <= held


def test_what_is_played_and_exported_there_is_told_alone(capfd):
    train.main([*tiny.FLAGS, "--env", "fake_envs:Unruly-v0", "--run-dir", "run", "--quiet"])
    capfd.readouterr()
    capfd.readouterr()
    for command, flags in ((play, ["--episodes", "2"]), (export, ["--out", "out"])):
        command.main(["run", "--env", "fake_envs:Unruly-v0", "--json", *flags])
        out, err = capfd.readouterr()
        assert json.loads(out)["env"] == "fake_envs:Unruly-v0"
        assert "printed by its descriptor" in err
    assert (Path("out") / "policy.rlsp").exists()


def test_a_run_in_an_environment_that_moves_is_resumed_where_it_lies(run):
    assert run(*tiny.FLAGS, "--env", "fake_envs:Unruly-v0", "--quiet")[0] == 0
    os.rename("run/status.json", "status.json")
    assert run("--resume", "run", "--quiet")[0] == 0
    assert status()["state"] == "finished"


# Environments that are not what they were


def test_a_start_that_differs_with_the_same_seed_is_warned_of(run, caplog, monkeypatch):
    starts = iter(range(1000))
    monkeypatch.setattr(fake_envs.Point, "_observation", lambda self: [next(starts), self.speed])
    assert run(*tiny.FLAGS, "--dry-run")[0] == 0
    assert caplog.messages == [
        "fake_envs:Point-v0 is not deterministic: two episodes with the same seed begin differently"
    ]


def test_an_environment_whose_observations_have_changed_is_not_resumed(run, monkeypatch):
    run(*tiny.FLAGS, "--quiet")
    Path("run/status.json").unlink()
    monkeypatch.setattr(fake_envs.Point, "observation_space", fake_envs.Box(-9, 9, (3,)))
    monkeypatch.setattr(fake_envs.Point, "_observation", lambda self: [0.0, self.position, self.speed])
    code, _, err = run("--resume", "run", "--quiet")
    assert code == 4
    assert "here it would have float" in err
    assert "the environment or a package is another than the run began with" in err
    assert err.count("\n") == 1
