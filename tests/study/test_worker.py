"""A worker goes on with run directories, and each tells how its run ended."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from matplotlib.figure import Figure

from rlsparse.run import directory as runs
from rlsparse.run.stop import Stop
from rlsparse.study import together, worker


@pytest.fixture(autouse=True)
def fresh_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.fsync", lambda _: None)
    monkeypatch.setattr(worker, "WAITS", (0.0,))
    monkeypatch.setattr(Figure, "savefig", lambda _, file, **__: file.write(b"a picture"))


def make(name, recipe=tiny.RECIPE):
    """A run directory as it is before the first step."""
    runs.create(recipe, "ppo", Path(), Path(name)).release()
    return Path(name)


def status(folder):
    return json.loads((folder / "status.json").read_text())


def work(*folders, trusted=("fake_envs:Point-v0",)):
    return worker.work(folders, trusted, Stop())


def test_runs_are_trained_as_each_alone_would_be():
    folders = [make("first"), make("second", tiny.recipe(seed=7))]
    assert work(*folders) == 0
    for folder in folders:
        assert status(folder)["state"] == "finished"
        alone = tiny.train(Path(f"{folder}-alone"), runs.read_recipe(folder))
        assert tiny.outcome(folder) == tiny.outcome(alone)


def test_more_runs_than_files_may_be_opened_are_trained_some_after_others(monkeypatch):
    folders = [make(f"run-{seed}", tiny.recipe(seed=seed)) for seed in range(3)]
    held, train = [], together.train_together
    monkeypatch.setattr(together, "train_together", lambda runs, stop: held.append(len(runs)) or train(runs, stop))
    monkeypatch.setattr("resource.getrlimit", lambda _: (8, 8))
    assert work(*folders) == 0
    assert held == [2, 1]
    assert {status(folder)["state"] for folder in folders} == {"finished"}


def test_a_finished_run_is_left_as_it_is():
    folder = make("run")
    work(folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != ".lock"}
    assert work(folder) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize(
    ("env", "code", "reason"),
    [
        ("fake_envs:Unbuildable", 3, "meshes/leg.stl is missing"),
        ("fake_envs:Raises", 3, "the motor burned out"),
        ("Nowhere-v0", 3, "which no package here registers"),
        ("fake_envs:Absent", 2, "no Absent"),
        ("no_such_module:Point-v0", 3, "no_such_module"),
    ],
)
def test_an_environment_that_fails_is_told_in_its_run_and_the_others_go_on(env, code, reason, monkeypatch):
    monkeypatch.setattr("fake_envs.made", 0)
    folders = [make("bad", tiny.recipe(env=env)), make("good")]
    assert work(*folders, trusted=(env, "fake_envs:Point-v0")) == code
    assert status(folders[0])["state"] == "failed"
    assert reason in status(folders[0])["reason"]
    assert status(folders[1])["state"] == "finished"


def test_code_that_nobody_trusts_does_not_run():
    folder = make("run")
    assert work(folder, trusted=()) == 2
    assert "--trust" in status(folder)["reason"]


@pytest.mark.parametrize("other", [{"env": "fake_envs:Steady-v0"}, {"wrappers": ("fake_envs:Doubled",)}])
def test_code_that_the_study_did_not_name_does_not_run(other):
    """As where somebody has put another run in the place of the one that was checked."""
    folder = make("run", tiny.recipe(**other))
    assert work(folder) == 2
    assert "would be imported" in status(folder)["reason"]


def test_code_does_not_run_of_a_recipe_that_is_changed_while_it_is_read(monkeypatch):
    folder = make("run", tiny.recipe(env="fake_envs:Steady-v0"))
    first, read = [tiny.RECIPE], runs.read_recipe
    monkeypatch.setattr(runs, "read_recipe", lambda folder: first.pop() if first else read(folder))
    monkeypatch.setattr("rlsparse.run.trust.trust_run", lambda *_: None)
    assert work(folder) == 4
    assert "was changed" in status(folder)["reason"]


def test_a_damaged_recipe_is_told():
    folder = make("run")
    (folder / "recipe.toml").write_text("env = 3 =")
    assert work(folder) == 4
    assert "not a TOML file" in status(folder)["reason"]


def test_the_reason_of_an_earlier_failure_does_not_stay():
    folder = make("run")
    run, *_ = runs.reopen(folder)
    run.fail("another time")
    run.release()
    (folder / "versions.json").write_text("{")
    assert work(folder) == 4
    assert "versions.json is damaged" in status(folder)["reason"]


def test_a_run_that_somebody_else_trains_is_left_to_him():
    folder = make("run")
    holder, *_ = runs.reopen(folder)
    before = (folder / "status.json").read_text()
    try:
        assert work(folder) == 4
    finally:
        holder.release()
    assert (folder / "status.json").read_text() == before


def test_one_that_is_told_to_stop_saves_and_goes_on_later_as_if_it_had_not():
    folder, stop = make("run"), Stop()
    stop.ask("a test")
    assert worker.work([folder], (), stop) == worker.STOPPED
    assert work(folder) == 0
    assert tiny.outcome(folder) == tiny.outcome(tiny.train(Path("alone")))


def start(*arguments, **popen):
    trusted = ["--trusted", "fake_envs:Point-v0"]
    command = [sys.executable, "-m", "rlsparse.study.worker", *map(str, arguments), *trusted]
    return subprocess.Popen(command, env=tiny.environment(), stderr=subprocess.PIPE, text=True, **popen)


def wait_until_it_trains(folder, process):
    while not (folder / "progress.csv").exists():
        assert process.poll() is None, process.communicate()


@pytest.mark.parametrize("how", ["signal", "the end of stdin"])
def test_the_command_saves_when_it_is_told_to_stop(how):
    folder = make("run", tiny.recipe(total_steps=10_000_000))
    process = start(folder, "--until-stdin-ends", stdin=subprocess.PIPE)
    wait_until_it_trains(folder, process)
    if how == "signal":
        process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)  # which closes stdin
    assert process.returncode == (128 + signal.SIGTERM if how == "signal" else worker.STOPPED), said
    assert status(folder)["state"] == "interrupted"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no process to cores")
def test_the_command_stays_on_the_cores_it_is_given():
    core = min(os.sched_getaffinity(0))
    folder = make("run", tiny.recipe(total_steps=10_000_000))
    process = start("--cores", core, "--until-stdin-ends", folder, stdin=subprocess.PIPE)
    wait_until_it_trains(folder, process)
    assert os.sched_getaffinity(process.pid) == {core}
    process.communicate(timeout=60)
