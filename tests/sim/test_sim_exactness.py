"""The batched simulator against Gymnasium's own environments: same seeds, same actions, same everything."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from rlsparse import sim
from rlsparse.sim.task import Fields
from rlsparse.sim.tasks import TASKS

TOLERANCE = {"rtol": 0, "atol": 1e-10}


def gymnasium_sync(env_id, num_envs):
    return gymnasium.make_vec(
        env_id,
        num_envs,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
    )


@pytest.mark.parametrize("env_id", TASKS)
def test_1000_steps_with_autoreset_equal_gymnasium(env_id):
    num_envs, steps = 2, 1005
    ours, theirs = sim.make(env_id, num_envs), gymnasium_sync(env_id, num_envs)
    np.testing.assert_allclose(ours.reset(seed=7)[0], theirs.reset(seed=7)[0], **TOLERANCE)

    rng = np.random.default_rng(0)
    low, high = ours.action_space.low, ours.action_space.high
    episode_ends = 0
    for _ in range(steps):
        actions = rng.uniform(low, high).astype(np.float32)
        obs, reward, terminated, truncated, info = ours.step(actions)
        their_obs, their_reward, their_terminated, their_truncated, their_info = theirs.step(actions)
        np.testing.assert_allclose(obs, their_obs, **TOLERANCE)
        np.testing.assert_allclose(reward, their_reward, **TOLERANCE)
        np.testing.assert_array_equal(terminated, their_terminated)
        np.testing.assert_array_equal(truncated, their_truncated)
        ended = their_terminated | their_truncated
        assert ("final_obs" in info) == ended.any()
        if ended.any():
            np.testing.assert_array_equal(info["_final_obs"], their_info["_final_obs"])
            for i in range(num_envs):
                if ended[i]:
                    np.testing.assert_allclose(info["final_obs"][i], their_info["final_obs"][i], **TOLERANCE)
                else:
                    assert info["final_obs"][i] is None
        episode_ends += ended.sum()
    assert episode_ends >= num_envs
    ours.close()
    theirs.close()


@pytest.mark.parametrize("env_id", TASKS)
def test_spaces_equal_gymnasium(env_id):
    ours, theirs = sim.make(env_id, 3), gymnasium.make(env_id)
    assert ours.single_observation_space == theirs.observation_space
    assert ours.single_action_space == theirs.action_space
    assert ours.observation_space.shape == (3, *theirs.observation_space.shape)
    assert ours.action_space.shape == (3, *theirs.action_space.shape)
    assert ours.spec.id == env_id
    assert ours.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP


def test_float64_actions_equal_gymnasium():
    ours, theirs = sim.make("HalfCheetah-v5", 1), gymnasium.make("HalfCheetah-v5")
    ours.reset(seed=3)
    theirs.reset(seed=3)
    actions = np.random.default_rng(1).uniform(-1, 1, (20, 6))
    for action in actions:
        obs, reward, *_ = ours.step(action[None])
        their_obs, their_reward, *_ = theirs.step(action)
        np.testing.assert_array_equal(obs[0], their_obs)
        assert reward[0] == their_reward


def test_an_environment_does_not_depend_on_the_others():
    alone, together = sim.make("Hopper-v5", 1), sim.make("Hopper-v5", 4)
    np.testing.assert_array_equal(alone.reset(seed=[12])[0][0], together.reset(seed=[3, 12, 4, 5])[0][1])
    actions = np.random.default_rng(0).uniform(-1, 1, (120, 4, 3)).astype(np.float32)
    for action in actions:
        one, many = alone.step(action[1:2]), together.step(action)
        for a, b in zip(one[:4], many[:4], strict=True):
            np.testing.assert_array_equal(a[0], b[1])


@pytest.mark.parametrize("env_id", TASKS)
def test_task_functions_accept_torch_tensors(env_id):
    env = sim.make(env_id, 3)
    env.reset(seed=0)
    action = np.random.default_rng(0).uniform(-1, 1, env.action_space.shape)
    env.step(action)
    fields, task = vars(env._fields), env.task
    constants = {name: value for name, value in fields.items() if name == "timestep" or callable(value)}
    tensors = {name: torch.tensor(value) for name, value in fields.items() if name not in constants}
    tensors = Fields(**tensors, **constants)
    velocity = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)

    expected = task.reward(env._fields, velocity.numpy(), action)
    reward, terminated = task.reward(tensors, velocity, torch.tensor(action))
    assert terminated.dtype == torch.bool
    np.testing.assert_allclose(reward, expected[0], rtol=1e-12)
    np.testing.assert_array_equal(terminated, expected[1])
    np.testing.assert_allclose(task.observe(tensors), task.observe(env._fields), rtol=1e-12)
    np.testing.assert_allclose(task.progress(tensors), task.progress(env._fields), rtol=1e-12)


@pytest.mark.parametrize("env_id", ["Ant-v5", "Humanoid-v5"])
def test_positions_that_observations_leave_out_are_gymnasiums_at_ends_too(env_id):
    ours, theirs = sim.make(env_id, 1), gymnasium.make(env_id)
    ours.reset(seed=3)
    theirs.reset(seed=3)
    rng, over = np.random.default_rng(0), False
    np.testing.assert_allclose(ours.qpos[0], theirs.unwrapped.data.qpos, **TOLERANCE)
    while not over:
        before = ours.qpos
        action = rng.uniform(ours.single_action_space.low, ours.single_action_space.high).astype(np.float32)
        *_, info = ours.step(action[None])
        _, _, terminated, truncated, _ = theirs.step(action)
        over = terminated or truncated
        last = info["final_qpos"][0] if over else ours.qpos[0]
        np.testing.assert_allclose(last, theirs.unwrapped.data.qpos, **TOLERANCE)
        assert (before[0] != last).any()
    theirs.reset()
    np.testing.assert_allclose(ours.qpos[0], theirs.unwrapped.data.qpos, **TOLERANCE)
