"""The GPU simulator, on Warp's CPU device: against MuJoCo itself, and its rules for episodes, seeds and resets."""

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

from rlsparse import sim

pytest.importorskip("mujoco_warp", reason="needs pip install 'rlsparse[gpu]'")
from rlsparse.sim.warp import WarpVectorEnv

# Warp compiles its kernels, once: in one worker.
pytestmark = pytest.mark.xdist_group("warp")


def make(env_id, num_envs=3, **options):
    return WarpVectorEnv(env_id, num_envs, device="cpu:0", **options)


def random_actions(env, steps, seed=0):
    rng = np.random.default_rng(seed)
    low, high = env.single_action_space.low, env.single_action_space.high
    return torch.from_numpy(rng.uniform(low, high, (steps, env.num_envs, len(low))).astype(np.float32))


def run(env, steps, seed=0):
    return [env.step(actions) for actions in random_actions(env, steps, seed)]


def copy_state(source, target):
    """Put the CPU simulator `target` into the state of the GPU simulator `source`."""
    fields = target._fields
    fields.qpos[:], fields.qvel[:] = source.qpos.numpy(), source.get_state()["qvel"]
    if target.task.derived_fields:
        target._batch.forward(None)
    target._progress[:] = target.task.progress(fields)


# Largest difference within one step from equal states: (observation, reward).
AGREEMENT = {
    "HalfCheetah-v5": (2e-3, 2e-4),
    "Hopper-v5": (2e-3, 2e-5),
    "Humanoid-v5": (5e-2, 1e-3),
    "HumanoidStandup-v5": (5e-2, 1e-3),
    "InvertedDoublePendulum-v5": (2e-5, 1e-5),
    "InvertedPendulum-v5": (1e-5, 0),
    "Pusher-v5": (1e-4, 1e-6),
    "Reacher-v5": (1e-4, 1e-6),
    "Swimmer-v5": (1e-5, 1e-6),
    "Walker2d-v5": (2e-3, 2e-5),
}


@pytest.mark.parametrize("env_id", AGREEMENT)
def test_a_step_agrees_with_mujoco(env_id):
    warp, cpu = make(env_id), sim.make(env_id, 3, autoreset=False)
    warp.reset(seed=3)
    cpu.reset(seed=3)
    for_obs, for_reward = AGREEMENT[env_id]
    for actions in random_actions(warp, 25):
        copy_state(warp, cpu)
        _, reward, terminated, truncated, info = warp.step(actions)
        cpu_obs, cpu_reward, cpu_terminated, cpu_truncated, _ = cpu.step(actions.numpy())
        np.testing.assert_allclose(info["final_obs"], cpu_obs, rtol=1e-5, atol=for_obs)
        np.testing.assert_allclose(reward, cpu_reward, rtol=1e-6, atol=for_reward)
        np.testing.assert_array_equal(terminated, cpu_terminated)
        cpu.reset(seed=3)
    assert not warp.overflowed.any()
    assert not warp.unstable.any()


@pytest.mark.parametrize("env_id", ["HalfCheetah-v5", "Hopper-v5", "Reacher-v5", "Pusher-v5"])
def test_starts_are_distributed_as_on_the_cpu(env_id):
    count = 400
    env = make(env_id, count)
    env.reset(seed=1)
    state = env.get_state()
    task, rng = env.task, np.random.default_rng(0)
    rest = np.zeros(state["qvel"].shape[1])
    starts = [task.reset_noise(rng, env._start_pose[0].numpy(), rest) for _ in range(count)]
    for ours, theirs in zip((state["qpos"], state["qvel"]), zip(*starts, strict=True), strict=True):
        for column, other in zip(ours.T, np.array(theirs).T, strict=True):
            assert ks_2samp(column, other.astype(np.float32)).pvalue > 1e-3
