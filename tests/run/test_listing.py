"""`rlsparse envs` and `rlsparse agents`: what the tables and the JSON say of the cards."""

import json
import subprocess
import sys

import pytest

from rlsparse.run import cards, listing


@pytest.fixture
def run(capsys):
    def run_command(*arguments):
        listing.main(arguments)
        return capsys.readouterr().out

    return run_command


@pytest.fixture
def card_folder(tmp_path, monkeypatch):
    """An agent that trained on one environment, and only has a curve of another."""
    folder = tmp_path / "agents" / "walker"
    for env_id, name in {"Hopper-v5": "policy.safetensors", "Ant-v5": "curve.csv"}.items():
        (folder / env_id).mkdir(parents=True)
        (folder / env_id / name).touch()
    rows = ["seed,total_steps,return_mean", "0,0,1.0", "1,0,2.0", "0,10,1500.0", "1,10,2500.0"]
    (folder / "Hopper-v5" / "curve.csv").write_text("\n".join(rows))
    (folder / "card.toml").write_text('name = "walker"\ndescription = "It walks."\n')
    monkeypatch.setattr(cards, "find_cards_root", lambda: tmp_path)
    return folder


def row_of(env_id, table):
    return next(line for line in table.splitlines() if line.startswith(env_id + " ")).split()


def test_one_row_for_each_environment(run):
    table = run("envs")
    for card in cards.environments().values():
        row = row_of(card.id, table)
        assert row[1:4] == [str(card.observation_size), str(card.action_size), f"{card.horizon:,}"]


def test_a_row_says_budget_random_return_and_best_reference(run):
    row = " ".join(row_of("HalfCheetah-v5", run("envs")))
    assert row == "HalfCheetah-v5 17 6 1,000 1M -267.7 5,819 PPO"
    # TRPO's reference is higher than PPO's here
    assert row_of("Walker2d-v5", run("envs"))[-2:] == ["4,933", "TRPO"]
    # after 500,000 steps, and not the higher one after 1,000,000
    assert row_of("Reacher-v5", run("envs"))[-2:] == ["-5.0", "PPO"]
    # what is published took 4,000,000 steps and more
    assert row_of("HumanoidStandup-v5", run("envs"))[-1] == "-"


def test_the_note_says_that_references_differ_and_where_that_is_told(run):
    note = " ".join(run("envs").split())
    assert "Versions of the task, numbers of seeds and ways of measuring differ: --json tells them." in note


@pytest.mark.parametrize("command", ["envs", "agents"])
def test_tables_fit_80_columns_and_names_stay_whole(run, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    table = run(command)
    assert max(map(len, table.splitlines())) <= 80
    names = cards.environments() if command == "envs" else cards.agents()
    assert all(any(line.startswith(f"{name} ") for line in table.splitlines()) for name in names)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("hopper", ["Hopper-v5"]),
        ("double-pend", ["InvertedDoublePendulum-v5"]),
        ("HUMANOID", ["HumanoidStandup-v5", "Humanoid-v5"]),
        ("h*r-v5", ["Hopper-v5"]),
    ],
)
def test_a_pattern_selects_by_id_and_alias_in_any_case(run, pattern, expected):
    assert [card["id"] for card in json.loads(run("envs", pattern, "--json"))] == expected


def test_json_holds_the_whole_environment_card(run):
    (record,) = json.loads(run("envs", "Reacher", "--json"))
    card = cards.environment("Reacher")
    assert record["random_return"]["episodes"] == card.random_return.episodes
    told = [(x["source"], x["environment"], x["seeds"], x["measured"], x["std"]) for x in record["references"]]
    assert told == [(x.source, x.environment, x.seeds, x.measured, x.std) for x in card.references]


def test_agents_say_what_they_are_and_what_they_earned_where_a_policy_ships(run, card_folder):
    lines = run("agents").splitlines()
    assert [line.split() for line in lines[:2]] == [["environment", "walker"], ["Hopper-v5", "2,000", "(2)"]]
    assert lines[-1] == "walker  It walks."


def test_a_policy_without_a_curve_has_no_return(run, card_folder):
    (card_folder / "Ant-v5" / "curve.csv").rename(card_folder / "Ant-v5" / "policy.safetensors")
    assert row_of("Ant-v5", run("agents")) == ["Ant-v5", "no", "curve"]


def test_agents_with_something_trained_come_first(run, card_folder):
    for name in ("alone", "zebra"):
        other = card_folder.parent / name
        other.mkdir()
        (other / "card.toml").write_text(f'name = "{name}"\ndescription = "It is {name}."\n')
    assert run("agents").splitlines()[-5:] == [
        *("walker  It walks.", ""),
        *(
            "Recipes, of which no policy ships: rlsparse train --agent NAME",
            "alone   It is alone.",
            "zebra   It is zebra.",
        ),
    ]


def test_json_of_agents_names_policies_and_curves(run, card_folder):
    (record,) = json.loads(run("agents", "--json"))
    assert record["policies"] == {"Hopper-v5": str(card_folder / "Hopper-v5" / "policy.safetensors")}
    assert sorted(record["curves"]) == ["Ant-v5", "Hopper-v5"]


def test_every_shipped_agent_is_listed(run):
    told = run("agents").splitlines()
    assert all(any(line.startswith(f"{name} ") for line in told) for name in cards.agents())
    assert [record["name"] for record in json.loads(run("agents", "--json"))] == list(cards.agents())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["envs", "hoper"], "no environment card has 'hoper' in its name: did you mean Hopper?"),
        (["agents", "pppo"], "no agent card has 'pppo' in its name: did you mean ppo?"),
        (["envs", "--jsn"], "unknown flag --jsn: did you mean --json?"),
        (["envs", "Ant", "Hopper"], "unknown argument Hopper: rlsparse envs --help lists the flags"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        listing.main(arguments)
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"rlsparse: {message}\n"


def test_listing_imports_no_heavy_package():
    code = """if True:
        import sys
        from rlsparse.run.listing import main
        main(["envs"]); main(["agents"])
        print(*({"numpy", "torch", "gymnasium", "mujoco", "matplotlib"} & set(sys.modules)))"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""
