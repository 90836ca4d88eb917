"""The command, run in this process in a folder of the test, without the time that a picture takes."""

from pathlib import Path

import fake_envs
import pytest
from matplotlib.figure import Figure

from rlsparse import train
from rlsparse.run import directory as runs

DRAW = Figure.savefig


@pytest.fixture(autouse=True)
def fresh_folder(monkeypatch, tmp_path):
    """Work in a folder of the test's own, with environments counted from zero, without waiting for the disk.

    What is written as a picture is none, for drawing takes longer than the run.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fake_envs, "made", 0)
    monkeypatch.setattr("os.fsync", lambda _: None)
    monkeypatch.setattr(Figure, "savefig", lambda _, file, **__: file.write(b"a picture"))


@pytest.fixture
def pictures(monkeypatch):
    """Draw them after all."""
    monkeypatch.setattr(Figure, "savefig", DRAW)


@pytest.fixture
def run(capsys):
    """Run the command in this process, in run directory "run" unless told; returns exit code, stdout and stderr."""

    def call(*arguments, env=None):
        where = [] if {"--run-dir", "--resume", "--out", "--dry-run"} & set(arguments) else ["--run-dir", "run"]
        if arguments[0] == "--resume":  # the fake environments come from a module, which is to be named
            where = ["--env", env or runs.read_recipe(Path(arguments[1])).env, "--env-workers", "1"]
        try:
            train.main([*where, *map(str, arguments)])
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return call
