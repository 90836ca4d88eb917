"""Killed at any time, resumed, killed again and resumed, a run ends as one to which nothing happened."""

import random
import shlex
import shutil
import time
from pathlib import Path

import pytest
import tiny

from faults import disk
from rlsparse import loop

pytestmark = pytest.mark.xdist_group("disk")

PROBING = ["--env", "fake_envs:Steady-v0", "--explore", str(tiny.PROBING), "--explore.budget-fraction", "1"]
KINDS = {
    "ppo": [],
    "trpo": ["--algorithm", "trpo", "--algorithm.critic-minibatches", "4"],
    "rigl": ["--sparse", "rigl", "--sparsity", "0.5", "--num-seeds", "2"],
    "explorler": [*PROBING, "--total-steps", "400", "--eval-every", "200"],
}


def flags(kind):
    """The command that trains, and the one that goes on."""
    if kind == "explorler":
        resume = ["--resume", "run", "--env", "fake_envs:Steady-v0", "--quiet"]
        return [*tiny.FLAGS, *KINDS[kind], "--quiet", "--run-dir", "run"], resume
    usual = list(disk.TRAIN)
    if kind == "trpo":  # which has no such fields
        for name in ("--algorithm.epochs", "--algorithm.minibatches"):
            at = usual.index(name)
            del usual[at : at + 2]
    return [*usual, *KINDS[kind]], disk.RESUME


@pytest.fixture(
    scope="module",
    params=[pytest.param(kind, marks=pytest.mark.long if kind == "ppo" else ()) for kind in KINDS],
)
def sound(request, tmp_path_factory):
    """Of each kind: its commands, its outcome, and how long it takes."""
    patch = pytest.MonkeyPatch()
    request.addfinalizer(patch.undo)
    patch.setattr(loop, "SAVE_INTERVAL", -1)
    train, resume = flags(request.param)
    patch.setattr(disk, "TRAIN", train)
    patch.setattr(disk, "RESUME", resume)
    disk.warm_up(tmp_path_factory.mktemp("warm"))
    folder = tmp_path_factory.mktemp("sound")
    begun = time.monotonic()
    code, _ = disk.in_child(folder, train)
    assert code == 0, (folder / "said").read_text()
    return tiny.outcome(folder / "run"), time.monotonic() - begun


@pytest.mark.parametrize("trials", [1, pytest.param(50, marks=pytest.mark.long)])
def test_killed_at_any_time_it_goes_on_as_if_nothing_had_happened(trials, sound, tmp_path):
    expected, seconds = sound
    moments = random.Random(trials)
    for trial in range(trials):
        folder = Path(tmp_path, str(trial))
        folder.mkdir()
        for _ in range(1 + trial % 3):
            arguments = disk.RESUME if disk.resumable(folder) else disk.TRAIN
            code, _ = disk.in_child(folder, arguments, seconds=moments.uniform(0.01, seconds))
            assert code in (-14, 0), (folder / "said").read_text()
        outcome, code = disk.recover(folder)
        assert code == 0, (folder / "said").read_text()
        assert outcome == expected, shlex.join(disk.TRAIN)
        shutil.rmtree(folder)
