"""Small models of Stable-Baselines3 with sparse networks, what is absent of them, and all that they go on from."""

import json
from pathlib import Path

import numpy as np
import torch
from sb3_contrib import TRPO
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

from rlsparse.sb3 import masks, sparsify
from rlsparse.sparse.rules import RigL

VECTORS = json.loads((Path(__file__).parent.parent / "data" / "sparse.json").read_text())

POINT = "fake_envs:Point-v0"
ROLLOUT = 32
OPTIONS = {
    PPO: {"n_steps": ROLLOUT // 2, "batch_size": 16, "n_epochs": 3},
    TRPO: {"n_steps": ROLLOUT // 2, "batch_size": 16, "cg_max_steps": 5, "n_critic_updates": 3},
    A2C: {"n_steps": ROLLOUT // 2},
}
ALGORITHMS = [PPO, A2C, TRPO]
OFTEN = RigL(every=2)


def dense(algorithm=PPO, env=None, policy="MlpPolicy", **options):
    small = {} if policy != "MlpPolicy" or "policy_kwargs" in options else {"policy_kwargs": {"net_arch": [16, 16]}}
    env = env or make_vec_env(POINT, 2, seed=3)
    return algorithm(policy, env, seed=3, device="cpu", **OPTIONS.get(algorithm, {}) | small | options)


def sparse(algorithm=PPO, sparsity=0.8, rule=OFTEN, max_kl=None, rate_power=0.5, **options):
    return sparsify(dense(algorithm, **options), sparsity, rule, max_kl=max_kl, rate_power=rate_power)


def layers(model):
    """Weight and mask [out, in] of every layer that may be sparse."""
    layout = model.sparsity.masks.layout
    own = masks.tensors(model.policy, layout)
    return list(zip(own, masks.split(model.sparsity.masks.active[0], layout, own), strict=True))


def absent(model):
    """The weights that are not there, all of them."""
    return torch.cat([weight.detach()[~mask] for weight, mask in layers(model)])


def everything(model):
    """All that training goes on from."""
    return {
        "policy": {name: x.numpy() for name, x in model.policy.state_dict().items()},
        "moments": [x.numpy() for s in model.policy.optimizer.state.values() for x in s.values()],
        "torch": torch.get_rng_state().numpy(),
        "numpy": np.random.get_state()[1:3],  # noqa: NPY002
        "last": [model._last_obs, model._last_episode_starts],
        "steps": model.num_timesteps,
    }


def restarted(model, seed=7):
    """The model with its random streams and its environments as anew."""
    model.set_random_seed(seed)
    model._last_obs = model.env.reset()
    model._last_episode_starts = np.ones(model.n_envs, bool)
    return model


class AfterEveryStep(BaseCallback):
    """Calls `look` after every step of the optimiser."""

    def __init__(self, look):
        super().__init__()
        self.look, self.steps = look, 0

    def _on_training_start(self):
        self.hook = self.model.policy.optimizer.register_step_post_hook(self._step)

    def _step(self, *_):
        self.steps += 1
        self.look(self.model)

    def _on_step(self):
        return True

    def _on_training_end(self):
        self.hook.remove()


class AtEveryRollout(BaseCallback):
    """Calls `look` when a rollout begins, and when it has ended."""

    def __init__(self, start=None, end=None):
        super().__init__()
        self.start, self.end = start, end

    def _on_rollout_start(self):
        if self.start:
            self.start(self.model)

    def _on_rollout_end(self):
        if self.end:
            self.end(self.model)

    def _on_step(self):
        return True
