"""Files of a user's own that decide what an environment is: a run knows their digests, and a change is told."""

import hashlib
import logging
from pathlib import Path

import pytest
import tiny

import rlsparse
from rlsparse.run import directory
from rlsparse.run.environment_files import digests
from rlsparse.run.reading import read_json
from rlsparse.sim.environment import Environment
from rlsparse.trained.landscape import run_command
from rlsparse.trained.policy import PolicyFlags, acting_environment

REACH = "import fake_envs\nclass Reach(fake_envs.Point): pass\ndef wrapped(env): return env\n"


@pytest.fixture
def reach(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.fsync", lambda _: None)
    (tmp_path / "reach.py").write_text(REACH)
    return tmp_path / "reach.py"


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def test_files_with_code_and_models_of_one_s_own_have_digests(reach, tmp_path):
    (tmp_path / "robot.xml").write_text("<mujoco/>")
    model = str(tmp_path / "robot.xml")
    environment = Environment(
        f"{reach}:Reach", {"xml_file": model}, (f"{reach}:wrapped", "gymnasium.wrappers.RescaleAction")
    )
    expected = {"reach.py:Reach": sha256(REACH), "reach.py:wrapped": sha256(REACH), model: sha256("<mujoco/>")}
    assert digests(environment) == expected
    assert digests(Environment("Ant-v5", {"xml_file": "./robot.xml"})) == {"./robot.xml": sha256("<mujoco/>")}


@pytest.mark.parametrize("model", ["ant.xml", "/nowhere.xml", "~nobody/x.xml", "/", "/dev/zero", 5, "./a\0"])
def test_what_is_no_file_of_one_s_own_has_none(model):
    assert digests(Environment("Ant-v5", {"xml_file": model})) == {}
    assert digests(Environment("/nowhere/reach.py:Reach")) == {}


def test_each_use_of_a_run_warns_of_a_file_that_has_changed(reach, caplog, monkeypatch):
    monkeypatch.setattr("rlsparse.trained.landscape_account.write", lambda update, found, picture: picture)
    run = tiny.train(reach.parent / "run", tiny.recipe(env=f"{reach}:Reach"))
    assert read_json(run / "versions.json")["files"] == {"reach.py:Reach": sha256(REACH)}
    env = f"{reach}:Reach"

    def warnings():
        caplog.clear()
        directory.reopen(run)[0].release()
        rlsparse.load(run, env=env)
        run_command([str(run), "--env", env, "--samples", "2", "--episodes", "2"])
        return [message for message in caplog.messages if "reach.py" in message]

    with caplog.at_level(logging.WARNING):
        assert warnings() == []
        reach.write_text(REACH + "# another reward\n")
        told = f"{run} began with other contents of reach.py:Reach: it may be another task now"
        first = f"{run} may go on differently than without the stop: reach.py:Reach has other contents now"
        assert warnings() == [first, told, told]
        (run / "versions.json").write_text("damaged")
        rlsparse.load(run, env=env)  # which needs no records


def test_another_model_than_the_run_s_is_the_user_s_own_choice(reach, tmp_path, caplog):
    models = [str(tmp_path / name) for name in ("one.xml", "two.xml")]
    for model in models:
        Path(model).write_text("<mujoco/>")
    recipe = tiny.recipe(env="Ant-v5", env_kwargs={"xml_file": models[0]})
    directory.create(recipe, "ppo", tmp_path, tmp_path / "run").release()
    Path(models[0]).write_text("<mujoco />")
    for given, warned in (({"xml_file": models[1]}, False), ({}, True)):
        caplog.clear()
        acting_environment(recipe, None, PolicyFlags("run", env_kwargs=given), tmp_path / "run" / "policy.safetensors")
        assert [f"other contents of {models[0]}" in message for message in caplog.messages] == [True] * warned
