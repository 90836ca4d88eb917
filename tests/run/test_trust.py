"""Nothing that loads runs code: an environment's module is imported only if the command line itself names it."""

import json
import re
import shutil
import sys
from pathlib import Path

import gymnasium
import pytest
import safetensors
import tiny

from rlsparse import sim, train
from rlsparse.errors import EnvironmentFailure, UsageError
from rlsparse.run import cards, policy_file
from rlsparse.run.reading import seal, unseal
from rlsparse.run.recipe import to_dict, to_toml
from rlsparse.run.trust import trust_environment
from rlsparse.sim.environment import Environment
from rlsparse.trained import export, landscape, play

EVIL = "trap:Env-v0"
"""A module beside the command that says so when it is imported."""

PLUGIN = "Plugin-v0"
"""An id that is registered, as installed packages do, whose code lies in that module too."""

COMMANDS = {
    "play a run": lambda run, *flags: play.run_command([str(run), *flags]),
    "play a file": lambda run, *flags: play.run_command([str(run / "policy.safetensors"), *flags]),
    "export": lambda run, *flags: export.run_command([str(run), *flags]),
    "landscape": lambda run, *flags: landscape.run_command([str(run), *flags]),
    "resume": lambda run, *flags: train.run_command(["--resume", str(run), *flags]),
}


@pytest.fixture(autouse=True)
def trap(tmp_path, monkeypatch):
    """Put the module where Python finds it first."""
    (tmp_path / "trap.py").write_text("raise SystemExit('the module of a file was imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    gymnasium.register(PLUGIN, entry_point="trap:Env")
    yield tmp_path / "trap.py"
    del gymnasium.registry[PLUGIN]
    sys.modules.pop("trap", None)


@pytest.fixture(scope="module")
def own_run(tmp_path_factory):
    return tiny.train(tmp_path_factory.mktemp("trust") / "run")


@pytest.fixture
def run_that_names(own_run, tmp_path):
    """Make a run directory whose files name an environment; digests are right, for whoever made it could do so."""

    def make(env_id, *wrappers):
        run_dir = Path(shutil.copytree(own_run, tmp_path / "run"))
        recipe = tiny.recipe(env=env_id, wrappers=wrappers)
        with safetensors.safe_open(run_dir / "policy.safetensors", "np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            recorded = json.loads(file.metadata()["policy"])
        del recorded["sha256"]
        recorded["recipe"] = to_dict(recipe)
        (run_dir / "policy.safetensors").write_bytes(policy_file._encode(recorded, arrays))
        (run_dir / "recipe.toml").write_text(to_toml(recipe))
        (run_dir / "status.json").write_text("{}")
        for manifest in run_dir.glob("checkpoint/*/manifest.json"):
            body = unseal(manifest.read_text(), manifest)
            body["values"]["recipe"] = to_dict(recipe)
            manifest.write_text(seal(body))
        return run_dir

    return make


@pytest.mark.parametrize("env_id", [EVIL, PLUGIN])
@pytest.mark.parametrize("command", COMMANDS)
def test_code_that_a_file_names_is_refused_by_every_command(run_that_names, command, env_id):
    both_ways = f"the module trap would be imported and its code run.* say so by --env {env_id} or --trust"
    with pytest.raises(UsageError, match=both_ways):
        COMMANDS[command](run_that_names(env_id))
    assert "trap" not in sys.modules


@pytest.mark.parametrize("command", COMMANDS)
def test_trust_says_first_which_code_is_run(run_that_names, command, trap, capsys):
    with pytest.raises((SystemExit, EnvironmentFailure), match="the module of a file was imported"):
        COMMANDS[command](run_that_names(EVIL), "--trust")
    assert re.search(f"run/.*: running the module trap, {trap}, for {EVIL}$", capsys.readouterr().err, re.MULTILINE)


@pytest.mark.parametrize("wrapper", ["trap.Wrapper", "trap:Wrapper"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrapper_that_a_file_names_is_refused_by_every_command(run_that_names, command, wrapper):
    run_dir = run_that_names(tiny.RECIPE.env, "fake_envs:Doubled", wrapper)
    with pytest.raises(UsageError) as caught:
        COMMANDS[command](run_dir, "--env", tiny.RECIPE.env)
    code = "for which the modules fake_envs and trap would be imported and their code run: if you trust them"
    both = f"names the wrapper fake_envs:Doubled and the wrapper {wrapper}"
    assert str(caught.value).endswith(f"{both}, {code}, say so by --wrappers fake_envs:Doubled {wrapper} or --trust")
    assert "trap" not in sys.modules


def test_all_that_a_file_would_run_is_named(run_that_names, capsys):
    run_dir = run_that_names(EVIL, "gymnasium.wrappers.ClipReward", "/x/own robot.py:Wrapper")
    with pytest.raises(UsageError) as caught:
        play.run_command([str(run_dir)])
    assert (
        f"names the environment {EVIL} and the wrapper /x/own robot.py:Wrapper, for which the modules trap and"
        in str(caught.value)
    )
    says = f"--env {EVIL} --wrappers gymnasium.wrappers.ClipReward '/x/own robot.py:Wrapper' or --trust"
    assert str(caught.value).endswith(says)
    with pytest.raises((EnvironmentFailure, SystemExit)):
        play.run_command([str(run_dir), "--trust"])
    told = capsys.readouterr().err
    assert f"running the module trap, {Path.cwd()}/trap.py, for {EVIL}\n" in told
    assert "running the file /x/own robot.py for /x/own robot.py:Wrapper\n" in told


@pytest.mark.parametrize(
    "name",
    [
        "gymnasium.wrappers.trap.Env",
        "gymnasium.wrappers.ClipReward:Env",
        "gymnasium.wrappersx.A",
        "gymnasium.os.A",
        "A",
    ],
)
def test_only_gymnasium_s_own_wrappers_need_no_trust(name):
    own = Environment("Pendulum-v1", wrappers=("gymnasium.wrappers.ClipReward",))
    trust_environment(own, None, Path("recipe.toml"))
    with pytest.raises(UsageError, match=f"names the wrapper {name}, for which"):
        trust_environment(Environment("Pendulum-v1", wrappers=(name,)), None, Path("recipe.toml"))


def test_wrappers_on_the_command_line_are_trust(run_that_names, capsys):
    run_dir = run_that_names(tiny.RECIPE.env, "fake_envs:Doubled")
    named = ["--env", tiny.RECIPE.env, "--wrappers", "fake_envs:Doubled", "--json", "--episodes", "1"]
    play.run_command([str(run_dir), *named])
    doubled = json.loads(capsys.readouterr().out)["return_mean"]
    play.run_command([str(run_dir), *named[:2], *named[4:], "--wrappers"])
    assert doubled == 2 * json.loads(capsys.readouterr().out)["return_mean"]
    with pytest.raises(UsageError, match="is a run with fake_envs:Doubled, and keeps its recipe"):
        train.run_command(["--resume", str(run_dir), *named[:2], "--wrappers", "fake_envs.Doubled"])


@pytest.mark.parametrize("kwargs", [{"id": "trap:Env"}, {"render_mode": "human"}, {"disable_env_checker": True}])
def test_arguments_of_a_file_are_not_what_gymnasium_itself_reads(kwargs):
    with pytest.raises(UsageError, match="cannot be given to an environment"):
        tiny.recipe(env_kwargs=kwargs)


def test_arguments_of_a_file_are_data_that_no_environment_of_gymnasium_s_imports(run_that_names):
    for name in ("entry_point", "vector_entry_point", "additional_wrappers", "wrappers", "kwargs"):
        with pytest.raises(UsageError, match=f"Pendulum-v1 has no argument {name}"):
            sim.make(Environment("Pendulum-v1", {name: "trap:Env"}), 1)
        with pytest.raises(UsageError, match=f"Ant-v5 has no argument {name}"):
            sim.make(Environment("Ant-v5", {name: "trap:Env"}), 1)
    assert "trap" not in sys.modules


def test_an_agent_card_cannot_bring_wrappers(tmp_path):
    (tmp_path / "card.toml").write_text('name = "x"\ndescription = "y"\n[recipe]\nwrappers = ["trap.Wrapper"]\n')
    with pytest.raises(UsageError, match="recipe.wrappers do not belong into an agent card: --wrappers says which"):
        cards.agent(str(tmp_path))


def test_trusted_code_plays(run_that_names, trap, capsys):
    trap.write_text("import gymnasium\ngymnasium.register('Env-v0', entry_point='fake_envs:Point')\n")
    play.run_command([str(run_that_names(EVIL)), "--trust", "--json", "--episodes", "1"])
    assert json.loads(capsys.readouterr().out)["env"] == EVIL
    del gymnasium.registry["Env-v0"]


@pytest.mark.parametrize(
    ("module", "file"),
    [
        ("json.decoder", json.__file__),
        ("nowhere", "which is not installed"),
        ("../x/robot.py", "robot.py"),
        ("", "which is not installed"),
        (".x", "which is not installed"),
    ],
)
def test_the_file_of_a_module_is_found_without_an_import(module, file, capsys):
    trust_environment(Environment(f"{module}:E-v0"), None, Path("recipe.toml"), trust=True)
    assert file in capsys.readouterr().err


def test_what_is_to_be_typed_is_quoted_and_moves_no_cursor(run_that_names, capsys):
    run_dir = run_that_names("$(reboot)\x1b[2J:E-v0")
    with pytest.raises(SystemExit, match="2"):
        play.main([str(run_dir)])
    assert "say so by --env '$(reboot) [2J:E-v0' or --trust\n" in capsys.readouterr().err


def test_an_id_that_nothing_registers_is_told(run_that_names):
    with pytest.raises(EnvironmentFailure, match="names the environment Plugin, which no package here registers"):
        COMMANDS["play a run"](run_that_names("Plugin"))


def test_code_of_gymnasium_s_own_needs_no_trust():
    for env_id in ("Pendulum-v1", "HalfCheetah-v5", "BipedalWalker-v3"):
        environment = Environment(env_id)
        trust_environment(environment, None, Path("recipe.toml"))


def test_the_same_environment_on_the_command_line_is_trust(own_run, capsys):
    play.run_command([str(own_run), "--env", tiny.RECIPE.env, "--json"])
    assert tiny.RECIPE.env in capsys.readouterr().out


def test_another_environment_on_the_command_line_is_none(run_that_names):
    run_dir = run_that_names(EVIL)
    with pytest.raises(UsageError, match="keeps its recipe"):
        train.run_command(["--resume", str(run_dir), "--env", "HalfCheetah"])


def test_an_agent_card_cannot_bring_an_environment(tmp_path):
    for table in (f'[recipe]\nenv = "{EVIL}"\n', f'[environments."Hopper-v5"]\nenv = "{EVIL}"\n'):
        (tmp_path / "card.toml").write_text(f'name = "x"\ndescription = "y"\n{table}')
        with pytest.raises(UsageError, match="env"):
            cards.agent(str(tmp_path))
