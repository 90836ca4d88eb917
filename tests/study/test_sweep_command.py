"""`rlsparse sweep` as a user has it: in processes, stopped, killed, and gone on with."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from cells import Here
from matplotlib.figure import Figure

from rlsparse.run import directory as runs
from rlsparse.study import command

STUDY = [
    *("--envs", "fake_envs:Point-v0", "--num-envs", "2", "--rollout-length", "8", "--eval-every", "32"),
    *("--eval-episodes", "2", "--policy.actor-hidden", "8", "--policy.critic-hidden", "8"),
    *("--algorithm.epochs", "2", "--algorithm.minibatches", "4", "--out", "study"),
]
SHORT = [*STUDY, "--total-steps", "96"]
LONG = [*STUDY, "--total-steps", "10_000_000"]
SETTINGS = ["--sweep.algorithm.learning-rate", "1e-3", "1e-2"]


@pytest.fixture(autouse=True)
def fresh_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def sweep(capsys, monkeypatch):
    """Run the command, its jobs too, in this process; returns exit code, stdout and stderr."""
    monkeypatch.setattr("rlsparse.study.sweep.LocalPool", lambda slots: Here())
    monkeypatch.setattr(Figure, "savefig", lambda _, file, **__: file.write(b"a picture"))
    monkeypatch.setattr("os.fsync", lambda _: None)

    def call(*arguments):
        try:
            command.main([*arguments])
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return call


def start(*arguments):
    words = [sys.executable, "-m", "rlsparse", "sweep", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(words, env=tiny.environment(), text=True, **pipes)


def directories():
    found = [path for where in ("", "*/") for path in Path().glob(f"study/*/ppo/{where}seeds-*/recipe.toml")]
    return sorted(path.parent for path in found)


def statuses():
    return [runs.read_json(path / "status.json") for path in directories()]


def wait_until_trained(process, cells):
    while len([*Path().glob("study/*/ppo/*/*/progress.csv")]) < cells:
        assert process.poll() is None, process.communicate()


def test_a_study_is_trained_and_compared_and_run_again_only_what_is_new(sweep):
    code, out, err = sweep(*SHORT, *SETTINGS, "--jobs", "2")
    assert code == 0, err
    assert "ppo, learning_rate 0.001 on fake_envs:Point-v0, seed 0: running" in err
    assert "ppo, learning_rate 0.01 on fake_envs:Point-v0, seed 0: finished, return" in err
    assert "2 cells: 2 finished; 100.0 % of 192 steps" in out
    assert out.splitlines()[-1] == "study"
    account = json.loads(Path("study/comparison/report.json").read_text())
    assert account["arms"] == ["ppo, learning_rate 0.001", "ppo, learning_rate 0.01"]
    before = {path: path.stat().st_mtime_ns for folder in directories() for path in folder.rglob("*")}
    code, out, err = sweep(*SHORT, *SETTINGS, "--num-seeds", "2", "--jobs", "1", "--quiet", "--json")
    assert code == 0, err
    assert {path: path.stat().st_mtime_ns for path in before} == before
    told = json.loads(out)
    assert [(x["seeds"], x["state"]) for x in told["cells"]] == [([0], "finished"), ([1], "finished")] * 2
    assert told["comparison"] == "study/comparison"


def test_a_plan_says_what_there_is_to_do_and_does_nothing(sweep):
    code, out, err = sweep(*SHORT, *SETTINGS, "--num-seeds", "3", "--jobs", "1", "--dry-run")
    assert (code, err) == (0, "")
    assert "2 cells: 2 waiting; 0.0 % of 576 steps" in out
    assert "populations  1: cells that one process can train together" in out
    assert "job 1        2 cells, 6 members: ppo, learning_rate 0.001 on fake_envs:Point-v0 ..." in out
    assert "to do        576 steps, 1 job at once" in out
    assert not Path("study").exists()


def test_a_plan_ends_with_the_code_of_what_cannot_be_trained(sweep):
    code, out, _ = sweep(*SHORT, "--sweep.advantage.gamma", "0.9", "1.5", "--dry-run")
    assert code == 2
    assert "--advantage.gamma is 1.5: expected a number from 0 to 1" in out
    assert "2 cells: 1 waiting, 1 failed" in out


def test_a_plan_of_a_cluster_asks_for_none(sweep):
    assert sweep(*SHORT, "--on", "ray", "--dry-run")[1].endswith("to do        96 steps, by jobs on ray\n")
    code, _, err = sweep(*SHORT, "--on", "slurm", "--dry-run")
    assert (code, err) == (2, "rlsparse: --on slurm: expected ray, ray:ADDRESS or ray://HOST:PORT\n")


def test_the_best_setting_is_told_below_the_table(sweep):
    _, out, _ = sweep(*SHORT, *SETTINGS, "--jobs", "1")
    assert "\nbest of 2 on fake_envs:Point-v0: ppo, learning_rate 0.0" in out


def test_a_cell_that_fails_costs_only_itself_and_the_exit_code(sweep):
    code, out, err = sweep(*SHORT, "--envs", "fake_envs:Unbuildable", "fake_envs:Point-v0", "--jobs", "1")
    assert code == 3
    assert "ppo on fake_envs:Unbuildable, seed 0: failed: " in err
    assert "meshes/leg.stl is missing" in out
    assert "2 cells: 1 finished, 1 failed" in out
    assert Path("study/comparison/report.json").exists()


def test_a_run_that_was_begun_otherwise_is_told_and_left(sweep):
    assert sweep(*SHORT, "--quiet", "--jobs", "1")[0] == 0
    text = directories()[0].joinpath("recipe.toml").read_text()
    for done in (True, False):
        if not done:
            directories()[0].joinpath("summary.json").unlink()
        code, out, _ = sweep(*SHORT, "--algorithm.epochs", "3", "--jobs", "1")
        assert code == 4
        assert "begun with another recipe than the study now says: algorithm.epochs 3 (2 there)" in out
        assert "1 failed" in out
    assert directories()[0].joinpath("recipe.toml").read_text() == text


def test_parts_of_a_study_are_trained_one_after_the_other(sweep):
    for part in ("1/2", "2/2"):
        assert sweep(*SHORT, *SETTINGS, "--part", part, "--jobs", "1", "--quiet")[0] == 0
    assert [x["state"] for x in statuses()] == ["finished", "finished"]


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_told_to_stop_all_runs_are_saved_and_the_same_command_goes_on(number):
    process = start(*LONG, *SETTINGS, "--jobs", "2")
    wait_until_trained(process, 2)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + number, err
    assert [x["state"] for x in statuses()] == ["interrupted", "interrupted"]
    assert "go on with: rlsparse sweep --envs fake_envs:Point-v0" in err
    assert "2 cells: 2 interrupted" in out


@pytest.mark.long
def test_killed_it_leaves_runs_that_go_on():
    process = start(*LONG, *SETTINGS, "--jobs", "2")
    wait_until_trained(process, 2)
    process.kill()
    process.communicate()
    while any(x["state"] == "running" for x in statuses()):
        pass
    again = start(*LONG, *SETTINGS, "--jobs", "2")
    while not any(x["state"] == "running" for x in statuses()):
        assert again.poll() is None, again.communicate()
    again.terminate()
    again.communicate(timeout=120)
    assert [x["state"] for x in statuses()] == ["interrupted", "interrupted"]


@pytest.mark.long
def test_two_at_once_share_the_work():
    both = [start(*SHORT, "--num-seeds", "2", *SETTINGS, "--jobs", "1") for _ in range(2)]
    ends = [process.communicate(timeout=120) for process in both]
    assert {process.returncode for process in both} <= {0, 4}, ends
    assert [x["state"] for x in statuses()] == ["finished", "finished"]
    assert all("Traceback" not in err for _, err in ends)


def test_a_full_disk_fails_a_cell_in_one_line():
    limit = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); "
    run = f"{limit} import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    code = f"{run} from rlsparse.study.command import main; main(sys.argv[1:])"
    words = [sys.executable, "-c", code, *SHORT, "--policy.actor-hidden", "64", "--jobs", "1"]
    done = subprocess.run(words, env=tiny.environment(), capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 6, done
    assert "File too large" in done.stdout
    assert "Traceback" not in done.stderr
    assert os.path.exists(directories()[0] / "status.json")
