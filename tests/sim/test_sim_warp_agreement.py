"""The GPU simulator against MuJoCo itself: the same numbers within a step, the same returns over episodes."""

import mujoco
import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from warp_envs import in_one_worker, make, random_actions

from rlsparse import sim
from rlsparse.sim import cpu as cpu_module
from rlsparse.sim import warp as warp_module
from rlsparse.sim.environment import Environment
from rlsparse.sim.tasks import TASKS
from rlsparse.sim.warp import WarpVectorEnv

pytestmark = in_one_worker

# Differences within one step from equal states: the observation's in nine steps of ten, and any of the reward. Where a
# contact begins in one simulator and not yet in the other, a force can differ by more: docs/notes/gpu.md.
AGREEMENT = {
    "Ant-v5": (1e-4, 1e-5),
    "HalfCheetah-v5": (5e-4, 5e-5),
    "Hopper-v5": (1e-5, 1e-5),
    "Humanoid-v5": (2e-2, 2e-3),
    "HumanoidStandup-v5": (2e-2, 1e-4),
    "InvertedDoublePendulum-v5": (1e-5, 1e-5),
    "InvertedPendulum-v5": (2e-6, 0),
    "Pusher-v5": (1e-5, 1e-6),
    "Reacher-v5": (5e-6, 1e-6),
    "Swimmer-v5": (2e-5, 2e-6),
    "Walker2d-v5": (2e-4, 5e-5),
}


@pytest.fixture
def comparable(monkeypatch):
    """Take from both simulators' models what MuJoCo Warp does otherwise on purpose.

    That is the PGS solver of the humanoids, and for Ant friction: under a steep leg, Warp turns the friction pyramid
    another way around the ground's normal.
    """
    load_model = cpu_module.load_model

    def load(task):
        model = load_model(task)
        model.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
        if "ant" in task.xml_file:
            model.geom_condim[:] = 1
        return model

    monkeypatch.setattr(cpu_module, "load_model", load)
    monkeypatch.setattr(warp_module, "load_model", load)


def copy_state(source, target):
    """Put the CPU simulator `target` into the state of the GPU simulator `source`."""
    fields, state = target._fields, source.get_state()
    target._batch.state[:] = 0
    fields.qpos[:], fields.qvel[:] = state["qpos"], state["qvel"]
    target._batch.forward(None) if target.task.derived_fields else None
    for name in target.task.derived_fields:
        getattr(fields, name)[:] = state[name]
    target._progress[:] = target.task.progress(fields)
    target._mark_over(np.zeros(target.num_envs, bool))


@pytest.mark.parametrize("env_id", AGREEMENT)
def test_a_step_agrees_with_mujoco(env_id, comparable):
    warp, cpu = make(env_id), sim.make(env_id, 3, autoreset=False)
    warp.reset(seed=3)
    cpu.reset(seed=3)
    for_obs, for_reward = AGREEMENT[env_id]
    differences = []
    for actions in random_actions(warp, 15):
        copy_state(warp, cpu)
        _, reward, terminated, _, info = warp.step(actions)
        cpu_obs, cpu_reward, cpu_terminated, _, _ = cpu.step(actions.numpy())
        differences.extend(np.abs(info["final_obs"].numpy() - cpu_obs).max(1))
        np.testing.assert_allclose(reward, cpu_reward, rtol=1e-6, atol=for_reward)
        np.testing.assert_array_equal(terminated, cpu_terminated)
    assert np.quantile(differences, 0.9) < for_obs
    assert not warp.overflowed.any()
    assert not warp.unstable.any()


@pytest.mark.parametrize("env_id", TASKS)
def test_the_first_observation_is_mujocos(env_id):
    warp, cpu = make(env_id), sim.make(env_id, 3, autoreset=False)
    obs, info = warp.reset(seed=3)
    cpu.reset(seed=3)
    cpu._fields.qpos[:], cpu._fields.qvel[:] = warp.get_state()["qpos"], warp.get_state()["qvel"]
    if cpu.task.derived_fields:
        cpu._batch.forward(None)
    np.testing.assert_allclose(obs, cpu.task.observe(cpu._fields), rtol=1e-5, atol=1e-5)
    assert obs.dtype == torch.float32
    assert obs.shape == warp.observation_space.shape == cpu.observation_space.shape
    assert info == {}


def test_arguments_of_the_task_are_those_of_mujoco():
    kwargs = {"exclude_current_positions_from_observation": False, "healthy_z_range": [1.24, 1.3], "frame_skip": 2}
    kwargs |= {"terminate_when_unhealthy": False, "max_episode_steps": 3}
    environment = Environment("Hopper-v5", kwargs)
    warp = sim.make(environment, 2, simulator="warp", device="cpu:0", autoreset=False)
    cpu = sim.make(environment, 2, autoreset=False)
    warp.reset(seed=3)
    cpu.reset(seed=3)
    copy_state(warp, cpu)
    for actions in random_actions(warp, 3):
        ours, theirs = warp.step(actions), cpu.step(actions.numpy())
        np.testing.assert_allclose(ours[0], theirs[0], atol=1e-5)
        np.testing.assert_allclose(ours[1], theirs[1], atol=1e-4)
        np.testing.assert_array_equal(ours[2], theirs[2])
        np.testing.assert_array_equal(ours[3], theirs[3])
    assert ours[0].shape == (2, 12) and not ours[2].any() and ours[3].all()
    assert warp.spec.max_episode_steps == 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("env_id", TASKS)
def test_random_policies_return_the_same_on_a_gpu(env_id):
    """Returns of 1,000 steps of random actions, over all episodes ended in them, in both simulators."""

    def returns(env, to_actions):
        rng, low, high = np.random.default_rng(0), env.single_action_space.low, env.single_action_space.high
        total, ended = np.zeros(env.num_envs), []
        for _ in range(1000):
            actions = rng.uniform(low, high, (env.num_envs, len(low))).astype(np.float32)
            _, reward, terminated, truncated, _ = (np.asarray(x) for x in to_actions(actions))
            total += reward
            over = terminated | truncated
            ended += list(total[over])
            total[over] = 0
        return np.array(ended)

    cpu, warp = sim.make(env_id, 64), WarpVectorEnv(env_id, 256, device="cuda")
    cpu.reset(seed=0)
    warp.reset(seed=1000)

    def on_gpu(actions):
        result = warp.step(torch.as_tensor(actions, device=warp.device))
        return (*(x.cpu() for x in result[:4]), 0)

    assert ks_2samp(returns(cpu, lambda actions: (*cpu.step(actions)[:4], 0)), returns(warp, on_gpu)).pvalue > 1e-3
    assert not warp.overflowed.any()
