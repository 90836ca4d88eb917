"""TensorBoard reads what training writes, under the names that Stable-Baselines3 gives."""

import csv
import itertools
import time
from contextlib import closing

import gymnasium
import numpy as np
import pytest
import tiny
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rlsparse import loop
from rlsparse.algorithms.trpo import TRPO
from rlsparse.errors import Interrupted
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.probe import Episodes
from rlsparse.explore.propose import Line
from rlsparse.run import directory as runs
from rlsparse.run.tensorboard import TensorBoard
from rlsparse.sparse.config import Sparse
from rlsparse.sparse.masks import METRICS

RECIPE = tiny.recipe(num_seeds=2)


def train(session, stop=tiny.never):
    with closing(TensorBoard(session.run.path / "tb", session)) as events:
        try:
            loop.train(session, events, stop)
        finally:
            session.run.release()


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    session = tiny.begin(tmp_path_factory.mktemp("events") / "run", RECIPE)
    train(session)
    return session.run.path


def scalars(run_dir, seed):
    """Every tag's list of (step, value)."""
    accumulator = EventAccumulator(str(run_dir / "tb" / f"seed-{seed}"))
    accumulator.Reload()
    return {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]
    }


@pytest.fixture(scope="module")
def sb3_tags():
    """The tags of a real run of PPO with its evaluation callback."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import EvalCallback
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.logger import KVWriter, Logger

    class Tags(KVWriter):
        seen = set()

        def write(self, key_values, key_excluded, step=0):
            self.seen |= set(key_values)

        def close(self):
            pass

    envs = [make_vec_env(lambda: gymnasium.make("fake_envs:Point-v0")) for _ in range(2)]
    model = PPO("MlpPolicy", envs[0], n_steps=16, batch_size=8, n_epochs=1, device="cpu")
    model.set_logger(Logger(None, [Tags()]))
    model.learn(64, callback=EvalCallback(envs[1], n_eval_episodes=1, eval_freq=16, verbose=0))
    return Tags.seen


def test_every_tag_is_one_of_stable_baselines3s(run_dir, sb3_tags):
    ours = set(scalars(run_dir, 0))
    assert ours - sb3_tags == set()
    assert {"rollout/ep_rew_mean", "rollout/ep_len_mean", "eval/mean_reward", "eval/mean_ep_length"} <= ours
    assert {"time/fps", "train/approx_kl", "train/clip_fraction", "train/entropy_loss", "train/value_loss"} <= ours


def test_training_is_written_every_rollout_and_evaluations_when_they_are(run_dir):
    tags = scalars(run_dir, 1)
    assert [step for step, _ in tags["train/approx_kl"]] == [16, 32, 48, 64, 80, 96]
    assert [step for step, _ in tags["eval/mean_reward"]] == [0, 32, 64, 96]


def test_of_trpo_its_line_search_is_written_and_nothing_that_it_does_not_have(tmp_path):
    session = tiny.begin(tmp_path / "run", tiny.recipe(algorithm=TRPO(critic_minibatches=4)))
    train(session)
    tags, last = scalars(tmp_path / "run", 0), runs.read_progress(tmp_path / "run" / "progress.csv")[-1]
    assert not {"train/clip_range", "train/clip_fraction"} & set(tags)
    step, found = tags["train/step_fraction"][-1], tags["train/is_line_search_success"][-1]
    assert step == (96, np.float32(last["step_fraction"]))
    assert found == (96, float(step[1] > 0))
    assert tags["train/kl_divergence_loss"] == tags["train/approx_kl"]
    assert tags["train/policy_objective"] == [(at, -x) for at, x in tags["train/policy_gradient_loss"]]


@pytest.mark.parametrize("seed", [0, 1])
def test_every_seed_has_its_own_numbers(seed, run_dir):
    rows = [row for row in runs.read_progress(run_dir / "progress.csv") if row["seed"] == seed]
    tags = scalars(run_dir, seed)
    expected = [(row["total_steps"], np.float32(row["return_mean"])) for row in rows]
    assert tags["eval/mean_reward"] == expected
    last = rows[-1]
    for tag, column in (
        ("train/value_loss", "value_loss"),
        ("train/approx_kl", "approx_kl"),
        ("train/std", "action_std"),
        ("rollout/ep_rew_mean", "train_return_mean"),
    ):
        assert tags[tag][-1] == (96, pytest.approx(last[column], rel=1e-6))
    assert tags["train/entropy_loss"][-1][1] == pytest.approx(-last["entropy"], rel=1e-6)


def test_the_learning_rate_is_the_one_that_was_used(run_dir):
    """It decays with the share of the budget that is spent when a rollout begins."""
    rates = scalars(run_dir, 0)["train/learning_rate"]
    assert rates == [(16 * (k + 1), pytest.approx(3e-4 * (1 - k / 6))) for k in range(6)]


def test_probes_are_written_when_they_are(tmp_path):
    explore = ExploRLer(Line((0.0, 2.0)), Episodes(2), num_anchors=2, budget_fraction=0.75)
    session = tiny.begin(tmp_path / "run", tiny.recipe(num_seeds=2, total_steps=160, explore=explore))
    train(session)
    probes = list(csv.DictReader((tmp_path / "run" / "probe.csv").read_text().splitlines()))
    for seed in (0, 1):
        own = [row for row in probes if row["seed"] == str(seed)]
        assert len(own) > 1
        tags = scalars(tmp_path / "run", seed)
        for name in ("accepted", "probability", "best_score", "incumbent_score", "steps", "probe_steps"):
            written = [(int(row["total_steps"]), float(row[name])) for row in own if np.isfinite(float(row[name]))]
            assert tags[f"probe/{name}"] == [(step, np.float32(x)) for step, x in written]


def test_what_sparse_networks_are_like_is_written_with_every_evaluation(tmp_path):
    session = tiny.begin(tmp_path / "run", tiny.recipe(sparse=Sparse(0.5)))
    train(session)
    rows, tags = runs.read_progress(tmp_path / "run" / "progress.csv"), scalars(tmp_path / "run", 0)
    for name in METRICS:
        assert tags[f"sparse/{name}"] == [(row["total_steps"], np.float32(row[name])) for row in rows]


def test_what_has_no_value_yet_is_left_out(tmp_path):
    """No episode has ended within four steps."""
    session = tiny.begin(tmp_path / "run", tiny.recipe(rollout_length=4, total_steps=16))
    train(session)
    assert [step for step, _ in scalars(tmp_path / "run", 0)["rollout/ep_rew_mean"]] == [16]


def test_a_resumed_run_shows_as_one_that_never_stopped(run_dir, tmp_path, monkeypatch):
    """Killed after some rollouts more than the last checkpoint holds; these are written again."""
    # files are read in the order of their names, which have the second; no two processes begin in the same one
    monkeypatch.setattr("time.time", itertools.count(time.time()).__next__)
    session = tiny.begin(tmp_path / "run", RECIPE)
    with pytest.raises(Interrupted):
        train(session, lambda: session.learner.progress[0] * 96 >= 48)
    (tmp_path / "run" / "checkpoint" / "48" / "manifest.json").unlink()
    train(tiny.reopen(tmp_path / "run"))
    for seed in (0, 1):
        resumed, whole = scalars(tmp_path / "run", seed), scalars(run_dir, seed)
        del resumed["time/fps"], whole["time/fps"]
        assert resumed == whole
