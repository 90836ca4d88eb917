"""Saving and restoring a simulator: what follows is the same as if nothing had happened."""

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from rlsparse import sim
from rlsparse.errors import UsageError
from rlsparse.sim.cpu import MujocoVectorEnv
from rlsparse.sim.tasks import TASKS


def run(env, steps, seed):
    rng = np.random.default_rng(seed)
    low, high = env.action_space.low, env.action_space.high
    return [env.step(rng.uniform(low, high).astype(np.float32)) for _ in range(steps)]


def assert_equal_results(some, others):
    for result, other in zip(some, others, strict=True):
        for array, other_array in zip(result[:4], other[:4], strict=True):
            np.testing.assert_array_equal(array, other_array)
        assert result[4].keys() == other[4].keys()


def through_a_file(state, folder):
    """As a checkpoint would: numeric arrays only, nothing that needs pickle."""
    np.savez(folder / "state.npz", **state)
    with np.load(folder / "state.npz", allow_pickle=False) as loaded:
        return dict(loaded)


@pytest.mark.parametrize("env_id", [*TASKS, "Pendulum-v1"])
def test_a_restored_simulator_continues_exactly(env_id, tmp_path):
    env = sim.make(env_id, 3)
    env.reset(seed=5)
    run(env, 33, seed=0)
    state = through_a_file(env.get_state(), tmp_path)
    expected = run(env, 40, seed=1)

    fresh = sim.make(env_id, 3)
    fresh.set_state(state)
    assert_equal_results(run(fresh, 40, seed=1), expected)
    for name, array in env.get_state().items():
        np.testing.assert_array_equal(fresh.get_state()[name], array)


@pytest.mark.parametrize("env_id", TASKS)
def test_resets_after_a_restore_are_the_same(env_id, tmp_path):
    env = sim.make(env_id, 2)
    env.reset(seed=5)
    run(env, 3, seed=0)
    near_the_end = env.get_state()
    near_the_end["elapsed"][:] = env.spec.max_episode_steps - np.array([2, 4])
    env.set_state(near_the_end)
    expected = run(env, 8, seed=1)
    assert np.any([result[2] | result[3] for result in expected], axis=0).all()

    fresh = sim.make(env_id, 2)
    fresh.set_state(through_a_file(near_the_end, tmp_path))
    assert_equal_results(run(fresh, 8, seed=1), expected)


def test_pendulum_crosses_episode_ends_after_a_restore(tmp_path):
    env = sim.make("Pendulum-v1", 2)
    env.reset(seed=1)
    run(env, 190, seed=0)
    state = through_a_file(env.get_state(), tmp_path)
    expected = run(env, 230, seed=1)
    fresh = sim.make("Pendulum-v1", 2)
    fresh.set_state(state)
    assert_equal_results(run(fresh, 230, seed=1), expected)
    assert sum(result[3].sum() for result in expected) == 4


@pytest.mark.parametrize("env_id", ["Hopper-v5", "Ant-v5", "InvertedDoublePendulum-v5", "Pendulum-v1"])
def test_finished_environments_stay_finished_after_a_restore(env_id, tmp_path):
    steps = 205
    env = sim.make(env_id, 2, autoreset=False)
    env.reset(seed=0)
    terminated, truncated = run(env, steps, seed=0)[-1][2:4]
    assert (terminated | truncated).any()
    state = through_a_file(env.get_state(), tmp_path)
    fresh = sim.make(env_id, 2, autoreset=False)
    fresh.set_state(state)
    assert_equal_results(run(fresh, 10, seed=1), run(env, 10, seed=1))


def test_an_episode_that_waits_for_its_restart_is_restored(tmp_path):
    env = MujocoVectorEnv("Hopper-v5", 3, autoreset_mode=AutoresetMode.NEXT_STEP)
    env.reset(seed=0)
    while not run(env, 1, seed=0)[0][2].any():
        pass
    state = through_a_file(env.get_state(), tmp_path)
    fresh = MujocoVectorEnv("Hopper-v5", 3, autoreset_mode=AutoresetMode.NEXT_STEP)
    fresh.set_state(state)
    assert_equal_results(run(fresh, 40, seed=1), run(env, 40, seed=1))


@pytest.mark.parametrize("env_id", ["HalfCheetah-v5", "Pendulum-v1"])
def test_a_state_of_another_size_is_refused(env_id):
    env, other = sim.make(env_id, 2), sim.make(env_id, 3)
    env.reset(seed=0)
    with pytest.raises(UsageError, match="3 environments"):
        other.set_state(env.get_state())


# One environment alone


@pytest.mark.parametrize("env_id", [*TASKS, "Pendulum-v1", "fake_envs:Point-v0"])
def test_one_environment_is_put_where_another_was_and_the_others_notice_nothing(env_id):
    env = sim.make(env_id, 3, autoreset=False)
    env.reset(seed=[5, 8, 9])
    rng = np.random.default_rng(0)
    actions = [rng.uniform(env.action_space.low, env.action_space.high).astype(np.float32) for _ in range(4)]
    for action in actions[:2]:
        env.step(action)
    snapshot, before = env.snapshots()[0], env.get_state()
    expected = [env.step(action) for action in actions[2:]]

    env.set_state(before)
    env.halt(np.array([False, False, True]))
    obs, steps = env.restore(2, snapshot, np.stack([action[0] for action in actions[:2]]))
    assert steps == (0 if env_id in TASKS else 2)
    np.testing.assert_array_equal(env.snapshots()[2], snapshot)
    for action, result in zip(actions[2:], expected, strict=True):
        found = env.step(np.stack([action[0], action[1], action[0]]))
        for array, other in zip(found[:4], result[:4], strict=True):
            np.testing.assert_array_equal(array[:2], other[:2])
            np.testing.assert_array_equal(array[2], other[0])


@pytest.mark.parametrize("env_id", ["Hopper-v5", "fake_envs:Point-v0"])
def test_the_next_episode_is_that_which_it_would_have_been(env_id):
    env, plain = (sim.make(env_id, 2, autoreset=False) for _ in range(2))
    for each in (env, plain):
        each.reset(seed=[5, 8])
    env.restore(1, env.snapshots()[0], np.empty((0, env.action_space.shape[1])))
    np.testing.assert_array_equal(env.reset()[0], plain.reset()[0])


@pytest.mark.parametrize("env_id", ["Hopper-v5", "Pendulum-v1"])
def test_the_time_limit_counts_what_went_before(env_id):
    env = sim.make(env_id, 2, autoreset=False)
    env.reset(seed=[5, 8])
    limit = env.spec.max_episode_steps
    state = env.get_state()
    if "elapsed" in state:
        env.set_state(state | {"elapsed": np.array([limit - 1, 0])})
        actions = np.empty((0, 3))
    else:
        actions = np.zeros((limit - 1, 1))
        for _ in actions:
            env.step(np.zeros((2, 1), np.float32))
    snapshot = env.snapshots()[0]
    env.reset()
    env.restore(1, snapshot, actions)
    truncated = env.step(np.zeros(env.action_space.shape, np.float32))[3]
    assert truncated.tolist() == [False, True]


@pytest.mark.parametrize("env_id", ["Hopper-v5", "Pendulum-v1"])
def test_a_simulator_is_saved_and_restored_while_one_stands_elsewhere(env_id, tmp_path):
    env = sim.make(env_id, 2, autoreset=False)
    env.reset(seed=[5, 8])
    env.restore(1, env.snapshots()[0], np.empty((0, env.action_space.shape[1])))
    run(env, 3, seed=0)
    state = through_a_file(env.get_state(), tmp_path)
    expected = run(env, 5, seed=1)
    fresh = sim.make(env_id, 2, autoreset=False)
    fresh.set_state(state)
    assert_equal_results(run(fresh, 5, seed=1), expected)
