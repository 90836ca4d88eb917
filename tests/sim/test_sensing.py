"""Sensors that err, late actions and a memory of observations change what a policy sees, and nothing else."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from rlsparse import sim
from rlsparse.errors import UsageError
from rlsparse.sim.counter_numbers import normal, uniform
from rlsparse.sim.environment import Environment, make_single

SWING_UP = f"{Path(__file__).resolve().parents[2] / 'examples' / 'swing_up' / 'swing_up.py'}:SwingUp"
ACTIONS = np.random.default_rng(0).uniform(-1, 1, (60, 3, 3)).astype(np.float32)


def made(num_envs=3, env="Hopper-v5", autoreset=True, **kwargs):
    return sim.make(Environment(env, kwargs), num_envs, autoreset=autoreset)


def run(env, actions=ACTIONS, seed=0):
    """Observations and rewards, with the first observation."""
    seen = [env.reset(seed=seed)[0]]
    rewards = []
    for action in actions:
        obs, reward, *_ = env.step(action)
        seen.append(obs)
        rewards.append(reward)
    return np.array(seen), np.array(rewards)


def test_an_action_arrives_after_its_delay_and_the_middle_of_the_range_acts_before():
    late, prompt = made(action_delay=2, terminate_when_unhealthy=False), made(terminate_when_unhealthy=False)
    shifted = np.concatenate([np.zeros((2, 3, 3), np.float32), ACTIONS[:-2]])
    for a, b in zip(run(late), run(prompt, shifted), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_memory_holds_the_last_observations_the_oldest_first_and_begins_with_the_first():
    plain, _ = run(made(terminate_when_unhealthy=False))
    stacked, _ = run(made(history=3, terminate_when_unhealthy=False))
    assert stacked.shape == (61, 3, 33)
    np.testing.assert_array_equal(stacked[0], np.tile(plain[0], 3))
    np.testing.assert_array_equal(stacked[1], np.concatenate([plain[0], plain[0], plain[1]], 1))
    for t in range(2, 61):
        np.testing.assert_array_equal(stacked[t], np.concatenate(plain[t - 2 : t + 1], 1))


def test_errors_are_normal_of_their_deviation_and_change_neither_motion_nor_reward():
    plain, rewards = run(made())
    noisy, same = run(made(sensor_noise=0.5))
    np.testing.assert_array_equal(rewards, same)
    assert kstest((noisy - plain).ravel() / 0.5, "norm").pvalue > 1e-3
    each = np.array([0.0] * 10 + [2.0])
    noisy, _ = run(made(sensor_noise=each.tolist()))
    np.testing.assert_array_equal(noisy[..., :10], plain[..., :10])
    assert 1.5 < (noisy - plain)[..., 10].std() < 2.5


def test_the_last_observation_of_an_episode_is_seen_in_the_same_way():
    plain, stacked = made(), made(history=2)
    plain.reset(seed=0)
    stacked.reset(seed=0)
    before, ended = None, 0
    for action in ACTIONS:
        obs, *_, info = plain.step(action)
        own, *_, own_info = stacked.step(action)
        for i in np.flatnonzero(info.get("_final_obs", [])):
            np.testing.assert_array_equal(own_info["final_obs"][i], [*before[i], *info["final_obs"][i]])
            np.testing.assert_array_equal(own[i], np.tile(obs[i], 2))
            ended += 1
        before = obs
    assert ended > 0


@pytest.mark.parametrize("kwargs", [{"sensor_noise": 0.1}, {"action_delay": 3}, {"history": 4}])
def test_it_continues_exactly_from_its_state_and_is_the_same_alone(kwargs):
    first, second, alone = made(**kwargs), made(**kwargs), made(1, **kwargs)
    first.reset(seed=0)
    alone.reset(seed=1)
    for action in ACTIONS[:30]:
        first.step(action)
        alone.step(action[1:2])
    second.reset(seed=9)
    second.set_state(first.get_state())
    for action in ACTIONS[30:]:
        results = first.step(action)[:4]
        for a, b, c in zip(results, second.step(action)[:4], alone.step(action[1:2])[:4], strict=True):
            np.testing.assert_array_equal(a, b)
            np.testing.assert_array_equal(a[1], c[0])


def test_it_goes_on_from_a_snapshot():
    env = made(2, SWING_UP, history=2, action_delay=2)
    env.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (6, 2, 1))
    for action in actions:
        env.step(action)
    env.restore(0, env.snapshots()[1], actions[:, 1])
    obs, *_ = env.step(np.ones((2, 1)))
    np.testing.assert_array_equal(obs[0], obs[1])


def test_without_autoreset_an_episode_that_is_over_stands_still():
    env = made(autoreset=False, history=2)
    env.reset(seed=0)
    over, last = np.zeros(3, bool), None
    for action in ACTIONS:
        obs, reward, terminated, truncated, _ = env.step(action)
        if last is not None:
            np.testing.assert_array_equal(obs[over], last[over])
            assert (reward[over] == 0).all()
        over, last = over | terminated | truncated, obs
    assert over.any()


def test_single_environments_have_them_too_those_of_gymnasium_and_those_of_users():
    for name, width in (("Hopper-v5", 11), (SWING_UP, 5)):
        env = make_single(Environment(name, {"history": 3, "max_episode_steps": 7}))
        assert env.reset(seed=0)[0].shape == (3 * width,)
        assert [env.step(env.action_space.sample())[3] for _ in range(7)] == [False] * 6 + [True]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"history": 0}, "--env-kwargs.history is 0: expected a whole number from 1 to 1,000"),
        ({"action_delay": -1}, "--env-kwargs.action-delay is -1: expected a whole number from 0"),
        ({"sensor_noise": -0.1}, "--env-kwargs.sensor-noise is -0.1: expected numbers of zero or more"),
        ({"sensor_noise": [0.1, 0.2]}, "--env-kwargs.sensor-noise has 2 numbers: expected one, or 11"),
        ({"sensor_noise": "much"}, "--env-kwargs.sensor-noise"),
        ({"histry": 2}, "did you mean history"),
    ],
)
def test_other_values_are_refused(kwargs, message):
    with pytest.raises(UsageError, match=message):
        made(**kwargs)


# On a GPU: here on MuJoCo Warp's CPU device


def on_warp(num_envs=3, env="Hopper-v5", autoreset=True, **kwargs):
    return sim.make(Environment(env, kwargs), num_envs, autoreset=autoreset, simulator="warp", device="cpu")


def run_on_warp(env, actions=ACTIONS, seed=0):
    results = run(env, torch.tensor(actions), seed)
    return results[0], results[1]


@pytest.mark.parametrize("autoreset", [True, False])
def test_on_a_gpu_delay_and_memory_are_those_of_the_cpu_for_the_same_motion(autoreset):
    """What the policy sees of environments on the GPU is what sensing on the CPU makes of the same results."""
    plain = on_warp(autoreset=autoreset)
    sensed = on_warp(autoreset=autoreset, action_delay=2, history=3)
    first = plain.reset(seed=0)[0].numpy()
    memory = [np.repeat(first[:, None], 3, 1)]
    np.testing.assert_array_equal(sensed.reset(seed=0)[0], memory[0].reshape(3, -1))
    since = np.zeros(3, int)
    over = np.zeros(3, bool)
    for t, action in enumerate(ACTIONS):
        arriving = np.where((since < 2)[:, None], 0.0, ACTIONS[max(t - 2, 0)]).astype(np.float32)
        obs, reward, terminated, truncated, info = plain.step(torch.tensor(arriving))
        own, own_reward, own_terminated, _, own_info = sensed.step(torch.tensor(action))
        np.testing.assert_array_equal(reward, own_reward)
        np.testing.assert_array_equal(terminated, own_terminated)
        seen = np.concatenate([memory[-1][:, 1:], info["final_obs"].numpy()[:, None]], 1)
        seen = np.where(over[:, None, None], memory[-1], seen)
        np.testing.assert_array_equal(own_info["final_obs"], seen.reshape(3, -1))
        ended = (terminated | truncated).numpy()
        if autoreset:
            seen = np.where(ended[:, None, None], np.repeat(obs.numpy()[:, None], 3, 1), seen)
            since = np.where(ended, 0, since + 1)
        else:
            over, since = over | ended, since + 1
        np.testing.assert_array_equal(own, seen.reshape(3, -1))
        memory.append(seen)
    assert over.any() or autoreset


def test_on_a_gpu_errors_are_normal_and_an_environment_s_own():
    plain, rewards = run_on_warp(on_warp())
    noisy, same = run_on_warp(on_warp(sensor_noise=0.5))
    np.testing.assert_array_equal(rewards, same)
    assert kstest((noisy - plain).ravel() / 0.5, "norm").pvalue > 1e-3
    alone, _ = run_on_warp(on_warp(1, sensor_noise=0.5), ACTIONS[:5, 1:2], seed=1)
    np.testing.assert_allclose(alone[:5, 0], noisy[:5, 1], rtol=1e-3, atol=1e-3)


def test_on_a_gpu_it_continues_exactly_from_its_state():
    kwargs = {"sensor_noise": 0.1, "action_delay": 2, "history": 2}
    first, second = on_warp(**kwargs), on_warp(**kwargs)
    first.reset(seed=0)
    for action in ACTIONS[:30]:
        first.step(torch.tensor(action))
    second.reset(seed=9)
    second.set_state(first.get_state())
    for action in ACTIONS[30:]:
        for a, b in zip(first.step(torch.tensor(action))[:4], second.step(torch.tensor(action))[:4], strict=True):
            np.testing.assert_array_equal(a, b)


def test_counted_numbers_are_uniform_and_normal_and_depend_on_every_key():
    keys = np.stack(np.meshgrid(np.arange(20), np.arange(20), np.arange(20)), -1).reshape(-1, 3)
    assert kstest(uniform(keys, 3).ravel(), "uniform").pvalue > 1e-3
    assert kstest(normal(keys, 3).ravel(), "norm").pvalue > 1e-3
    assert len(np.unique(uniform(keys, 1))) == len(keys)
    np.testing.assert_array_equal(uniform(keys[5:7], 4), uniform(keys, 4)[5:7])
