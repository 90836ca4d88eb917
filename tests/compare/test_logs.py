"""What an argument of the command line names."""

import shutil

import pytest
from foreign_runs import episodes, write_evaluations, write_events, write_monitor
from synthetic_runs import write_run

from rlsparse.compare.find import natural, read_list
from rlsparse.compare.logs import read_logs
from rlsparse.errors import UsageError
from rlsparse.run import cards

CURVES = [[1.0, 2.0], [3.0, 4.0]]


@pytest.fixture
def runs(tmp_path):
    for name in ("Pendulum-v1/ppo/run2", "Pendulum-v1/ppo/run10", "Pendulum-v1/trpo/run1"):
        write_run(tmp_path / "runs" / name, CURVES, agent=name.split("/")[1])
    return tmp_path / "runs"


def found(*arguments):
    return [log.path.name for log in read_logs(list(map(str, arguments))).logs]


def test_a_run_a_folder_of_runs_and_a_glob(runs):
    assert found(runs / "Pendulum-v1" / "ppo" / "run2") == ["run2"]
    assert found(runs) == ["run2", "run10", "run1"]
    assert found(runs / "*" / "ppo" / "*") == ["run2", "run10"]
    assert found(runs / "**" / "run1*") == ["run10", "run1"]


def test_what_is_named_twice_is_read_once_and_said(runs, tmp_path):
    (tmp_path / "link").symlink_to(runs)
    both = read_logs([str(runs), str(runs / "Pendulum-v1" / "ppo"), str(tmp_path / "link")])
    assert len(both.logs) == 3
    assert len(both.repeated) == 5


def test_the_files_of_a_run_mean_the_run(runs):
    assert found(runs / "Pendulum-v1" / "ppo" / "run2" / "progress.csv") == ["run2"]


def test_what_cannot_be_read_is_named_and_the_rest_goes_on(runs):
    (runs / "Pendulum-v1" / "ppo" / "run2" / "recipe.toml").write_text("=")
    both = read_logs([str(runs)])
    assert [log.path.name for log in both.logs] == ["run10", "run1"]
    assert len(both.unreadable) == 1
    assert "run2" in both.unreadable[0]


def test_any_other_file_is_unreadable(tmp_path):
    (tmp_path / "model.zip").write_bytes(b"PK")
    assert "is no log" in read_logs([str(tmp_path / "model.zip")]).unreadable[0]


@pytest.mark.parametrize("argument", ["nowhere", "no/where*", "", "\x00", "[", "x" * 5000])
def test_what_names_nothing_is_a_usage_error(argument):
    with pytest.raises(UsageError, match="neither a file"):
        read_logs([argument])


def test_a_mistyped_card_is_answered_with_the_nearest(tmp_path):
    with pytest.raises(UsageError, match="did you mean sb3-defaults"):
        read_logs(["sb3-default"])


@pytest.fixture
def card(tmp_path, monkeypatch):
    """An agent card with a shipped curve."""
    root = tmp_path / "cards"
    shutil.copytree(cards.find_cards_root() / "envs", root / "envs")
    (root / "agents" / "good" / "Hopper-v5").mkdir(parents=True)
    (root / "agents" / "good" / "card.toml").write_text('name = "good"\ndescription = "Good."\n')
    run = write_run(tmp_path / "run", CURVES, env="Hopper-v5")
    shutil.copy(run / "progress.csv", root / "agents" / "good" / "Hopper-v5" / "curve.csv")
    monkeypatch.setattr(cards, "find_cards_root", lambda: root)
    return root / "agents" / "good"


def test_a_card_by_name_by_folder_and_by_file(card):
    for argument in ("good", "GOOD", str(card), str(card / "card.toml")):
        (log,) = read_logs([argument]).logs
        assert (log.agent, log.env, log.kind) == ("good (shipped)", "Hopper-v5", "agent card")
        assert [curve.returns.tolist() for curve in log.curves] == CURVES


def test_a_card_without_a_curve_is_a_usage_error(card):
    shutil.rmtree(card / "Hopper-v5")
    with pytest.raises(UsageError, match="ships no curve"):
        read_logs(["good"])


def test_a_toml_list_names_runs_and_groups_beside_itself(runs):
    path = runs.parent / "list.toml"
    path.write_text('runs = ["runs/Pendulum-v1/ppo"]\n[groups]\nnew = "runs/*/trpo/*"\nold = ["ppo"]\n')
    listed, groups = read_list(path)
    assert found(*listed) == ["run2", "run10"]
    assert found(*groups["new"]) == ["run1"]
    assert groups["old"] == ["ppo"]


@pytest.mark.parametrize("text", ["runs = 3", "others = []", "groups = []", "[groups]\na = [1]", "=", "\udcff"])
def test_other_toml_is_a_usage_error(tmp_path, text):
    (tmp_path / "list.toml").write_text(text, errors="surrogateescape")
    with pytest.raises(UsageError, match=r"list\.toml"):
        read_list(tmp_path / "list.toml")
    with pytest.raises(UsageError, match=r"other\.toml"):
        read_list(tmp_path / "other.toml")


def test_runs_are_in_the_order_of_their_numbers(tmp_path):
    assert sorted([tmp_path / "a10", tmp_path / "a9", tmp_path / "b"], key=natural)[0].name == "a9"


def test_a_log_does_not_hide_the_logs_below_it(tmp_path):
    write_run(tmp_path / "runs", CURVES)
    write_run(tmp_path / "runs" / "Hopper-v5" / "run", CURVES)
    write_events(tmp_path / "runs" / "tb" / "seed-0", "eval/mean_reward", [(1, 2.0)])
    assert found(tmp_path) == ["runs", "run"]


def test_logs_below_another_of_another_kind_of_return_are_named_and_not_read(tmp_path):
    write_evaluations(tmp_path / "sac", [1, 2], [3.0, 4.0])
    write_monitor(tmp_path / "sac" / "more" / "monitor.csv", episodes())
    both = read_logs([str(tmp_path)])
    assert [log.path.name for log in both.logs] == ["sac"]
    (unread,) = both.unreadable
    assert f"{tmp_path / 'sac' / 'more'}, below {tmp_path / 'sac'}, whose returns are of another kind" in unread
    assert len(read_logs([str(tmp_path)], "training").logs) == 1
    assert found(tmp_path / "sac", tmp_path / "sac" / "more") == ["sac", "more"]


def test_pieces_of_a_run_are_joined_if_that_is_wanted(tmp_path):
    for part, seconds in ((0, 0.0), (1, 500.0), (2, 900.0)):
        points = [(1000 * part + 500 * k, 10.0 * part + k) for k in (1, 2)]
        write_events(tmp_path / "ppo" / f"part{part}_1", "rollout/ep_rew_mean", points, start=seconds)
    write_events(tmp_path / "ppo" / "part3_1", "rollout/ep_rew_mean", [(500, 7.0)], start=5000.0)
    assert len(read_logs([str(tmp_path)]).logs) == 4
    joined, other = read_logs([str(tmp_path)], join=True).logs
    (curve,) = joined.curves
    assert (joined.agent, other.agent) == ("ppo", "part3")
    assert curve.axes["steps"].tolist() == [500, 1000, 1500, 2000, 2500, 3000]
    assert curve.axes["seconds"].tolist() == [0, 50, 50, 100, 100, 150]
    assert curve.returns.tolist() == [1, 2, 11, 12, 21, 22]
    assert joined.remarks[0].startswith("joined as one run: ")


def test_monitors_one_after_the_other_are_joined_if_that_is_wanted(tmp_path):
    for i in range(2):
        write_monitor(tmp_path / "ppo" / f"{i}.monitor.csv", episodes(n=3), start=1000.0 * (i + 1))
    assert [log.curves[0].axes["steps"][-1] for log in read_logs([str(tmp_path)]).logs] == [600, 600]
    (log,) = read_logs([str(tmp_path)], join=True).logs
    assert log.curves[0].axes["steps"].tolist() == [200, 400, 600, 800, 1000, 1200]
