"""The tasks in Gymnasium's registry: `make_vec` gives what Gymnasium's own vector environments give, only faster."""

import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils import env_checker
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import vector as wrappers

from rlsparse.errors import UsageError
from rlsparse.sim.cpu import MujocoVectorEnv
from rlsparse.sim.tasks import TASKS

TOLERANCE = {"rtol": 0, "atol": 1e-10}
ROOT = Path(__file__).parents[2]
MODES = list(AutoresetMode)


def pair(env_id, num_envs, mode, **options):
    """Ours and Gymnasium's."""
    ours = gymnasium.make_vec(f"rlsparse/{env_id}", num_envs, autoreset_mode=mode, **options)
    theirs = gymnasium.make_vec(env_id, num_envs, "sync", vector_kwargs={"autoreset_mode": mode}, **options)
    return ours, theirs


def assert_equal_runs(ours, theirs, steps, mode):
    """Step both with the same actions, restarting by hand where nothing else does; returns the episodes ended."""
    np.testing.assert_allclose(ours.reset(seed=7)[0], theirs.reset(seed=7)[0], **TOLERANCE)
    rng = np.random.default_rng(0)
    ended = 0
    for _ in range(steps):
        actions = rng.uniform(ours.action_space.low, ours.action_space.high).astype(np.float32)
        results, expected = ours.step(actions), theirs.step(actions)
        for array, their_array in zip(results[:4], expected[:4], strict=True):
            np.testing.assert_allclose(array, their_array, **TOLERANCE)
            assert array.dtype == their_array.dtype
        over = expected[2] | expected[3]
        ended += over.sum()
        assert ("final_obs" in results[4]) == (mode is AutoresetMode.SAME_STEP and over.any())
        if mode is AutoresetMode.DISABLED and over.any():
            obs, _ = ours.reset(options={"reset_mask": over.copy()})
            np.testing.assert_allclose(obs, theirs.reset(options={"reset_mask": over.copy()})[0], **TOLERANCE)
    return ended


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("env_id", ["Hopper-v5", "Ant-v5", "Reacher-v5"])
def test_every_autoreset_mode_equals_gymnasium(env_id, mode):
    ours, theirs = pair(env_id, 3, mode)
    assert isinstance(ours, MujocoVectorEnv)
    assert ours.metadata["autoreset_mode"] is mode
    assert assert_equal_runs(ours, theirs, 220, mode) >= 3


def test_the_default_mode_is_gymnasiums():
    ours, theirs = gymnasium.make_vec("rlsparse/Hopper-v5"), gymnasium.make_vec("Hopper-v5")
    assert ours.metadata["autoreset_mode"] is theirs.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    named = gymnasium.make_vec("rlsparse/Hopper-v5", autoreset_mode="SameStep")
    assert named.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP


@pytest.mark.parametrize("env_id", TASKS)
def test_every_task_is_registered_as_gymnasium_describes_it(env_id):
    ours, theirs = gymnasium.spec(f"rlsparse/{env_id}"), gymnasium.spec(env_id)
    for name in ("max_episode_steps", "reward_threshold", "entry_point", "kwargs", "nondeterministic"):
        assert getattr(ours, name) == getattr(theirs, name)
    env, expected = gymnasium.make_vec(ours, 3), gymnasium.make_vec(theirs, 3)
    assert env.num_envs == 3
    for name in ("single_observation_space", "single_action_space", "observation_space", "action_space"):
        assert getattr(env, name) == getattr(expected, name)


@pytest.mark.parametrize("env_id", ["HalfCheetah-v5", "Humanoid-v5"])
def test_gymnasiums_checks_pass(env_id):
    env = gymnasium.make_vec(f"rlsparse/{env_id}", 3)
    env_checker.check_reset_return_type(env)
    env_checker.check_reset_options(env)
    obs, info = env.reset(seed=1)
    assert obs in env.observation_space and info == {}
    obs, reward, terminated, truncated, info = env.step(env.action_space.sample())
    assert obs in env.observation_space and info == {}
    assert reward.shape == terminated.shape == truncated.shape == (3,)
    again = gymnasium.make_vec(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert (type(again), again.num_envs, again.spec) == (type(env), 3, env.spec)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_gymnasiums_episode_statistics_agree(mode):
    ours, theirs = (wrappers.RecordEpisodeStatistics(env) for env in pair("Hopper-v5", 2, mode))
    assert assert_equal_runs(ours, theirs, 150, mode) >= 5
    np.testing.assert_allclose(ours.return_queue, theirs.return_queue, **TOLERANCE)
    assert ours.length_queue == theirs.length_queue


def test_gymnasiums_normalisation_agrees():
    ours, theirs = (wrappers.NormalizeObservation(env) for env in pair("Hopper-v5", 2, AutoresetMode.NEXT_STEP))
    assert_equal_runs(ours, theirs, 100, AutoresetMode.NEXT_STEP)


@pytest.mark.parametrize(
    ("env_id", "options"),
    [
        ("HalfCheetah-v5", {"forward_reward_weight": 2.0, "ctrl_cost_weight": 0.3, "max_episode_steps": 30}),
        ("Hopper-v5", {"healthy_z_range": (0.9, 2.0), "reset_noise_scale": 0.05, "max_episode_steps": 25}),
        ("Ant-v5", {"contact_cost_weight": 0.1, "contact_force_range": (-0.5, 0.5), "max_episode_steps": 40}),
    ],
)
def test_parameters_of_a_task_are_gymnasiums(env_id, options):
    ours, theirs = pair(env_id, 2, AutoresetMode.NEXT_STEP, **options)
    assert assert_equal_runs(ours, theirs, 100, AutoresetMode.NEXT_STEP) >= 2


def test_a_single_environment_is_gymnasiums_own():
    ours, theirs = gymnasium.make("rlsparse/Hopper-v5"), gymnasium.make("Hopper-v5")
    assert type(ours.unwrapped) is type(theirs.unwrapped)
    assert "TimeLimit" in str(ours)
    sync = gymnasium.make_vec("rlsparse/Hopper-v5", 2, "sync", vector_kwargs={"autoreset_mode": "SameStep"})
    assert isinstance(sync, gymnasium.vector.SyncVectorEnv)


def test_the_module_may_be_named_in_the_id_instead_of_imported():
    script = 'import gymnasium; print(gymnasium.make_vec("rlsparse.sim:rlsparse/HalfCheetah-v5", num_envs=4))'
    done = subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "MujocoCurriculumEnv(rlsparse/HalfCheetah-v5, num_envs=4)"


def test_arguments_of_the_task_are_those_of_the_batch():
    kwargs = {"include_cfrc_ext_in_observation": False, "max_episode_steps": 9}
    env = gymnasium.make_vec("rlsparse.sim:rlsparse/Ant-v5", 2, **kwargs)
    assert type(env).__name__ == "MujocoCurriculumEnv"
    assert env.single_observation_space.shape == (27,)
    env.reset(seed=0)
    assert [bool(env.step(np.zeros((2, 8)))[3].any()) for _ in range(9)] == 8 * [False] + [True]


def test_registering_loads_nothing_heavy():
    script = 'import rlsparse.sim, sys; assert not {"mujoco", "torch"} & set(sys.modules)'
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"render_mode": "rgb_array"}, UsageError, "render_mode cannot be given to an environment"),
        (
            {"ctrl_cost_wight": 1},
            UsageError,
            "Hopper-v5 has no argument ctrl_cost_wight: did you mean ctrl_cost_weight",
        ),
        ({"max_episode_steps": 0}, UsageError, "max-episode-steps is 0: expected a positive whole number"),
        ({"autoreset_mode": "Sometimes"}, ValueError, "Sometimes"),
    ],
)
def test_what_the_batch_does_not_offer_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        gymnasium.make_vec("rlsparse/Hopper-v5", 2, **options)


def test_only_the_chosen_environments_are_reset():
    env = gymnasium.make_vec("rlsparse/Hopper-v5", 3, autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(gymnasium.error.ResetNeeded, match="first reset"):
        env.reset(options={"reset_mask": np.array([True, False, True])})
    start, _ = env.reset(seed=[4, 5, 6])
    moved = env.step(np.ones((3, 3)))[0]
    obs, _ = env.reset(seed=[4, 5, 9], options={"reset_mask": np.array([True, False, True])})
    np.testing.assert_array_equal(obs[0], start[0])
    np.testing.assert_array_equal(obs[1], moved[1])
    np.testing.assert_array_equal(obs[2], env.reset(seed=[0, 0, 9])[0][2])


@pytest.mark.parametrize("mask", [[True, False], np.array([1, 0]), np.array([True]), np.zeros(2, bool)])
def test_a_bad_reset_mask_is_refused(mask):
    env = gymnasium.make_vec("rlsparse/Hopper-v5", 2)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="reset_mask"):
        env.reset(options={"reset_mask": mask})
