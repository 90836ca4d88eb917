"""Stable-Baselines3's algorithms on the weights and the samples of ours."""

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box
from stable_baselines3.common.logger import Logger


class Still(gymnasium.Env):
    """Only its spaces are of interest."""

    observation_space, action_space = Box(-1, 1, (5,)), Box(-1, 1, (3,))

    def reset(self, *, seed=None, options=None):
        return np.zeros(5, np.float32), {}


def parameters(model, part="data"):
    """The parameters of a peer's policy, or their gradients (part "grad"), named and laid out as ours."""
    policy = model.policy
    actor = [policy.mlp_extractor.policy_net[0], policy.mlp_extractor.policy_net[2], policy.action_net]
    critic = [policy.mlp_extractor.value_net[0], policy.mlp_extractor.value_net[2], policy.value_net]
    named = {"log_std": getattr(policy.log_std, part)}
    for group, layers in (("actor", actor), ("critic", critic)):
        for i, layer in enumerate(layers):
            named[f"{group}.{i}.weight"] = getattr(layer.weight, part).T
            named[f"{group}.{i}.bias"] = getattr(layer.bias, part)
    return named


def take_over(model, learner, batch):
    """Give a peer the first member's weights, and its samples in place of a rollout."""
    model.set_logger(Logger(None, []))
    theirs = parameters(model)
    for slot in learner.layout.slots:
        theirs[slot.name].copy_(torch.tensor(learner.layout.view(learner.params[0], slot)))
    buffer = model.rollout_buffer
    buffer.observations, buffer.actions = batch.obs[0][:, None], batch.action[0][:, None]
    buffer.log_probs, buffer.advantages, buffer.returns = (
        x[0][:, None] for x in (batch.log_prob, batch.advantage, batch.value_target)
    )
    buffer.values, buffer.full = np.zeros_like(buffer.returns), True
