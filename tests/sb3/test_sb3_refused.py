"""Probes under Stable-Baselines3 that fail, and models and settings that are refused, in one sentence each."""

import logging
import pickle
from dataclasses import replace

import fake_envs
import gymnasium
import numpy as np
import pytest
import torch
from probed_models import (
    POINT,
    PROBING,
    ROLLOUT,
    Stop,
    Unregistered,
    Watch,
    everything,
    learned,
    new_model,
)
from sb3_contrib import MaskablePPO, RecurrentPPO
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.callbacks import EveryNTimesteps
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize

from rlsparse.errors import UsageError
from rlsparse.explore.in_rollout import InRollout
from rlsparse.explore.probe import Episodes
from rlsparse.sb3 import ExploRLerCallback, sparsify
from rlsparse.sb3.actor import Actor
from rlsparse.sb3.supported import warn_of_version


class Breaks(fake_envs.Point):
    """Takes one step, no more."""

    def step(self, action):
        if self.lived:
            raise RuntimeError("the motor\nburned out")
        return super().step(action)


def test_a_probe_that_fails_leaves_the_policy_and_training_alone(caplog):
    broken = ExploRLerCallback(PROBING, seed=0, make_env=lambda: gymnasium.wrappers.TimeLimit(Breaks(), 5))
    ends = [everything(learned(new_model(), own)) for own in (broken, None)]
    report = broken.report()
    assert report.failed == report.probes > 0 == report.accepted
    np.testing.assert_equal(*ends)
    warned = [record.getMessage() for record in caplog.records if "a probe failed" in record.getMessage()]
    assert len(warned) == report.failed
    assert all("RuntimeError: the motor burned out; the policy stays" in text for text in warned)
    assert f"{report.failed} failed" in str(report)


def test_failures_at_the_end_do_not_keep_training_from_going_on():
    config = replace(PROBING, finish=True, start=0.5, budget_fraction=1.0)
    callback = ExploRLerCallback(config, seed=0, make_env=lambda: gymnasium.wrappers.TimeLimit(Breaks(), 5))
    model = new_model().learn(500, callback=callback)
    report = callback.report()
    assert report.failed == report.probes > 5
    assert 500 <= model.num_timesteps < 500 + ROLLOUT


def test_a_failure_after_the_swap_is_undone(monkeypatch):
    def half_written(self, point):
        write(self, point)
        if write.calls == 0:
            write.calls = 1
            raise MemoryError("no room")

    write = Actor.write
    monkeypatch.setattr(Actor, "write", half_written)
    write.calls = 0
    before, callback, after = Watch(), ExploRLerCallback(PROBING, seed=0), Watch()
    new_model().learn(10**6, callback=[before, callback, after, Stop(1)])
    assert callback.report().failed == 1
    np.testing.assert_array_equal(before.actors[1], after.actors[1])


def test_nothing_is_unpickled(monkeypatch, tmp_path):
    def refused(*_, **__):
        raise AssertionError("unpickled")

    model = new_model(normalise=True)
    for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(module, name, refused)
    callback = ExploRLerCallback(PROBING, out=tmp_path, seed=0)
    learned(model, callback)
    assert callback.report().accepted > 0


def refused_models():
    def discrete():
        return PPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8, device="cpu")

    def no_env():
        model = new_model()
        model.env = None
        return model

    yield "SAC is no on-policy algorithm", lambda: SAC("MlpPolicy", "Pendulum-v1", device="cpu")
    yield "recurrent", lambda: RecurrentPPO("MlpLstmPolicy", POINT, n_steps=8, batch_size=8, device="cpu")
    yield "maskable", lambda: MaskablePPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8, device="cpu")
    yield "Discrete", discrete
    yield "has no environment", no_env


@pytest.mark.parametrize(("message", "make"), list(refused_models()))
def test_models_that_are_refused(message, make):
    with pytest.raises(UsageError, match=message) as caught:
        ExploRLerCallback(PROBING).init_callback(make())
    assert "\n" not in str(caught.value)


class Sideways(PPO.policy_aliases["MlpPolicy"]):
    """Acts in another way than its modules say."""

    def _predict(self, observation, deterministic=False):
        return super()._predict(observation, deterministic) + 1.0


@pytest.mark.parametrize(
    ("message", "make", "callback"),
    [
        ("in-rollout needs our own", new_model, lambda: ExploRLerCallback(replace(PROBING, probe=InRollout()))),
        ("surrogate needs our own", new_model, lambda: ExploRLerCallback("explorler-ppo-surrogate")),
        ("card ppo says nothing", new_model, lambda: ExploRLerCallback("ppo")),
        ("unknown agent", new_model, lambda: ExploRLerCallback("explorer-ppo")),
        ("budget-fraction is -0.1", new_model, lambda: ExploRLerCallback(budget_fraction=-0.1)),
        (
            "gSDE does not",
            lambda: new_model(use_sde=True),
            lambda: ExploRLerCallback(replace(PROBING, probe=Episodes(stochastic=True))),
        ),
        (
            "not registered",
            lambda: new_model(env=DummyVecEnv([Unregistered])),
            lambda: ExploRLerCallback(PROBING),
        ),
        (
            "VecFrameStack",
            lambda: new_model(env=VecFrameStack(make_vec_env(POINT, 2), 2)),
            lambda: ExploRLerCallback(PROBING),
        ),
        (
            "statistics of its own",
            lambda: new_model(env=make_vec_env(POINT, 2, wrapper_class=gymnasium.wrappers.NormalizeObservation)),
            lambda: ExploRLerCallback(PROBING),
        ),
        (
            "makes an environment with observations",
            new_model,
            lambda: ExploRLerCallback(PROBING, make_env=lambda: gymnasium.make("Pendulum-v1")),
        ),
        (
            "make_env is 'Pendulum-v1': expected a function",
            new_model,
            lambda: ExploRLerCallback(PROBING, make_env="Pendulum-v1"),
        ),
        ("make_env gave None", new_model, lambda: ExploRLerCallback(PROBING, make_env=lambda: None)),
        (
            "expected a Gymnasium environment",
            new_model,
            lambda: ExploRLerCallback(PROBING, make_env=lambda: make_vec_env(POINT)),
        ),
        (
            "VecNormalize is inside of VecFrameStack",
            lambda: new_model(env=VecFrameStack(VecNormalize(make_vec_env(POINT, 2)), 2)),
            lambda: ExploRLerCallback(PROBING, make_env=lambda: gymnasium.make(POINT)),
        ),
        (
            "does not act through",
            lambda: new_model(policy=Sideways),
            lambda: ExploRLerCallback(PROBING),
        ),
        ("EveryNTimesteps passes", new_model, lambda: EveryNTimesteps(10, ExploRLerCallback(PROBING))),
    ],
)
def test_what_is_refused(message, make, callback):
    with pytest.raises(UsageError, match=message) as caught:
        make().learn(64, callback=callback())
    assert "\n" not in str(caught.value)


def test_make_env_must_make_new_ones(caplog):
    one = gymnasium.make(POINT)
    callback = ExploRLerCallback(PROBING, make_env=lambda: one, seed=0)
    learned(new_model(), callback, updates=1)
    assert callback.report().failed == 1
    assert "the same environment twice" in caplog.text


def test_frame_stacks_are_probed_with_make_env():
    def make():
        return gymnasium.wrappers.FlattenObservation(gymnasium.wrappers.FrameStackObservation(Unregistered(), 2))

    model = new_model(env=DummyVecEnv([lambda: gymnasium.wrappers.TimeLimit(make(), 5)]))
    callback = ExploRLerCallback(PROBING, make_env=lambda: gymnasium.wrappers.TimeLimit(make(), 5), seed=0)
    learned(model, callback)
    assert callback.report().accepted > 0


@pytest.mark.parametrize("name", ["rollout_buffer", "num_timesteps"])
def test_a_version_that_lacks_what_is_needed_is_refused(name):
    for use in (ExploRLerCallback(PROBING).init_callback, sparsify):
        model = new_model()
        delattr(model, name)
        with pytest.raises(UsageError, match=f"Stable-Baselines3 2.* gives a PPO no {name}.*: install version 2.8 or"):
            use(model)


def test_models_are_not_taken_by_name():
    with pytest.raises(UsageError, match="'Pendulum-v1' is no model of Stable-Baselines3"):
        sparsify("Pendulum-v1")


def test_an_untested_version_is_warned_of_once(caplog):
    warn_of_version.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            warn_of_version("3.1.0")
        warn_of_version("2.9.2")
    assert [record.getMessage() for record in caplog.records] == [
        "Stable-Baselines3 3.1.0 was not tested with rlsparse, only 2.8 and 2.9"
    ]
