"""Which models cannot be probed, each said in one sentence."""

import logging
from functools import cache

import stable_baselines3
from gymnasium.spaces import Box
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import nn

from rlsparse.errors import UsageError

log = logging.getLogger(__name__)

TESTED = ("2.8", "2.9")
"""Versions of Stable-Baselines3 that the tests ran with."""


def refuse(model: BaseAlgorithm) -> None:
    """Raise UsageError unless the model is one whose policy can be replaced between rollouts."""
    warn_of_version(stable_baselines3.__version__)
    name = type(model).__name__
    if not isinstance(model, OnPolicyAlgorithm):
        raise UsageError(f"{name} is no on-policy algorithm: only PPO, A2C and TRPO can be probed")
    if model.get_env() is None:
        raise UsageError(f"this {name} has no environment: give it one by load(..., env=env) or set_env")
    if not isinstance(model.policy, ActorCriticPolicy):
        raise UsageError(
            f"{type(model.policy).__name__} is no ActorCriticPolicy of Stable-Baselines3 (maskable "
            "policies are not), so it cannot be probed"
        )
    if any(isinstance(module, nn.RNNBase) for module in model.policy.modules()):
        raise UsageError(f"{type(model.policy).__name__} is recurrent, so it cannot be probed")
    if not isinstance(model.action_space, Box):
        raise UsageError(f"{model.action_space} is the action space: only real actions (Box) can be probed")


@cache
def warn_of_version(version: str) -> None:
    """Warn, once, of a version that was not tested."""
    if ".".join(version.split(".")[:2]) not in TESTED:
        log.warning("Stable-Baselines3 %s was not tested with ExploRLer, only %s", version, " and ".join(TESTED))
