"""Environment and agent cards: what they say is true, names resolve, mistakes are named."""

import sys
from pathlib import Path

import gymnasium
import pytest

from rlsparse.errors import RlsparseError, UsageError
from rlsparse.run import cards
from rlsparse.sim.cpu import route_warnings

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

TASKS = {
    "Ant-v5",
    "HalfCheetah-v5",
    "Hopper-v5",
    "Humanoid-v5",
    "HumanoidStandup-v5",
    "InvertedDoublePendulum-v5",
    "InvertedPendulum-v5",
    "Pusher-v5",
    "Reacher-v5",
    "Swimmer-v5",
    "Walker2d-v5",
}
CARDS = list(cards.environments().values())
by_id = pytest.mark.parametrize("card", CARDS, ids=lambda card: card.id)


@pytest.fixture(autouse=True, scope="module")
def no_log_file():
    route_warnings()


# What the shipped cards say


def test_every_mujoco_task_has_a_card():
    assert set(cards.environments()) == TASKS
    assert len(list((ROOT / "envs").glob("*.toml"))) == len(TASKS)


@by_id
def test_sizes_and_horizon_are_gymnasiums(card):
    env = gymnasium.make(card.id)
    assert env.observation_space.shape == (card.observation_size,)
    assert env.action_space.shape == (card.action_size,)
    assert gymnasium.spec(card.id).max_episode_steps == card.horizon
    env.close()


@by_id
def test_the_default_agent_exists(card):
    assert card.default_agent in cards.agents()


def test_no_name_means_two_tasks():
    owner = {}
    for card in CARDS:
        for name in {card.id, card.path.stem, *card.aliases}:
            assert owner.setdefault(name.casefold(), card.id) == card.id


@pytest.mark.parametrize("name", ["InvertedPendulum", "Hopper"])
def test_random_return_is_what_its_command_measures(name):
    from random_returns import random_returns

    card = cards.environment(name)
    assert card.random_return.command == f"python benchmarks/random_returns.py {name}"
    returns = random_returns(card.id, card.random_return.episodes)
    assert card.random_return.mean == pytest.approx(returns.mean(), abs=0.06)
    assert card.random_return.std == pytest.approx(returns.std(), abs=0.06)


def test_agents_are_named_after_their_folder():
    assert {card.name for card in cards.agents().values()} == {
        path.parent.name for path in (ROOT / "agents").glob("*/card.toml")
    }
    assert all(card.path.parent.name == card.name for card in cards.agents().values())


def test_agents_override_only_environments_that_exist():
    for card in cards.agents().values():
        assert set(card.environments) <= set(gymnasium.registry)


def test_the_folders_hold_data_and_no_python():
    for folder in ("agents", "envs"):
        assert not list((ROOT / folder).rglob("*.py*"))


# Names of environments


@pytest.mark.parametrize(
    ("name", "env_id"),
    [
        ("HalfCheetah-v5", "HalfCheetah-v5"),
        ("HalfCheetah", "HalfCheetah-v5"),
        ("half-cheetah", "HalfCheetah-v5"),
        ("half_cheetah", "HalfCheetah-v5"),
        ("HALFCHEETAH-V5", "HalfCheetah-v5"),
        ("humanoid-standup", "HumanoidStandup-v5"),
        ("walker2D", "Walker2d-v5"),
        # not on a card, but registered with Gymnasium
        ("HalfCheetah-v4", "HalfCheetah-v4"),
        ("Pendulum-v1", "Pendulum-v1"),
        ("pendulum-V1", "Pendulum-v1"),
        ("Pendulum", "Pendulum-v1"),
        ("MountainCarContinuous", "MountainCarContinuous-v0"),
        ("phys2d/Pendulum-v0", "phys2d/Pendulum-v0"),
        ("gymnasium.envs.classic_control:Pendulum-v1", "gymnasium.envs.classic_control:Pendulum-v1"),
    ],
)
def test_a_name_resolves_to_a_registered_id(name, env_id):
    assert cards.resolve_environment(name) == env_id


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("HalfCheeta", "HalfCheetah-v5"),
        ("HalfCheeta-v5", "HalfCheetah-v5"),
        ("HalfCheetah-v9", "HalfCheetah-v5"),
        ("Cheetah", "HalfCheetah-v5"),
        ("walker", "Walker2d-v5"),
        ("InvertedDoubelPendulum", "InvertedDoublePendulum-v5"),
        ("MountainCarContinous-v0", "MountainCarContinuous-v0"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_nearest(name, suggestion):
    with pytest.raises(UsageError) as caught:
        cards.resolve_environment(name)
    expected = f"unknown environment '{name}': did you mean {suggestion}? (rlsparse envs lists them)"
    assert str(caught.value) == expected
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["", "xyzzy"])
def test_a_name_near_nothing_is_unknown(name):
    with pytest.raises(UsageError, match=r"^unknown environment '.*' \(rlsparse envs lists them\)$"):
        cards.resolve_environment(name)


def test_an_id_near_nothing_may_be_of_another_package():
    with pytest.raises(
        UsageError, match=r"lists them; of another package, name the module too, as module:no/Such-v0\)$"
    ):
        cards.resolve_environment("no/Such-v0")


@pytest.mark.parametrize("name", ["HalfCheetah-v2", "HalfCheetah-v3", "half-cheetah-v3"])
def test_a_version_that_left_gymnasium_names_its_successor(name):
    with pytest.raises(UsageError, match=r"has moved out of Gymnasium: its successor is HalfCheetah-v5$"):
        cards.resolve_environment(name)


@pytest.mark.parametrize("name", ["HalfCheetah-v4", "HalfCheeta"])
def test_only_a_cards_own_names_find_it(name):
    with pytest.raises(UsageError, match=r"did you mean HalfCheetah-v5\?"):
        cards.environment(name)


# Agents


def write_agent(folder, text):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "card.toml"
    path.write_text(text, encoding="utf-8")
    return path


AGENT = """
name = "mine"
description = "An agent."
[recipe]
num_envs = 8
[recipe.algorithm]
epochs = 10
learning_rate = 3e-4
[environments."Hopper-v5"]
total_steps = 2_000_000
[environments."Hopper-v5".algorithm]
learning_rate = 1e-4
"""


def test_an_environments_table_overrides_the_recipe_field_by_field(tmp_path):
    card = cards.read_agent_card(write_agent(tmp_path, AGENT))
    base = {"num_envs": 8, "algorithm": {"epochs": 10, "learning_rate": 3e-4}}
    hopper = {"num_envs": 8, "algorithm": {"epochs": 10, "learning_rate": 1e-4}, "total_steps": 2_000_000}
    assert card.recipe_for("HalfCheetah-v5") == base
    assert card.recipe_for("Hopper-v5") == hopper
    card.recipe_for("Hopper-v5")["algorithm"]["epochs"] = 0
    card.recipe_for("HalfCheetah-v5")["algorithm"]["epochs"] = 0
    assert (card.recipe_for("HalfCheetah-v5"), card.recipe_for("Hopper-v5")) == (base, hopper)


def agent_card(folder, name, rest):
    (folder / name).mkdir()
    (folder / name / "card.toml").write_text(f'name = "{name}"\ndescription = "One of two."\n{rest}')
    return folder / name / "card.toml"


def test_a_card_says_only_what_differs_from_its_base(tmp_path):
    agent_card(tmp_path, "one", "[recipe]\nnum_envs = 3\nseed = 1\n[environments.Hopper-v5]\nseed = 5\nnum_seeds = 2")
    card = cards.read_agent_card(agent_card(tmp_path, "two", 'base = "one"\n[recipe]\nseed = 7'))
    assert card.recipe_for("Ant-v5") == {"num_envs": 3, "seed": 7}
    assert card.recipe_for("Hopper-v5") == {"num_envs": 3, "seed": 7, "num_seeds": 2}


def test_of_a_component_of_another_kind_nothing_is_taken_from_the_base(tmp_path):
    own = '[recipe.advantage]\nkind = "gae"\ngamma = 0.98\n[environments.Hopper-v5.advantage]\ngae_lambda = 0.9'
    agent_card(tmp_path, "one", own)
    card = cards.read_agent_card(agent_card(tmp_path, "two", 'base = "one"\n[recipe.advantage]\nkind = "monte-carlo"'))
    assert card.recipe_for("Hopper-v5") == {"advantage": {"kind": "monte-carlo"}}
    agent_card(tmp_path, "three", own.replace('kind = "gae"\n', ""))
    card = cards.read_agent_card(agent_card(tmp_path, "four", 'base = "three"\n[recipe.advantage]\nkind = "gae"'))
    assert card.recipe_for("Hopper-v5") == {"advantage": {"kind": "gae", "gamma": 0.98, "gae_lambda": 0.9}}


def test_the_name_of_a_card_is_no_path(tmp_path):
    for name in ("../../x", "/tmp/x", ".x", "a\\u001b[2J"):
        (tmp_path / "card.toml").write_text(f'name = "{name}"\ndescription = "y"\n')
        with pytest.raises(UsageError, match="name must be a plain name, not"):
            cards.agent(str(tmp_path))


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("none", "must be the name of another"),
        ("../../one", "must be the name of another"),
        ("/one", "must be the name of another"),
        ("two", "has a base itself"),
    ],
)
def test_a_base_is_a_card_without_one(tmp_path, base, message):
    path = agent_card(tmp_path, "two", f'base = "{base}"')
    with pytest.raises(UsageError, match=message):
        cards.read_agent_card(path)


def test_a_policy_and_a_curve_are_found_where_they_ship(tmp_path):
    card = cards.read_agent_card(write_agent(tmp_path, AGENT))
    (tmp_path / "Hopper-v5").mkdir()
    (tmp_path / "Hopper-v5" / "policy.safetensors").touch()
    assert card.policy_path("Hopper-v5") == tmp_path / "Hopper-v5" / "policy.safetensors"
    assert card.curve_path("Hopper-v5") is None
    assert card.policy_path("Ant-v5") is None


def test_an_agent_is_found_by_name_or_by_path(tmp_path):
    path = write_agent(tmp_path / "mine", AGENT)
    assert cards.agent("PPO").name == "ppo"
    assert cards.agent(str(path)).path == path
    assert cards.agent(str(path.parent)).path == path


def test_a_folder_called_like_a_shipped_agent_does_not_replace_it(tmp_path, monkeypatch):
    write_agent(tmp_path / "ppo", AGENT)
    monkeypatch.chdir(tmp_path)
    assert cards.agent("ppo").name == "ppo"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pppo", "unknown agent 'pppo': did you mean ppo? (rlsparse agents lists them)"),
        ("xyzzy", "unknown agent 'xyzzy' (rlsparse agents lists them)"),
        ("hopper", "unknown agent 'hopper': it is an environment, which --env names beside an agent"),
        ("no/such", "no agent card at 'no/such': expected a card.toml or a folder that holds one"),
        ("other.toml", "no agent card at 'other.toml': expected a card.toml or a folder that holds one"),
    ],
)
def test_an_unknown_agent_is_refused(name, message):
    with pytest.raises(UsageError) as caught:
        cards.agent(name)
    assert str(caught.value) == message


# Mistakes in a card


HOPPER = (ROOT / "envs" / "hopper.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("horizon = 1_000", "horizn = 1_000", "unknown key horizn: did you mean horizon?"),
        ("horizon = 1_000\n", "", "the key horizon is missing"),
        ("horizon = 1_000", 'horizon = "1000"', "horizon must be a whole number, not '1000'"),
        ("horizon = 1_000", "horizon = true", "horizon must be a whole number, not True"),
        ("horizon = 1_000", "horizon = 0", "horizon must be a positive whole number, not 0"),
        (
            "total_steps = 1_000_000",
            "total_steps = 1.5e-1",
            "total_steps must be a whole number, not 0.15",
        ),
        ('id = "Hopper-v5"', "id = 5", "id must be text, not 5"),
        ('aliases = ["Hopper"]', 'aliases = "Hopper"', "aliases must be a list, not 'Hopper'"),
        (
            "episodes = 100",
            "episode = 100",
            "unknown key random_return.episode: did you mean random_return.episodes?",
        ),
        ("mean = 2609.3", "mean = nan", "references[1].mean must be a finite number, not nan"),
        ("std = 852.4\nseeds = 10\n", "std = 852.4\n", "the key references[0].seeds is missing"),
        (
            "std = 852.4\nseeds = 10",
            "std = 852.4\nseeds = 0",
            "references[0].seeds must be a positive whole number, not 0",
        ),
        ("std = 852.4", "std = -1.0", "references[0].std must be zero or a positive number, not -1.0"),
        ("[random_return]", "[random]", "unknown key random: did you mean random_return?"),
        (
            'source = "observation"',
            'source = "obs"',
            "projections.posture.source must be one of observation, qpos, not 'obs'",
        ),
        (
            "index = [0, 1, 5]",
            "index = [0, 1]",
            "projections.posture.index must not be empty",
        ),
        (
            "index = [0, 1, 5]",
            "index = [0, -1, 5]",
            "projections.posture.index must be zero or positive whole numbers, not [0, -1, 5]",
        ),
        (
            "high = [1.7, 0.2, 4]",
            "high = [1.7, -0.2, 4]",
            "projections.posture.low must lie below high",
        ),
        (
            "cells = [20, 10, 20]",
            "cells = [20, 0, 20]",
            "projections.posture.cells must be positive whole numbers, not [20, 0, 20]",
        ),
        ("[[references]]", "[references]", "not a TOML file"),
        ("horizon = 1_000", "horizon = ", "not a TOML file"),
    ],
)
def test_a_mistake_in_an_environment_card_is_named(tmp_path, old, new, message):
    assert old in HOPPER
    path = tmp_path / "hopper.toml"
    path.write_text(HOPPER.replace(old, new), encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        cards.read_environment_card(path)
    assert str(caught.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "mine"\n', "", "the key name is missing"),
        ('name = "mine"', 'name = "mine"\nnotes = ""', "unknown key notes"),
        ("[recipe.algorithm]", "[recpe.algorithm]", "unknown key recpe"),
        (
            "[recipe]\nnum_envs = 8\n[recipe.algorithm]",
            "recipe = 3\n[environments.Ant-v5]",
            "recipe must be a table, not 3",
        ),
        (
            "epochs = 10",
            "epochs = 2026-01-01",
            "recipe.algorithm.epochs must be text, a number, true or false",
        ),
        ("Hopper-v5", "Hoper-v5", 'environments."Hoper-v5" is no environment id: did you mean Hopper-v5?'),
        ("Hopper-v5", "Hopper", 'environments."Hopper" must be the id, Hopper-v5'),
        ("Hopper-v5", "Thing", 'environments."Thing" is no environment id'),
    ],
)
def test_a_mistake_in_an_agent_card_is_named(tmp_path, old, new, message):
    path = write_agent(tmp_path, AGENT.replace(old, new))
    with pytest.raises(UsageError) as caught:
        cards.read_agent_card(path)
    assert str(caught.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"\x00"])
def test_a_file_that_is_not_text_is_refused(tmp_path, content):
    path = tmp_path / "card.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="not a (TOML|text) file"):
        cards.read_agent_card(path)


def test_a_card_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        cards.read_environment_card(tmp_path / "none.toml")


# Where the cards are


def test_shipped_cards_come_before_the_clone(tmp_path):
    package = tmp_path / "rlsparse"
    (package / "_cards").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "rlsparse"\n')
    assert cards.find_cards_root(package) == package / "_cards"


def test_a_clone_is_known_by_its_own_pyproject(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "rlsparse"\n')
    assert cards.find_cards_root(tmp_path / "rlsparse") == tmp_path


@pytest.mark.parametrize("pyproject", [None, '[project]\nname = "other"\n', "[tool.x]\n", "not TOML", 'project = "x"'])
def test_a_neighbouring_agents_folder_is_not_ours(tmp_path, pyproject):
    write_agent(tmp_path / "agents" / "theirs", AGENT)
    if pyproject is not None:
        (tmp_path / "pyproject.toml").write_text(pyproject)
    with pytest.raises(RlsparseError, match="cards are missing"):
        cards.find_cards_root(tmp_path / "rlsparse")
