"""Runs small enough for a test: in this process, or as the real command in a process of its own."""

import csv
import io
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from rlsparse import loop
from rlsparse.advantage.estimators import GAE
from rlsparse.algorithms.ppo import PPO
from rlsparse.learner.network import ActorCritic
from rlsparse.run import checkpoint
from rlsparse.run import directory as runs
from rlsparse.run import session as sessions
from rlsparse.run.device import prepare
from rlsparse.run.recipe import Recipe

ROOT = Path(__file__).resolve().parent.parent

RECIPE = Recipe(
    env="fake_envs:Point-v0",
    total_steps=96,
    num_envs=2,
    rollout_length=8,
    eval_every=32,
    eval_episodes=2,
    policy=ActorCritic(actor_hidden=(8,), critic_hidden=(8,)),
    advantage=GAE(gamma=0.9),
    algorithm=PPO(epochs=2, minibatches=4, learning_rate_decay=True),
)
"""Six rollouts of 16 steps; evaluations at 0, 32, 64 and 96."""

FLAGS = [
    *("--env", "fake_envs:Point-v0", "--total-steps", "96", "--num-envs", "2", "--rollout-length", "8"),
    *("--eval-every", "32", "--eval-episodes", "2", "--policy.actor-hidden", "8", "--policy.critic-hidden", "8"),
    *("--algorithm.epochs", "2", "--algorithm.minibatches", "4", "--env-workers", "1"),
]
"""A run as small for the command line; no step of an environment is measured, for some count them."""


def fast():
    """PPO with steps so large that returns go up and down."""
    return replace(RECIPE.algorithm, learning_rate=0.3)


PROBING = ROOT / "tests" / "data" / "probing.toml"
"""A card for --explore: a probe gives the incumbent and four candidates two episodes each."""


def recipe(**changes):
    """RECIPE with some fields changed."""
    return replace(RECIPE, **changes)


class Silent:
    """A reporter that reports nothing."""

    def iteration(self, session, stats):
        pass

    def evaluation(self, session, rows):
        pass

    def probe(self, session, rows):
        pass


def never():
    return False


def begin(run_dir, recipe=RECIPE, device="cpu"):
    """A session at its start, in a new run directory."""
    prepare()
    session = sessions.open_session(recipe, runs.create(recipe, "ppo", run_dir, run_dir, device), device)
    sessions.start(session)
    return session


def reopen(run_dir):
    """A session at its newest checkpoint."""
    prepare()
    run, recipe, _, device = runs.reopen(run_dir)
    session = sessions.open_session(recipe, run, device)
    sessions.restore(session)
    return session


def go_on(session, stop=never):
    """Train and let the directory go."""
    try:
        loop.train(session, Silent(), stop)
    finally:
        session.run.release()


def train(run_dir, recipe=RECIPE):
    """A whole run; returns its directory."""
    go_on(begin(run_dir, recipe))
    return run_dir


def train_and_copy(run_dir, recipe, copies, monkeypatch):
    """The run directory of a finished run, of which there is a copy in `copies` as it was at every checkpoint."""
    copies.mkdir()
    save = checkpoint.save

    def save_and_copy(path, total_steps, contents, *keep):
        save(path, total_steps, contents, *keep)
        shutil.copytree(path.parent, copies / str(len(list(copies.iterdir()))))

    with monkeypatch.context() as patch:
        patch.setattr(loop, "SAVE_INTERVAL", -1)
        patch.setattr(checkpoint, "save", save_and_copy)
        return train(run_dir, recipe)


def resume(run_dir, stop=never):
    """Go on with a run to its end; returns its directory."""
    go_on(reopen(run_dir), stop)
    return run_dir


def outcome(run_dir):
    """Everything that equal runs have in common, byte for byte: all but the time they took."""
    saved = checkpoint.load_latest(run_dir / "checkpoint")
    arrays = {
        f"{group}/{name}": (array.dtype.str, array.shape, array.tobytes())
        for group, arrays in saved.arrays.items()
        for name, array in arrays.items()
    }
    values = {
        name: value
        for name, value in saved.values.items()
        if name not in ("seconds", "eval_seconds", "records", "heads")
    }
    rows = list(csv.DictReader(io.StringIO((run_dir / "progress.csv").read_text())))
    for row in rows:
        del row["seconds"], row["digest"]
    others = [run_dir / "probe.csv", run_dir / "density.csv"]
    records = {"progress": rows, **{path.stem: path.read_text() if path.exists() else "" for path in others}}
    policies = {name: (run_dir / f"{name}.safetensors").read_bytes() for name in ("policy", "policy-best")}
    return {**policies, **records, **values, **arrays}


def command(*arguments, cwd, module="rlsparse.train", **variables):
    """The command in a process of its own; returns it when it has ended."""
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=cwd,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def environment(**variables):
    """Environment variables of a process that finds the library and the fake environments."""
    path = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    return {**os.environ, "PYTHONPATH": path, **variables}
