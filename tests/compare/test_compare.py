"""`rlsparse compare` as a command: exit codes, one-line refusals, the files it writes, and --watch."""

import csv
import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image
from synthetic_runs import rising, write_run

from rlsparse import train as training
from rlsparse.compare import __main__ as compare
from rlsparse.errors import UsageError
from rlsparse.run import cards


@pytest.fixture
def generator():
    return np.random.default_rng(3)


def write_runs(folder):
    generator = np.random.default_rng(3)
    for env in ("Hopper-v5", "Ant-v5"):
        for agent, top in (("ppo", 100), ("trpo", 150)):
            write_run(folder / env / agent / "run", rising(generator, 5, top=top), agent=agent, env=env)
    return folder


@pytest.fixture
def runs(tmp_path):
    return write_runs(tmp_path / "runs")


@pytest.fixture
def command(tmp_path, capsys):
    """Run the command in this process; returns exit code, stdout and stderr."""

    def run(*arguments):
        code = 0
        try:
            compare.main([*map(str, arguments), "--out", str(tmp_path / "out")])
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_the_report_is_printed_and_written(runs, command, tmp_path):
    code, out, err = command(runs)
    assert (code, err) == (0, "")
    assert "Hopper-v5: evaluation return, last 10 % of points up to 20,000" in out
    assert "Normalised IQM over 2 environments" in out
    assert out.splitlines()[-1] == f"{tmp_path / 'out'}: report.png, report.html, curves.csv, report.json"
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["curves.csv", "report.html", "report.json", "report.png"]


def test_it_runs_as_a_module_and_as_a_command(runs, tmp_path):
    def run(*words):
        return subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=True)

    done = run("rlsparse.compare", str(runs), "--out", str(tmp_path / "out"), "--quiet")
    assert (done.stdout, done.stderr) == ("", "")
    assert "usage: rlsparse compare" in run("rlsparse", "compare", "--help").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "compare what?"),
        (["nowhere"], 2, "'nowhere' is neither a file"),
        (["RUNS", "--no-such"], 2, "unknown flag --no-such"),
        (["RUNS", "--x", "epochs"], 2, "--x"),
        (["RUNS", "--baseline", "sac"], 2, "--baseline sac: the arms are ppo, trpo"),
        (["RUNS", "--figure", "a.gif"], 2, "must end in .png, .pdf or .svg"),
        (["RUNS", "--figure", "../a.png"], 2, "a name without a folder"),
        (["RUNS", "--threshold", "high"], 2, "expected a number"),
        (["RUNS", "--threshold", "Walker2d=3"], 2, "--threshold Walker2d-v5: the environments are Ant-v5, Hopper-v5"),
        (["RUNS", "--group", "new"], 2, "expected NAME=GLOB"),
        (["RUNS", "--every", "0"], 2, "expected a number of seconds above 0"),
        (["RUNS", "--env", "Walker2d"], 2, "no log is of this environment"),
        (["EMPTY"], 4, "there is no log in"),
        (["DAMAGED"], 4, "no log could be read"),
    ],
)
def test_refusals_are_one_line_with_the_right_exit_code(runs, command, tmp_path, arguments, code, message):
    (tmp_path / "empty").mkdir()
    write_run(tmp_path / "damaged", [[1.0, 2.0]])
    (tmp_path / "damaged" / "recipe.toml").write_text("=")
    places = {"RUNS": str(runs), "EMPTY": str(tmp_path / "empty"), "DAMAGED": str(tmp_path / "damaged")}
    found, out, err = command(*[places.get(word, word) for word in arguments])
    assert (found, out) == (code, "")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_mixing_is_refused_with_exit_code_2_and_printed_on_the_report_when_allowed(runs, command, tmp_path, generator):
    write_run(runs / "other", rising(generator, 5), agent="old", env="Ant-v5", packages={"mujoco": "3.2.0"})
    code, _, err = command(runs)
    assert code == 2
    assert "different versions of mujoco" in err
    code, out, _ = command(runs, "--allow-mixed")
    assert code == 0
    assert out.startswith("NOT ALIKE: Ant-v5 was computed by different versions of mujoco")
    assert "NOT ALIKE" in (tmp_path / "out" / "report.html").read_text()


def test_unreadable_logs_are_named_and_the_rest_is_compared(runs, command):
    (runs / "Ant-v5" / "ppo" / "run" / "progress.csv").write_text("seed\n1\n")
    code, out, _ = command(runs)
    assert code == 0
    assert "not read:" in out
    assert "Ant-v5/ppo/run/progress.csv" in out.replace("\n  ", "")


def test_groups_baseline_thresholds_axis_and_statistic(runs, command, tmp_path):
    words = ["--group", f"old={runs}/*/ppo/*", f"new={runs}/*/trpo/*", "--baseline", "old", "--statistic", "iqm"]
    code, _, _ = command(*words, "--threshold", "50", "Ant=60", "--x", "updates")
    assert code == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["arms"] == ["old", "new"]
    assert report["baseline"] == "old"
    assert report["axis"] == "updates"
    assert {env: panel["threshold"] for env, panel in report["environments"].items()} == {"Ant-v5": 60, "Hopper-v5": 50}
    assert report["environments"]["Ant-v5"]["end"] == 20_000 / 2048


def test_a_toml_list(runs, command, tmp_path):
    (tmp_path / "list.toml").write_text('[groups]\nold = "runs/*/ppo/*"\nnew = "runs/*/trpo/*"\n')
    assert command(tmp_path / "list.toml")[0] == 0
    assert json.loads((tmp_path / "out" / "report.json").read_text())["arms"] == ["old", "new"]


@pytest.mark.parametrize(
    "given",
    [
        ["{ppo}", "--group", "a={trpo}", "--group", "b={bench}"],
        ["{ppo}", "--group", "a={trpo}", "b={bench}"],
        ["--group", "a={trpo}", "b={bench}", "{ppo}"],
        ["--group=a={trpo}", "--group", "b={bench}", "--quiet", "{ppo}"],
    ],
)
def test_groups_may_be_given_together_or_one_by_one_and_runs_before_or_after(runs, command, tmp_path, given):
    write_run(runs / "Ant-v5" / "bench" / "run", [np.zeros(3)] * 3, agent="bench", env="Ant-v5")
    folders = {name: runs / "Ant-v5" / name for name in ("ppo", "trpo", "bench")}
    assert command(*(word.format(**folders) for word in given))[0] == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["arms"] == ["ppo", "a", "b"]


def test_a_group_needs_a_name():
    with pytest.raises(UsageError, match="NAME=GLOB"):
        compare.read_groups([["=x"]])
    with pytest.raises(UsageError, match="--group x: expected NAME=GLOB"):
        compare.read_groups([["x", "a=y"]])
    assert compare.read_groups([["a=x=1", "a=y", "run"], ["b=z"]]) == ({"a": ["x=1", "y"], "b": ["z"]}, ["run"])


FORMATS = ("--figure", "report.png", "report.pdf", "report.svg", "--quiet")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """The folder of a report in all formats."""
    folder = tmp_path_factory.mktemp("files")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(write_runs(folder / "runs"))
        compare.main([".", "--out", str(folder / "out"), *FORMATS])
    return folder / "out"


class TestFiles:
    def test_json_holds_every_seed_and_no_word_that_json_lacks(self, out):
        report = json.loads((out / "report.json").read_text(), parse_constant=pytest.fail)
        arm = report["environments"]["Ant-v5"]["arms"]["ppo"]
        assert len(arm["final_returns"]) == arm["n"] == 5
        assert np.mean(arm["final_returns"]) == pytest.approx(arm["mean"])
        assert arm["steps_per_seed"]["train"] == 20_000
        assert [run["environment"] for run in report["runs"]].count("Ant-v5") == 2
        assert all(len(run["recipe_sha256"]) == 64 for run in report["runs"])

    def test_curves_csv_has_every_point(self, out):
        rows = list(csv.DictReader((out / "curves.csv").open()))
        assert len(rows) == 4 * 21
        assert all(float(row["low"]) <= float(row["mean"]) <= float(row["high"]) for row in rows)

    def test_every_picture_carries_its_origin(self, out):
        block = json.loads(Image.open(out / "report.png").info["Description"])
        assert block["n"]["Ant-v5"] == {"ppo": 5, "trpo": 5}
        assert "Student-t" in block["intervals"]
        assert block["steps_per_seed"]["Ant-v5"]["ppo"] == {"train": 20_000, "probe": 0, "eval": 42_000}
        assert (out / "report.pdf").read_bytes().startswith(b"%PDF")
        description = ET.parse(out / "report.svg").find(".//{http://purl.org/dc/elements/1.1/}description")
        assert json.loads(description.text)["arms"] == ["ppo", "trpo"]

    def test_equal_runs_give_equal_files(self, runs, command, out, tmp_path, monkeypatch):
        monkeypatch.chdir(runs)
        command(".", *FORMATS)
        again = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
        assert again == {path.name: path.read_bytes() for path in out.iterdir()}

    def test_names_cannot_make_a_spreadsheet_compute(self, runs, command, tmp_path):
        command("--group", f"@x={runs}/*/ppo/*")
        assert "\nAnt-v5,'@x," in (tmp_path / "out" / "curves.csv").read_text()

    def test_names_cannot_put_markup_into_the_page(self, command, runs, tmp_path):
        evil = "</script><script>alert(1)</script><b>"
        assert command("--group", f"{evil}={runs}/*/ppo/*")[0] == 0
        page = (tmp_path / "out" / "report.html").read_text()
        assert "<script>" not in page
        assert "alert(1)</script>" not in page


def test_two_reports_may_be_written_into_one_folder_at_once(runs, command, tmp_path, monkeypatch):
    codes, replace = [], os.replace

    def replace_while_another_writes(source, target):
        monkeypatch.setattr(os, "replace", replace)
        codes.append(command(runs, "--env", "Ant")[0])
        replace(source, target)

    monkeypatch.setattr(os, "replace", replace_while_another_writes)
    codes.append(command(runs)[0])
    assert codes == [0, 0]
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["curves.csv", "report.html", "report.json", "report.png"]


def test_json_on_request(runs, command):
    code, out, _ = command(runs, "--json")
    assert (code, json.loads(out)["arms"]) == (0, ["ppo", "trpo"])


def test_a_folder_that_cannot_be_written_ends_with_exit_code_6(runs, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as stop:
        compare.main([str(runs), "--out", str(tmp_path / "file" / "out")])
    assert stop.value.code == 6
    assert "cannot write" in capsys.readouterr().err


class TestBesideACard:
    """`rlsparse train --compare-with CARD`."""

    @pytest.fixture
    def train(self, tmp_path, monkeypatch, capsys):
        """Train for a moment, where the card ppo ships a curve on Pendulum-v1; returns exit code, stdout, stderr."""
        root = tmp_path / "cards"
        for name in ("envs", "agents"):
            ignored = shutil.ignore_patterns("*-v*")
            shutil.copytree(cards.find_cards_root() / name, root / name, ignore=ignored)
        (root / "agents" / "ppo" / "Pendulum-v1").mkdir()
        shipped = write_run(tmp_path / "shipped", np.zeros((3, 3)), steps=[0, 100, 200])
        shutil.copy(shipped / "progress.csv", root / "agents" / "ppo" / "Pendulum-v1" / "curve.csv")
        monkeypatch.setattr(cards, "find_cards_root", lambda: root)
        size = ["--num-envs", "1", "--rollout-length", "64", "--algorithm.minibatches", "1", "--eval-episodes", "1"]

        def run(env, card):
            words = ["--env", env, "--total-steps", "128", *size, "--compare-with", card]
            code = 0
            try:
                training.main([*words, "--run-dir", str(tmp_path / "run"), "--quiet"])
            except SystemExit as stop:
                code = stop.code
            captured = capsys.readouterr()
            return code, captured.out, captured.err

        return run

    def test_the_shipped_curve_is_drawn_beside_the_runs_own(self, train, tmp_path):
        code, out, err = train("Pendulum-v1", "ppo")
        assert (code, out, err) == (0, f"{tmp_path / 'run'}\n", "")
        report = json.loads((tmp_path / "run" / "comparison" / "report.json").read_text())
        assert report["arms"] == ["ppo num_envs=1 rollout_length=64 minibatches=1", "ppo (shipped)"]
        assert report["environments"]["Pendulum-v1"]["end"] == 128
        assert (tmp_path / "run" / "comparison" / "report.png").exists()

    @pytest.mark.parametrize(("env", "card"), [("Hopper", "ppo"), ("Pendulum-v1", "sb3-defaults")])
    def test_a_card_without_a_curve_is_refused_before_training(self, train, tmp_path, env, card):
        code, _, err = train(env, card)
        assert (code, (tmp_path / "run").exists()) == (2, False)
        assert f"--compare-with {card}: it ships no curve on" in err

    def test_a_curve_that_cannot_be_read_costs_only_the_picture(self, train, tmp_path):
        (tmp_path / "cards" / "agents" / "ppo" / "Pendulum-v1" / "curve.csv").write_text("seed\n1\n")
        code, out, err = train("Pendulum-v1", "ppo")
        assert (code, out) == (0, f"{tmp_path / 'run'}\n")
        assert "no comparison with ppo:" in err


class TestWatch:
    @pytest.fixture
    def going_on(self, tmp_path):
        """A run of one seed that writes a line, and half of the next one, whenever the command sleeps."""
        run = write_run(tmp_path / "run", [[1.0, 2.0]], state="running")
        header, *lines = (run / "progress.csv").read_text().splitlines(keepends=True)
        return run, header, lines

    def test_it_draws_until_the_run_has_ended_and_ignores_half_lines(self, going_on, command, monkeypatch):
        run, header, (first, second) = going_on
        seen = []

        def sleep(seconds):
            seen.append(seconds)
            (run / "progress.csv").write_text(header + first + second[: 12 * len(seen)])
            if len(seen) == 3:
                (run / "progress.csv").write_text(header + first + second)
                (run / "status.json").write_text('{"state": "finished"}')

        (run / "progress.csv").write_text(header)
        monkeypatch.setattr("rlsparse.compare.__main__.time.sleep", sleep)
        code, out, err = command(run, "--watch", "--every", "7", "--threshold", "0")
        assert (code, seen) == (0, [7.0] * 3)
        assert "has a point" in err
        assert [line.split()[2] for line in out.splitlines() if line.startswith("ppo  1")] == ["1.00", "1.00", "2.00"]

    def test_ctrl_c_ends_it(self, going_on, command, monkeypatch):
        def interrupt(_):
            raise KeyboardInterrupt

        monkeypatch.setattr("rlsparse.compare.__main__.time.sleep", interrupt)
        assert command(going_on[0], "--watch")[0] == 0
