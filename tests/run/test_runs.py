"""Run directories: where they are made, who may use them, and what their files say, also when cut short."""

import csv
import errno
import fcntl
import json
import os
import re
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import tiny

from rlsparse.errors import RunDirectoryError, StorageError, UsageError
from rlsparse.run import directory as runs
from rlsparse.run.reading import read_json
from rlsparse.sparse.config import Sparse

ROW = {"seed": 0, "total_steps": 0, "return_mean": 1.5, "train_return_mean": float("nan")}


def create(run_dir=None, out=Path("runs"), **changes):
    return runs.create(tiny.recipe(**changes), "ppo", out, run_dir)


@pytest.fixture
def run(tmp_path):
    with create(tmp_path / "run") as run:
        yield run


# Where


def test_a_run_is_filed_by_environment_agent_and_time(tmp_path):
    with create(out=tmp_path / "runs", env="HalfCheetah-v5") as run:
        parts = run.path.relative_to(tmp_path).parts
    assert parts[:3] == ("runs", "HalfCheetah-v5", "ppo")
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{4}", parts[3])


def test_a_namespace_is_no_folder_of_its_own(tmp_path):
    with create(out=tmp_path, env="somebody/Walker-v0") as run:
        assert run.path.parent.parent == tmp_path / "somebody-Walker-v0"


def test_two_runs_at_once_get_two_directories(tmp_path):
    with create(out=tmp_path) as one, create(out=tmp_path) as two:
        assert one.path != two.path


def test_an_empty_directory_may_be_named(tmp_path):
    (tmp_path / "run").mkdir()
    with create(tmp_path / "run") as run:
        assert run.path == tmp_path / "run"


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_what_is_there_already_is_left_alone_and_resume_suggested(kind, tmp_path):
    path = tmp_path / "my run"
    if kind == "directory":
        path.mkdir()
        path = path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(UsageError, match="my run exists already.*--resume '.*/my run'"):
        create(tmp_path / "my run")
    assert path.read_text() == "mine"
    assert os.listdir(path.parent) == [path.name]


def test_a_place_where_no_directory_can_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirectoryError, match="cannot make the run directory .*/file/run: Not a directory"):
        create(tmp_path / "file" / "run")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_read_only_place_is_named_before_training_starts(code, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refuse)
        with pytest.raises(RunDirectoryError, match=f"cannot make the run directory.*{os.strerror(code)}"):
            create(tmp_path / "run")
    (tmp_path / "run").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(RunDirectoryError, match=f"cannot write in the run directory.*{os.strerror(code)}"):
            create(tmp_path / "run")


# What it says


def test_the_recipe_is_there_before_the_first_step_and_comes_back(run):
    assert runs.read_recipe(run.path) == tiny.RECIPE


def test_versions_name_packages_interpreter_and_command(run):
    versions = read_json(run.path / "versions.json")
    assert versions["agent"] == "ppo"
    for package in ("numpy", "gymnasium", "mujoco", "torch"):
        assert re.match(r"\d+\.\d+", versions["packages"][package])
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"platform", "cores", "commit", "command", "started"} <= set(versions)


def test_the_commit_is_that_of_our_own_clone_and_of_no_repository_around_an_installation(tmp_path):
    """A virtual environment mostly lies within somebody's repository."""
    for command in (
        ["init", "-q"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x", "--allow-empty"],
    ):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    installed = tmp_path / ".venv" / "site-packages"
    installed.mkdir(parents=True)
    assert runs._commit(installed) is None
    assert re.fullmatch(r"[0-9a-f]{7,}(-dirty)?", runs._commit(tmp_path))


def test_versions_of_sparse_runs_say_whether_their_products_are_compiled(tmp_path):
    with create(tmp_path / "run", sparse=Sparse()):
        versions = read_json(tmp_path / "run" / "versions.json")
    assert versions["packages"]["numba"] == metadata.version("numba")


def test_the_status_says_who_is_at_work_and_how_far(run):
    run.write_status("running", 4096)
    status = read_json(run.path / "status.json")
    assert (status["state"], status["total_steps"]) == ("running", 4096)
    assert (status["pid"], status["host"]) == (os.getpid(), socket.gethostname())


def test_an_error_is_recorded_as_the_reason_with_the_steps_so_far(tmp_path):
    with pytest.raises(ZeroDivisionError), create(tmp_path / "run") as run:
        run.write_status("running", 512)
        raise ZeroDivisionError("of all things")
    status = read_json(tmp_path / "run" / "status.json")
    assert (status["state"], status["total_steps"], status["reason"]) == ("failed", 512, "of all things")


def test_an_error_is_not_hidden_by_a_full_disk(tmp_path, monkeypatch):
    def full(*_):
        raise StorageError("cannot write status.json: No space left on device")

    with pytest.raises(ZeroDivisionError), create(tmp_path / "run"):
        monkeypatch.setattr(runs, "write_atomic", full)
        raise ZeroDivisionError


# Who may use it


def test_a_run_in_use_is_refused_naming_process_and_host(run):
    with pytest.raises(RunDirectoryError, match=f"in use by process {os.getpid()} on {socket.gethostname()}"):
        runs.reopen(run.path)


def test_it_is_refused_to_another_process_too(run):
    code = f"from pathlib import Path; from rlsparse.run import directory as runs; runs.reopen(Path({str(run.path)!r}))"
    command = [sys.executable, "-c", code]
    other = subprocess.run(command, env=tiny.environment(), capture_output=True, text=True, check=False)
    assert f"RunDirectoryError: {run.path} is in use by process {os.getpid()} " in other.stderr


def test_it_is_still_held_when_somebody_deletes_its_lock(run):
    (run.path / ".lock").unlink()
    with pytest.raises(RunDirectoryError, match="in use by another process"):
        runs.reopen(run.path)
    run.release()
    runs.reopen(run.path)[0].release()


def test_where_folders_cannot_be_locked_the_file_does(tmp_path, monkeypatch):
    lock = fcntl.flock

    def files_alone(descriptor, how):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EBADF, "Bad file descriptor")
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", files_alone)
    run = create(tmp_path / "run")
    with pytest.raises(RunDirectoryError, match="in use by process"):
        runs.reopen(run.path)


def test_a_directory_let_go_of_can_be_reopened(run):
    run.release()
    again, *begun = runs.reopen(run.path)
    again.release()
    assert again.path == run.path
    assert begun == [tiny.RECIPE, "ppo", "cpu"]


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(RunDirectoryError, match="cannot lock the run directory .*: No locks available"):
        create(tmp_path / "run")


def test_a_finished_run_is_complete_only_with_all_that_it_promises(run):
    run.write_status("finished", 96)
    for name in runs.PROMISED:
        assert not run.complete
        (run.path / name).touch()
    assert run.complete
    run.release()
    again, *_ = runs.reopen(run.path)
    assert again.complete
    again.release()


@pytest.mark.parametrize("name", [".lock", "status.json", "progress.csv", "tb", "checkpoint", "checkpoint/4/x"])
def test_a_run_is_not_written_through_links(name, run, tmp_path):
    run.release()
    (tmp_path / "mine").write_text("precious")
    link = run.path / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(tmp_path / "mine")
    with pytest.raises(RunDirectoryError, match=rf"{name}.*(link|symbolic)"):
        runs.reopen(run.path)
    assert (tmp_path / "mine").read_text() == "precious"


def test_a_folder_that_was_killed_before_it_became_a_run_can_be_used(tmp_path):
    create(tmp_path / "run").release()
    (tmp_path / "run" / "recipe.toml").unlink()  # which is written last
    create(tmp_path / "run").release()
    with pytest.raises(UsageError, match="exists already"):
        create(tmp_path / "run")


@pytest.mark.parametrize("name", ["cpu", "blas"])
def test_another_processor_is_warned_of(name, run, caplog):
    run.release()
    versions = run.path / "versions.json"
    told = json.loads(versions.read_text())
    assert told[name]
    versions.write_text(json.dumps({x: y for x, y in told.items() if x != "sha256"} | {name: "Nehalem"}))
    runs.reopen(run.path)[0].release()
    assert f"may go on differently than without the stop: {name} Nehalem then, {told[name]} now" in caplog.text


@pytest.mark.parametrize("name", ["missing", "file", "empty"])
def test_what_is_not_a_run_is_refused(name, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunDirectoryError, match=f"{name} is not a run directory: it holds no recipe.toml"):
        runs.reopen(tmp_path / name)
    assert os.listdir(tmp_path / "empty") == []


@pytest.mark.parametrize("name", ["recipe.toml", "status.json", "versions.json"])
@pytest.mark.parametrize("content", [b"", b"\x00\xff\x00", b"{", b"[1]", b"env = 3"])
def test_a_damaged_file_is_named(name, content, run):
    run.release()
    (run.path / name).write_bytes(content)
    with pytest.raises(RunDirectoryError, match=re.escape(name)) as caught:
        runs.reopen(run.path)
    assert "\n" not in str(caught.value)


# progress.csv


def test_rows_are_appended_under_one_header_and_come_back_as_numbers(run):
    run.records.append("progress.csv", [ROW, ROW | {"seed": 1}])
    run.records.append("progress.csv", [ROW | {"total_steps": 100}])
    assert run.progress.read_text().splitlines()[0] == "seed,total_steps,return_mean,train_return_mean,digest"
    with open(run.progress) as file:
        assert len(list(csv.reader(file))) == 4
    rows = runs.read_progress(run.progress)
    assert [(row["seed"], row["total_steps"], row["return_mean"]) for row in rows] == [
        *((0, 0, 1.5), (1, 0, 1.5), (0, 100, 1.5))
    ]


def test_numbers_come_back_to_the_last_bit(run):
    value = 0.1 + 0.2
    run.records.append("progress.csv", [ROW | {"return_mean": value}])
    assert runs.read_progress(run.progress)[0]["return_mean"] == value


def test_a_file_cut_anywhere_in_its_last_two_lines_reads_as_its_whole_lines(run):
    for steps in (0, 100, 200):
        run.records.append("progress.csv", [ROW | {"total_steps": steps}])
    content, whole = run.progress.read_bytes(), runs.read_progress(run.progress)
    last_two_lines = len(content) - len(b"".join(content.splitlines(keepends=True)[-2:]))
    for size in range(last_two_lines, len(content)):
        run.progress.write_bytes(content[:size])
        complete = content[:size].count(b"\n") - 1
        assert [row["total_steps"] for row in runs.read_progress(run.progress)] == [
            row["total_steps"] for row in whole[:complete]
        ]


@pytest.mark.parametrize("line", ["0,1", "0,1,2,3,4", "0,1,2,\x00", "0,,1,2", "ten,0,0,0"])
def test_a_damaged_line_is_an_error_not_a_number(line, run):
    run.records.append("progress.csv", [ROW])
    with open(run.progress, "a") as file:
        file.write(f"{line}\n")
    with pytest.raises(RunDirectoryError, match=r"progress\.csv is damaged"):
        runs.read_progress(run.progress)


def test_probes_are_read_by_seed_and_acceptance(run):
    path = run.path / "probe.csv"
    assert runs.read_probes(path) == []
    rows = [{"seed": 3, "accepted": 1, "reason": "accepted, at last"}, {"seed": 4, "accepted": 0, "reason": ""}]
    run.records.append("probe.csv", rows)
    assert runs.read_probes(path) == [(3, True), (4, False)]
    path.write_text(path.read_text() + "3,1,acc")
    assert runs.read_probes(path) == [(3, True), (4, False)]


@pytest.mark.parametrize("content", ["seed,reason\n0,x\n", "seed,accepted\n0\n", "seed,accepted\nzero,1\n"])
def test_a_damaged_record_of_probes_is_an_error(content, run):
    (run.path / "probe.csv").write_text(content)
    with pytest.raises(RunDirectoryError, match=r"probe\.csv is damaged"):
        runs.read_probes(run.path / "probe.csv")


def test_a_digit_that_has_changed_is_named(run):
    run.records.append("progress.csv", [ROW, ROW | {"seed": 1}])
    text = run.progress.read_text()
    for wrong, line in ((text.replace("0,0,1.5", "0,0,7.5"), 2), (text.replace("1,0,1.5", "1,0,1.6"), 3)):
        run.progress.write_text(wrong)
        with pytest.raises(RunDirectoryError, match=f"progress.csv is damaged: line {line} is not as it was written"):
            runs.read_progress(run.progress)


def test_json_files_are_for_people_too(run):
    for name in ("status.json", "versions.json"):
        text = (run.path / name).read_text()
        assert text.endswith("}\n")
        assert text.count("\n") > 3
        json.loads(text)
