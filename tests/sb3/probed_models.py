"""Small models of Stable-Baselines3 that probe, what they may be made of, and all that they go on from."""

from dataclasses import replace

import fake_envs
import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Dict
from sb3_contrib import TRPO
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.probe import Episodes
from rlsparse.explore.propose import Gaussian

POINT = "fake_envs:Point-v0"
"""Episodes of five steps, at most."""

ROLLOUT = 32

OPTIONS = {
    PPO: {"n_steps": ROLLOUT // 2, "batch_size": 16, "n_epochs": 3},
    TRPO: {"n_steps": ROLLOUT // 2, "batch_size": 16},
    A2C: {"n_steps": ROLLOUT // 2},
}

PROBING = ExploRLer(
    proposal=Gaussian(candidates=3),
    probe=Episodes(2, accept="always"),
    num_anchors=2,
    budget_fraction=0.5,
)
"""Probes after every update, as soon as there are two anchors."""

NEVER = replace(PROBING, probe=Episodes(2, accept="never"))


def new_model(algorithm=PPO, normalise=False, policy="MlpPolicy", env=None, **options):
    env = env or make_vec_env(POINT, 2, seed=3)
    if normalise:
        env = VecNormalize(env)
    return algorithm(policy, env, seed=3, device="cpu", **OPTIONS[algorithm] | options)


class Stop(BaseCallback):
    """End learning after that many updates, however many steps were counted."""

    def __init__(self, updates):
        super().__init__()
        self.left = updates + 1

    def _on_rollout_start(self):
        self.left -= 1

    def _on_step(self):
        return self.left > 0


def reset(model):
    """As learning finds the model at its start."""
    model._last_obs = model.env.reset()
    return model


def learned(model, callback, updates=4):
    return model.learn(10**6, callback=[callback, Stop(updates)] if callback else [Stop(updates)])


def everything(model):
    """All that training goes on from."""
    normaliser = model.get_vec_normalize_env()
    statistics = [normaliser.obs_rms.mean, normaliser.obs_rms.var, normaliser.ret_rms.var] if normaliser else []
    return {
        "policy": {name: x.numpy() for name, x in model.policy.state_dict().items()},
        "moments": [x.numpy() for s in model.policy.optimizer.state.values() for x in s.values()],
        "torch": torch.get_rng_state().numpy(),
        "numpy": np.random.get_state()[1:3],  # noqa: NPY002
        "last": [model._last_obs, model._last_episode_starts],
        "statistics": statistics,
        "episodes": [[episode["r"], episode["l"]] for episode in model.ep_info_buffer],
    }


def actor_vector(model):
    modules = (model.policy.mlp_extractor.policy_net, model.policy.action_net)
    return np.concatenate([p.detach().numpy().ravel() for module in modules for p in module.parameters()])


def critic_vector(model):
    modules = (model.policy.mlp_extractor.value_net, model.policy.value_net)
    return np.concatenate([p.detach().numpy().ravel() for module in modules for p in module.parameters()])


class Watch(BaseCallback):
    """Keeps the actor and the critic as they are at each rollout's start."""

    def _init_callback(self):
        self.actors, self.critics = [], []

    def _on_step(self):
        return True

    def _on_rollout_start(self):
        self.actors.append(actor_vector(self.model))
        self.critics.append(critic_vector(self.model))


class Squares(BaseFeaturesExtractor):
    """A network with parameters of its own, of observations in parts."""

    def __init__(self, space, width=5):
        super().__init__(space, width)
        self.size = sum(part.shape[0] for part in space.values()) if isinstance(space, Dict) else space.shape[0]
        self.linear = nn.Linear(self.size, width)
        self.register_buffer("scale", torch.full((width,), 0.5))

    def forward(self, obs):
        obs = torch.cat(list(obs.values()), 1) if isinstance(obs, dict) else obs
        return self.scale * self.linear(obs) ** 2


class LooksAtData(Squares):
    """Cannot be vectorised over candidates."""

    def forward(self, obs):
        return super().forward(obs) if float(obs.sum()) < 1e9 else obs


class Parts(gymnasium.Env):
    observation_space = Dict({"a": Box(-1, 1, (2,)), "b": Box(-1, 1, (1,))})
    action_space = Box(-3, 3, (2,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 4
        return self.observe(), {}

    def observe(self):
        x = self.np_random.uniform(-1, 1, 3).astype(np.float32)
        return {"a": x[:2], "b": x[2:]}

    def step(self, action):
        self.left -= 1
        return self.observe(), float(-(action**2).sum()), self.left == 0, False, {}


class Unregistered(fake_envs.Point):
    pass
