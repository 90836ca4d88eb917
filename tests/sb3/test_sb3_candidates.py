"""Candidates act as the policy would, and their scores are the returns of episodes that it plays."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from probed_models import (
    POINT,
    PROBING,
    LooksAtData,
    Parts,
    Squares,
    Stop,
    Watch,
    everything,
    learned,
    new_model,
    reset,
)
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import nn

from rlsparse.explore.probe import Episodes
from rlsparse.sb3 import ExploRLerCallback
from rlsparse.sb3 import vec_env as batched
from rlsparse.sb3.actor import Actor
from rlsparse.sb3.environments import environments
from rlsparse.sb3.episodes import candidate_episodes
from rlsparse.sim.cpu import MujocoVectorEnv
from rlsparse.sim.user_envs import GymEnvironments


def some_policies():
    separate = {"share_features_extractor": False, "features_extractor_kwargs": {"width": 4}}
    yield "plain", {}
    yield "deep", {"policy_kwargs": {"net_arch": [9, 8, 7], "activation_fn": nn.ReLU}}
    yield "linear", {"policy_kwargs": {"net_arch": []}}
    yield "gSDE", {"use_sde": True, "policy_kwargs": {"squash_output": True}}
    yield "own extractor", {"policy_kwargs": {"features_extractor_class": Squares, **separate}}
    yield "not vectorised", {"policy_kwargs": {"features_extractor_class": LooksAtData, **separate}}
    yield "shared extractor", {"policy_kwargs": {"features_extractor_class": Squares}}
    yield "activation with parameters", {"policy_kwargs": {"activation_fn": nn.PReLU}}


@pytest.mark.parametrize(("name", "options"), list(some_policies()))
def test_candidates_act_as_the_policy_would(name, options):
    model = new_model(**options)
    obs = np.random.default_rng(0).standard_normal((6, 2))
    model._last_obs = obs[:2]
    assert_candidates_act(model, obs)


def test_candidates_act_on_observations_in_parts():
    model = PPO(
        "MultiInputPolicy",
        DummyVecEnv([Parts]),
        n_steps=8,
        batch_size=8,
        device="cpu",
        policy_kwargs={"features_extractor_class": Squares, "share_features_extractor": False},
    )
    rng = np.random.default_rng(0)
    obs = {"a": rng.standard_normal((6, 2)), "b": rng.standard_normal((6, 1))}
    model._last_obs = {key: x[:2] for key, x in obs.items()}
    assert_candidates_act(model, obs)
    callback = ExploRLerCallback(PROBING, make_env=lambda: gymnasium.wrappers.TimeLimit(Parts(), 5), seed=0)
    learned(model, callback)
    assert callback.report().accepted > 0


def assert_candidates_act(model, obs):
    policy = model.policy.eval()
    actor = Actor(model, search_log_std=False)
    start = actor.read()
    points = start + 0.3 * np.random.default_rng(1).standard_normal((3, len(start)))
    given = actor.native(actor.candidates(points)(obs)).reshape(3, 2, -1)
    for i, point in enumerate(points):
        actor.write(point)
        np.testing.assert_array_equal(actor.read(), point.astype(np.float32))
        mine = (
            {key: x[2 * i : 2 * i + 2] for key, x in obs.items()} if isinstance(obs, dict) else obs[2 * i : 2 * i + 2]
        )
        expected, _ = policy.predict(mine, deterministic=True)
        np.testing.assert_allclose(given[i], expected, atol=1e-5)


def test_a_shared_extractor_is_left_out_and_said_so(caplog):
    kwargs = {"features_extractor_class": Squares}
    sizes = []
    for share in (True, False):
        model = new_model(policy_kwargs={**kwargs, "share_features_extractor": share})
        sizes.append(len(learned(model, callback := ExploRLerCallback(PROBING, seed=0)) and callback._actor.read()))
    shared = [record.getMessage() for record in caplog.records if "share" in record.getMessage()]
    assert len(shared) == 1
    assert "actor and critic share 15 parameters" in shared[0]
    assert sizes[1] - sizes[0] == 15


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("env_id", ["InvertedPendulum-v5", POINT])
def test_scores_are_the_returns_of_episodes_that_the_policy_plays(env_id, normalise):
    model = new_model(normalise=normalise, env=make_vec_env(env_id, 2, seed=1)).learn(64)
    normaliser, where = model.get_vec_normalize_env(), environments(model, None)
    statistics = everything(model)
    actor = Actor(model, False)
    point = actor.read()
    evaluate = candidate_episodes(actor, where, [5, 6, 7], 10**6)
    scores = evaluate(np.stack([point, 1.5 * point])[None], 0, 3)
    np.testing.assert_equal(everything(model), statistics)
    assert isinstance(where.make(6), GymEnvironments if env_id == POINT else MujocoVectorEnv)
    expected, steps = [], 0
    for candidate in (point, 1.5 * point):
        actor.write(candidate)
        for seed in (5, 6, 7):
            env = gymnasium.make(env_id)
            reset_seed = int(np.random.SeedSequence([seed, 0]).generate_state(1)[0]) if env_id == POINT else seed
            obs, total, over = env.reset(seed=reset_seed)[0], 0.0, False
            while not over:
                obs = normaliser.normalize_obs(obs) if normalise else obs
                obs, reward, terminated, truncated, _ = env.step(model.predict(obs, deterministic=True)[0])
                total, steps, over = total + reward, steps + 1, terminated or truncated
            expected.append(total)
    np.testing.assert_allclose(scores.ravel(), expected, rtol=1e-5)
    assert evaluate.steps == steps


@pytest.mark.parametrize("make", [make_vec_env, batched.make_vec_env])
def test_a_task_with_other_arguments_is_probed_in_the_same_one_in_a_batch(make):
    changed = {"reset_noise_scale": 0.02, "max_episode_steps": 30}
    where = environments(new_model(env=make("InvertedPendulum-v5", 2, env_kwargs=changed)), None)
    assert (where.horizon, where.make(2).task.reset_noise_scale) == (30, 0.02)


def test_stochastic_probes_search_the_noise_too():
    config = replace(PROBING, search_log_std=True, probe=Episodes(2, accept="always", stochastic=True))
    before, callback = [], ExploRLerCallback(config, seed=0)

    class LogStd(Watch):
        def _on_rollout_start(self):
            before.append(self.model.policy.log_std.item())

    new_model().learn(10**6, callback=[LogStd(), callback, LogStd(), Stop(1)])
    assert before[-2] != before[-1]


def test_a_candidate_that_is_not_finite_fails():
    model = reset(new_model())
    actor = Actor(model, False)
    points = np.stack([actor.read(), np.full_like(actor.read(), np.nan), np.full_like(actor.read(), 1e30)])
    evaluate = candidate_episodes(actor, environments(model, None), [1, 2], 10**6)
    with np.errstate(all="ignore"):
        scores = evaluate(points[None], 0, 2)[0]
    assert np.isfinite(scores[0]).all()
    assert np.isneginf(scores[1]).all()


def test_large_probes_run_in_parts():
    model = reset(new_model())
    actor, where = Actor(model, False), environments(model, None)
    points = actor.read() + np.random.default_rng(0).standard_normal((1, 5, len(actor.read())))
    whole = candidate_episodes(actor, where, [1, 2, 3], 10**6)(points, 0, 3)
    parts = candidate_episodes(actor, replace(where, most=7), [1, 2, 3], 10**6)(points, 0, 3)
    np.testing.assert_allclose(whole, parts, rtol=1e-6)


def test_an_allowance_is_kept_to():
    model = reset(new_model(env=make_vec_env("fake_envs:Steady-v0", 2)))
    actor = Actor(model, False)
    evaluate = candidate_episodes(actor, environments(model, None), [1, 2], 13)
    assert np.isnan(evaluate(np.repeat(actor.read()[None, None], 2, 1), 0, 2)).all()
    assert evaluate.steps == 12
    assert evaluate.exhausted
