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
