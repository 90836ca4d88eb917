"""Whole runs in the simulator of a GPU, here on Warp's CPU device: trained, probed, interrupted, resumed, played."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from rlsparse import loop, play, train
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.probe import Racing
from rlsparse.explore.propose import Gaussian
from rlsparse.explorer import Explorer
from rlsparse.policy import ActorCritic
from rlsparse.ppo import PPO
from rlsparse.recipe import Recipe, from_toml

pytest.importorskip("mujoco_warp", reason="needs pip install 'rlsparse[gpu]'")
# Warp compiles its kernels, once: in one worker.
DEVICE = "cpu:0"
pytestmark = pytest.mark.xdist_group("warp")

FLAGS = [
    *("--env", "InvertedPendulum", "--simulator", "warp", "--total-steps", "96", "--num-envs", "4", "--num-seeds", "2"),
    *("--rollout-length", "8", "--eval-every", "48", "--eval-episodes", "2", "--policy.actor-hidden", "8"),
    *("--algorithm.epochs", "2", "--algorithm.minibatches", "4"),
]


@pytest.fixture(autouse=True)
def fresh_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.fsync", lambda _: None)


def run(command, *arguments):
    try:
        command.main([*arguments])
    except SystemExit as stop:
        return stop.code or 0
    return 0


def rows(path):
    with open(path) as file:
        return list(csv.DictReader(file))


def test_a_run_is_trained_on_warp_and_played_on_mujoco(capsys):
    assert run(train, *FLAGS, "--run-dir", "run") == 0
    assert "simulating on the CPU, which takes long with MuJoCo Warp" in capsys.readouterr().err
    versions = json.loads(Path("run/versions.json").read_text())
    assert versions["device"] == "cpu:0"
    assert from_toml(Path("run/recipe.toml").read_text(), "recipe.toml").simulator == "warp"
    last = rows("run/progress.csv")[-2:]
    assert [row["total_steps"] for row in last] == ["96", "96"]
    assert all(float(row["return_mean"]) >= 1 and np.isfinite(float(row["policy_loss"])) for row in last)
    assert run(play, "run", "--episodes", "1", "--json") == 0
    assert json.loads(capsys.readouterr().out)


def outcome(folder):
    """All that a run recorded, but how long it took."""
    kept = [{name: x for name, x in row.items() if name != "seconds"} for row in rows(folder / "progress.csv")]
    return kept, (folder / "policy.safetensors").read_bytes()


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(monkeypatch):
    assert run(train, *FLAGS, "--run-dir", "whole", "--quiet") == 0
    iterations = []

    def asked(stop):
        iterations.append(1)
        stop.received = 15 * (len(iterations) > 5)
        return stop.received != 0

    with monkeypatch.context() as patch:
        patch.setattr(train.StopSignal, "__call__", asked)
        assert run(train, *FLAGS, "--run-dir", "halves", "--quiet") != 0
    assert rows("halves/progress.csv") != rows("whole/progress.csv")
    assert run(train, "--resume", "halves", "--quiet") == 0
    assert outcome(Path("halves")) == outcome(Path("whole"))


def test_probing_on_warp_counts_its_steps():
    explore = ExploRLer(num_anchors=2, budget_fraction=1.0, proposal=Gaussian(candidates=3), probe=Racing(duel=2))
    recipe = Recipe(
        env="InvertedPendulum-v5",
        simulator="warp",
        num_seeds=2,
        num_envs=4,
        rollout_length=8,
        policy=ActorCritic((8,), (8,)),
        algorithm=PPO(epochs=2, minibatches=4),
        explore=explore,
    )
    learner, collector = loop.begin(recipe, DEVICE)
    explorer = Explorer(explore, learner, loop.single_episodes(recipe, DEVICE), 4, recipe.total_steps)
    loop.iterate(recipe, learner, collector, explorer)
    choice = explorer.probe(explorer.due(), lambda: False)
    assert np.isfinite(choice.score).any(1).all()
    assert (choice.steps >= 3 * 4).all()
    np.testing.assert_array_equal(learner.counters.probe, choice.steps)
    np.testing.assert_array_equal(learner.counters.train, [32, 32])
