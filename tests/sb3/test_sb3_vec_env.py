"""The VecEnv for Stable-Baselines3 against its own DummyVecEnv: the same numbers, so the same training."""

import warnings

import gymnasium
import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env as make_dummy_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecNormalize

from rlsparse.errors import UsageError
from rlsparse.sb3 import make_vec_env

TOLERANCE = {"rtol": 0, "atol": 1e-10}
READ_BY_SB3 = {"TimeLimit.truncated", "terminal_observation", "episode"}


def pair(env_id, num_envs, seed):
    return make_vec_env(env_id, num_envs, seed), make_dummy_vec_env(env_id, num_envs, seed)


def trained(env, **options):
    model = PPO("MlpPolicy", env, n_steps=64, batch_size=64, n_epochs=2, seed=3, device="cpu", **options)
    return model.learn(4 * 64)


def assert_equal_models(ours, theirs):
    for name, array in ours.policy.state_dict().items():
        np.testing.assert_allclose(array, theirs.policy.state_dict()[name], rtol=0, atol=1e-6, err_msg=name)
    episodes, expected = ([(end["r"], end["l"]) for end in model.ep_info_buffer] for model in (ours, theirs))
    assert len(episodes) >= 4
    np.testing.assert_allclose(episodes, expected, atol=2e-6)


@pytest.mark.parametrize("env_id", ["HalfCheetah-v5", "Hopper-v5"])
def test_1005_steps_equal_a_dummy_vec_env(env_id):
    ours, theirs = pair(env_id, 2, seed=5)
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    np.testing.assert_allclose(ours.reset(), theirs.reset(), **TOLERANCE)
    rng = np.random.default_rng(0)
    ends = 0
    for _ in range(1005):
        actions = rng.uniform(-1, 1, (2, *ours.action_space.shape)).astype(np.float32)
        results, expected = ours.step(actions), theirs.step(actions)
        for array, their_array in zip(results[:3], expected[:3], strict=True):
            np.testing.assert_allclose(array, their_array, **TOLERANCE)
            assert array.dtype == their_array.dtype
        for info, their_info in zip(results[3], expected[3], strict=True):
            assert set(info) == set(their_info) & READ_BY_SB3
            assert info["TimeLimit.truncated"] is bool(their_info["TimeLimit.truncated"])
            if "episode" in info:
                np.testing.assert_allclose(
                    info["terminal_observation"], their_info["terminal_observation"], **TOLERANCE
                )
                assert info["episode"]["r"] == pytest.approx(their_info["episode"]["r"], abs=2e-6)
                assert info["episode"]["l"] == their_info["episode"]["l"]
                assert info["episode"]["t"] >= 0
                ends += 1
    assert ends >= 2


def test_seeds_hold_for_one_reset():
    ours, theirs = pair("Hopper-v5", 2, seed=None)
    for env in (ours, theirs):
        assert env.seed(11) == [11, 12]
    for _ in range(3):  # the second and third go on with the same generators
        np.testing.assert_allclose(ours.reset(), theirs.reset(), **TOLERANCE)


def test_ppo_learns_the_same():
    ours, theirs = (trained(env) for env in pair("Hopper-v5", 4, seed=0))
    assert_equal_models(ours, theirs)


def test_normalised_ppo_learns_and_evaluates_the_same():
    envs = [VecNormalize(env) for env in pair("Hopper-v5", 4, seed=0)]
    ours, theirs = (trained(env) for env in envs)
    assert_equal_models(ours, theirs)
    np.testing.assert_allclose(envs[0].obs_rms.mean, envs[1].obs_rms.mean, **TOLERANCE)
    scores = []
    for model, env in zip((ours, theirs), envs, strict=True):
        env.training = False
        env.seed(1)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # above all: no complaint about a missing Monitor
            scores.append(evaluate_policy(model, env, n_eval_episodes=5, return_episode_rewards=True))
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-3)


def test_names_are_resolved_as_everywhere():
    env = make_vec_env("half-cheetah", num_envs=3)
    assert env.num_envs == 3
    assert env.get_attr("spec", indices=[0, 2]) == [gymnasium.spec("HalfCheetah-v5")] * 2
    with pytest.raises(UsageError, match="did you mean HalfCheetah-v5"):
        make_vec_env("HalfCheeta")


def test_other_environments_work_too():
    env = make_vec_env("Pendulum-v1", num_envs=2, seed=0)
    env.reset()
    for _ in range(200):
        _, _, dones, infos = env.step(np.zeros((2, 1), np.float32))
    assert dones.all()
    assert [(info["TimeLimit.truncated"], info["episode"]["l"]) for info in infos] == [(True, 200)] * 2


def test_there_are_no_single_environments():
    env = make_vec_env("Hopper", num_envs=2)
    assert env.env_is_wrapped(Monitor) == [True, True]
    assert env.env_is_wrapped(gymnasium.wrappers.TimeLimit, indices=0) == [False]
    assert env.has_attr("render_mode") and not env.has_attr("model")
    for call in (lambda: env.env_method("jump"), lambda: env.set_attr("gravity", 0), lambda: env.get_attr("gravity")):
        with pytest.raises(AttributeError, match="batched environments"):
            call()
    env.close()
