"""The GPU simulator on Warp's CPU device, and actions for it."""

import numpy as np
import pytest
import torch
from tape import tape

pytest.importorskip("mujoco_warp", reason="needs pip install 'rlsparse[gpu]'")
from rlsparse.sim import warp
from rlsparse.sim.warp import WarpVectorEnv

# Warp compiles its kernels once: tests that use it run in one worker.
in_one_worker = pytest.mark.xdist_group("warp")


def make(env_id, num_envs=3, **options):
    return WarpVectorEnv(env_id, num_envs, device="cpu:0", **options)


def make_recorded(env_id, num_envs=3, **options):
    """The same whose steps are recorded, on a tape."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warp, "recorder", lambda device: tape)
        return make(env_id, num_envs, **options)


def random_actions(env, steps, seed=0):
    rng = np.random.default_rng(seed)
    low, high = env.single_action_space.low, env.single_action_space.high
    return torch.from_numpy(rng.uniform(low, high, (steps, env.num_envs, len(low))).astype(np.float32))


def run(env, steps, seed=0):
    return [env.step(actions) for actions in random_actions(env, steps, seed)]
