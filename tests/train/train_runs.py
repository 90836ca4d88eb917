"""What a run of the command has left, and how to stop it on its way."""

import csv
import json
import shlex
from dataclasses import replace
from pathlib import Path

import fake_envs
import tiny

from rlsparse.run import directory as runs
from rlsparse.run.stop import StopSignal

PROBING = f"--env fake_envs:Steady-v0 --explore {shlex.quote(str(tiny.PROBING))}"
"""Episodes are five steps long, always: a probe takes 2 x 5 x 5 = 50 steps."""


def status():
    return json.loads(Path("run/status.json").read_text())


def rows(name="progress"):
    with open(f"run/{name}.csv") as file:
        return list(csv.DictReader(file))


def sound_twin():
    """The recipe of the run, in an environment where nothing goes wrong."""
    return replace(runs.read_recipe(Path("run")), env="fake_envs:Point-v0")


def interrupt(monkeypatch, at=60):
    """Make the first run stop after `at` steps, evaluations included, as if by SIGTERM: in the third rollout."""

    def asked(stop):
        if fake_envs.steps - before >= at:
            stop.received = 15
        return stop.received != 0

    before = fake_envs.steps
    monkeypatch.setattr(StopSignal, "__call__", asked)
