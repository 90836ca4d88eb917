"""The MuJoCo vector environment: finished episodes, warnings, failures."""

import logging
from collections import Counter

import gymnasium
import mujoco
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from mujoco.batch import SimulationError

from rlsparse import sim
from rlsparse.errors import EnvironmentFailure, UsageError
from rlsparse.sim import cpu as mujoco_log
from rlsparse.sim.contact import ContactBatch


@pytest.mark.parametrize("env_id", ["Hopper-v5", "Ant-v5", "Reacher-v5"])
def test_without_autoreset_each_environment_runs_one_episode(env_id):
    seeds, limit = [4, 9, 2], 200
    actions = np.random.default_rng(0).uniform(-1, 1, (limit, len(seeds), 8)).astype(np.float32)
    env = sim.make(env_id, len(seeds), autoreset=False)
    actions = actions[:, :, : env.single_action_space.shape[0]]
    env.reset(seed=seeds)
    results = [env.step(action) for action in actions]
    assert env.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    assert all(result[4] == {} for result in results)

    for i, seed in enumerate(seeds):
        single = gymnasium.make(env_id)
        single.reset(seed=seed)
        over, t = False, 0
        while not over and t < limit:
            obs, reward, terminated, truncated, _ = single.step(actions[t, i])
            ours = [array[i] for array in results[t][:4]]
            np.testing.assert_allclose(ours[0], obs, rtol=0, atol=1e-10)
            assert ours[1:] == [pytest.approx(reward, abs=1e-10), terminated, truncated]
            over, t = terminated or truncated, t + 1
        for later in results[t:]:
            np.testing.assert_array_equal(later[0][i], results[t - 1][0][i])
            assert (later[1][i], later[2][i], later[3][i]) == (0.0, terminated, truncated)


def test_a_finished_environment_costs_no_physics():
    env = sim.make("InvertedPendulum-v5", 2, autoreset=False)
    env.reset(seed=0)
    push = np.array([[3.0], [0.0]])
    while not env.step(push)[2][0]:
        pass
    stopped = env.get_state()["physics"][0]
    for _ in range(3):
        env.step(-push)
    np.testing.assert_array_equal(env.get_state()["physics"][0], stopped)
    env.reset()
    assert not env.step(0 * push)[2].any()


def test_returned_arrays_belong_to_the_caller():
    env = sim.make("Hopper-v5", 2, autoreset=False)
    env.reset(seed=0)
    first = env.step(np.zeros((2, 3)))
    kept = [array.copy() for array in first[:4]]
    env.step(np.ones((2, 3)))
    for array, copy in zip(first[:4], kept, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("env_id", ["Hopper-v5", "Pendulum-v1"])
def test_seeds_follow_gymnasiums_vector_rule(env_id):
    env = sim.make(env_id, 3)
    expected, _ = env.reset(seed=5)
    for seed in ([5, 6, 7], np.int64(5), np.array([5, 6, 7])):
        np.testing.assert_array_equal(env.reset(seed=seed)[0], expected)
    assert (env.reset()[0] != expected).any()  # no seed: the next episode of the same streams
    with pytest.raises(ValueError, match="2 seeds were given for 3"):
        env.reset(seed=[1, 2])


def test_mujoco_warnings_go_to_the_log_and_not_to_a_file(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mujoco_log, "_seen", Counter())
    with caplog.at_level(logging.DEBUG, logger="rlsparse.sim"):
        env = sim.make("HalfCheetah-v5", 2)
        for seed in range(12):
            env.reset(seed=seed)
            env.step(np.full((2, 6), np.nan))
    levels = [record.levelno for record in caplog.records if "settotalmass" in record.message]
    assert set(levels) == {logging.DEBUG}
    unstable = [record for record in caplog.records if "CTRL" in record.message]
    assert [record.levelno for record in unstable] == [logging.WARNING] * len(unstable)
    assert 1 <= len(unstable) <= 3  # of 24, so that a diverging run does not fill the log
    assert list(tmp_path.iterdir()) == []


def test_a_failed_simulation_names_its_environment(monkeypatch):
    env = sim.make("Hopper-v5", 3)
    env.reset(seed=0)

    def fail(*arguments):
        raise SimulationError(np.array([2]), "stack overflow")

    monkeypatch.setattr(env._batch, "step", fail)
    with pytest.raises(
        EnvironmentFailure, match="Hopper-v5: environment 2 failed in step 1 of its episode with MuJoCo"
    ):
        env.step(np.zeros((3, 3)))


def test_a_contact_batch_equals_a_loop_over_simulations():
    model = mujoco.MjModel.from_xml_string(
        "<mujoco><worldbody><geom type='plane' size='5 5 .1'/>"
        "<body pos='0 0 .3'><freejoint/><geom size='.2'/></body></worldbody></mujoco>"
    )
    batch = ContactBatch(model, 3, 2)
    qvel, force = batch.bind("qvel"), batch.bind("cfrc_ext")
    qvel[:, 2] = [-1.0, 0.0, 1.0]
    batch.step(None, 100)
    for i in range(3):
        data = mujoco.MjData(model)
        data.qvel[2] = i - 1
        mujoco.mj_step(model, data, nstep=100)
        mujoco.mj_rnePostConstraint(model, data)
        np.testing.assert_array_equal(force[i], data.cfrc_ext)
    resting = force[2].copy()
    batch.reset(np.array([0, 1]), stage=mujoco.mjtStage.mjSTAGE_NONE)
    assert not force[:2].any()
    np.testing.assert_array_equal(force[2], resting)


def test_bad_calls_are_refused():
    with pytest.raises(UsageError, match="at least 1"):
        sim.make("HalfCheetah-v5", 0)
    env = sim.make("HalfCheetah-v5", 2)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros((2, 6)))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"expected \(2, 6\)"):
        env.step(np.zeros(6))


@pytest.mark.parametrize("env_id", ["Hopper-v5", "Ant-v5"])
def test_a_halted_environment_stands_still_until_reset(env_id):
    """The others go on as if they had been alone all the time."""
    env, alone = sim.make(env_id, 3, autoreset=False), sim.make(env_id, 3, autoreset=False)
    actions = np.random.default_rng(0).uniform(-1, 1, (6, *env.action_space.shape))
    for e in (env, alone):
        e.reset(seed=0)
        first = e.step(actions[0])[0]
    env.halt(np.array([False, True, False]))
    for action in actions[1:5]:
        obs, reward, terminated, truncated, _ = env.step(action)
        expected = alone.step(action)
        np.testing.assert_array_equal(obs[1], first[1])
        assert reward[1] == 0 and not terminated[1] and not truncated[1]
        np.testing.assert_array_equal(obs[[0, 2]], expected[0][[0, 2]])
        np.testing.assert_array_equal(reward[[0, 2]], expected[1][[0, 2]])
    env.halt(np.ones(3, bool))
    np.testing.assert_array_equal(env.step(actions[5])[0], obs)
    env.reset(seed=0)
    np.testing.assert_array_equal(env.step(actions[0])[0], first)
