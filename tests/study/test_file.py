"""study.toml: the words of the command line as TOML; it is data, and runs no code that nobody named."""

from pathlib import Path

import gymnasium
import pytest

from rlsparse.errors import UsageError
from rlsparse.study.arguments import study_from_arguments
from rlsparse.study.flags import parse
from rlsparse.study.study import cells

EVIL = """
import pathlib
pathlib.Path("ran").touch()
"""


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Return the cells of a study file with this text."""
    monkeypatch.chdir(tmp_path)
    Path("evil.py").write_text(EVIL)

    def cells_of(text, **arguments):
        Path("study.toml").write_text(text)
        return cells(study_from_arguments(study="study.toml", **arguments), Path("runs")).cells

    return cells_of


def test_agents_arms_settings_and_fields(read):
    found = read("""
        agents = ["ppo", "trpo"]
        envs = ["HalfCheetah", "Hopper"]
        num_seeds = 10
        total-steps = 1_000_000
        [algorithm]
        learning-rate-decay = false
        [sweep]
        "algorithm.learning-rate" = [1e-4, 3e-4]
        advantage.gamma = [0.99, 0.995]
        [arms.wide]
        agent = "ppo"
        policy.actor-hidden = [256, 256]
        [arms.wide.environments."Hopper-v5"]
        algorithm.epochs = 3
    """)
    assert len(found) == 3 * 2 * 2 * 2
    assert not any(cell.recipe.algorithm.learning_rate_decay for cell in found)
    assert {(cell.arm, cell.recipe.env) for cell in found if cell.recipe.policy.actor_hidden == (256, 256)} == {
        ("wide", "HalfCheetah-v5"),
        ("wide", "Hopper-v5"),
    }
    few = {cell.recipe.env for cell in found if cell.arm == "wide" and cell.recipe.algorithm.epochs == 3}
    assert few == {"Hopper-v5"}


def test_swept_fields_may_be_in_tables(read):
    found = read('envs = ["Hopper"]\n[sweep.algorithm]\nepochs = [3, 5]\n[sweep.algorithm.objective]\nkind = ["clip"]')
    assert [cell.setting for cell in found] == [
        {"algorithm.epochs": 3, "algorithm.objective": "clip"},
        {"algorithm.epochs": 5, "algorithm.objective": "clip"},
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "which environments?"),
        ('envs = "Hopper"', "envs must be a list, not 'Hopper'"),
        ("envs = [3]", "envs must be text, not 3"),
        ('envs = ["Hoper"]', "unknown environment 'Hoper': did you mean Hopper-v5?"),
        ('envs = ["Hopper"]\nagent = "ppo"', "unknown field agent: did you mean agents?"),
        ('envs = ["Hopper"]\nenv = "Hopper"', "unknown field env: did you mean envs?"),
        ('envs = ["Hopper"]\nsweeps = 3', "unknown field sweeps: did you mean sweep?"),
        ('envs = ["Hopper"]\n[grid]\nnum_envs = [2]', "unknown field grid: did you mean sweep, or settings in Python?"),
        ('envs = ["Hopper"]\njobs = 2', "jobs says how a study is carried out, and is a flag: --jobs"),
        ('envs = ["Hopper"]\nnum_envs = [2, 4]', "num_envs has several values, [2, 4]: lists of them are in [sweep]"),
        ('envs = ["Hopper"]\nlearning_rate = 3', "unknown field learning_rate: did you mean algorithm.learning_rate?"),
        (
            'envs = ["Hopper"]\n[algorithm]\nepohcs = 3',
            "unknown field algorithm.epohcs: did you mean algorithm.epochs?",
        ),
        ('envs = ["Hopper"]\nagents = ["ppoo"]', "unknown agent 'ppoo': did you mean ppo?"),
        ('envs = ["Hopper"]\n[sweep]\nepochs = [3]', "unknown field epochs: did you mean algorithm.epochs?"),
        ('envs = ["Hopper"]\n[sweep]\nnum_envs = 3', "sweep num_envs must be a list of values, as [1, 2], not 3"),
        ('envs = ["Hopper"]\n[sweep]\nnum_envs = []', "sweep num_envs has no values"),
        ('envs = ["Hopper"]\n[sweep]\nnum_envs = [4, 4]', "sweep num_envs has the value 4 twice"),
        ('envs = ["Hopper"]\n[arms]\na = 3', 'arms.a must be a table, as {agent = "ppo"}, not 3'),
        ('envs = ["Hopper"]\n[arms."../a"]\nagent = "ppo"', "the name of the arm '../a' must be a plain one"),
        ('envs = ["Hopper"]\n[arms.a]\nagent = 3', "arms.a.agent must be text, not 3"),
        ('envs = ["Hopper"]\n[arms.a]\nagent = "ppoo"', "arms.a: unknown agent 'ppoo': did you mean ppo?"),
        ('envs = ["Hopper"]\n[arms.a]\nagents = "ppo"', "arms.a: unknown field agents"),
        ('envs = ["Hopper"]\n[arms.a]\nepochs = 3', "arms.a: unknown field epochs: did you mean algorithm.epochs?"),
        ('envs = ["Hopper"]\n[arms.a.environments]\nHoper = {}', "arms.a.environments: unknown environment 'Hoper'"),
        ('envs = ["Hopper"]\n[arms.a]\nenvironments = 3', "arms.a.environments must be a table of tables"),
        ('envs = ["Hopper"]\nagents = ["ppo"]\n[arms.PPO]\nnum_envs = 3', "the arm PPO is there twice"),
        ('envs = ["Hopper"]\n[algorithm]\nkind = 3', "algorithm.kind must be text, not 3"),
        ("envs = [", "not a TOML file"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_that_names_the_file(text, said, read):
    with pytest.raises(UsageError) as told:
        read(text)
    assert str(told.value).startswith(f"study.toml: {said}")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("text", "flag"),
    [
        ('envs = ["evil.py:Env"]', "by --envs evil.py:Env"),
        ('envs = ["evil:Env-v0"]', "by --envs evil:Env-v0"),
        ('envs = ["Hopper"]\nwrappers = ["evil.py:Wrapper"]', "by --wrappers"),
        ('envs = ["Hopper"]\n[arms.a]\nwrappers = ["evil.W"]', "by --wrappers"),
        ('envs = ["Hopper"]\n[arms.a.environments.Hopper]\nwrappers = ["evil.W"]', "by --wrappers"),
        ('envs = ["Hopper"]\n[sweep]\nwrappers = [["evil.W"]]', "by --wrappers"),
        ('envs = ["Hopper"]\n[sweep]\n"wrappers" = ["evil.W"]', "by --wrappers"),
        ('envs = ["Hopper"]\nwrappers = ["gymnasium.wrappers.evil:W"]', "by --wrappers"),
        ('envs = ["Hopper"]\nwrappers = ["gymnasium.wrappers.evil.W"]', "by --wrappers"),
        ('envs = ["Hopper"]\nwrappers = "evil.W"', "by --wrappers"),
        ('envs = ["Hopper"]\n[arms.a]\nagent = "ppo"\n"wrappers" = [["evil.W"]]', "by --wrappers"),
    ],
)
def test_code_that_a_file_names_is_not_run(text, flag, read):
    with pytest.raises(UsageError) as told:
        read(text)
    assert "would be imported and its code run: if you trust it, say so by --trust, or " in str(told.value)
    assert str(told.value).endswith(flag)
    assert not Path("ran").exists()


def test_code_of_a_package_that_registers_an_id_is_not_run(read):
    gymnasium.register("Plugin-v0", entry_point="evil:Env")
    try:
        with pytest.raises(UsageError, match="names the environment Plugin-v0, for which evil would be imported"):
            read('envs = ["Plugin-v0"]')
    finally:
        del gymnasium.registry["Plugin-v0"]
    assert not Path("ran").exists()


def test_code_that_the_user_names_too_or_trusts_is_run(read):
    text = 'envs = ["fake_envs:Point-v0"]'
    assert read(text, trust=True)[0].recipe.env == "fake_envs:Point-v0"
    assert read(text, envs=["fake_envs:Point-v0"])[0].recipe.env == "fake_envs:Point-v0"


def test_wrappers_that_the_command_line_names_take_the_place_of_those_of_arms(tmp_path):
    study = tmp_path / "study.toml"
    study.write_text('envs = ["Hopper"]\n[arms.a]\nagent = "ppo"\nwrappers = ["evil.W"]')
    found, _ = parse([str(study), "--wrappers", "gymnasium.wrappers.ClipAction"])
    (cell,) = cells(found, tmp_path).cells
    assert cell.recipe.wrappers == ("gymnasium.wrappers.ClipAction",)


def test_wrappers_of_gymnasium_are_nobody_s_code(read):
    found = read('envs = ["Hopper"]\nwrappers = ["gymnasium.wrappers.ClipAction"]')
    assert found[0].recipe.wrappers == ("gymnasium.wrappers.ClipAction",)
