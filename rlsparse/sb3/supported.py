"""Which models cannot be probed or made sparse, each said in one sentence."""

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

USED = ("n_envs", "n_steps", "num_timesteps", "policy", "rollout_buffer", "use_sde", "_last_obs", "_total_timesteps")
"""What rlsparse reads and writes of a model, beside its methods."""


def refuse(model: BaseAlgorithm) -> None:
    """Raise UsageError unless the model is one whose policy can be replaced between rollouts."""
    _refuse_algorithm(model, "probed")
    name = type(model).__name__
    if model.get_env() is None:
        raise UsageError(f"this {name} has no environment: give it one by load(..., env=env) or set_env")
    if not isinstance(model.policy, ActorCriticPolicy):
        raise UsageError(
            f"{type(model.policy).__name__} is no ActorCriticPolicy of Stable-Baselines3 (maskable "
            "policies are not), so it cannot be probed"
        )
    _refuse_memory(model, "probed")
    if not isinstance(model.action_space, Box):
        raise UsageError(f"{model.action_space} is the action space: only real actions (Box) can be probed")


def refuse_masks(model: BaseAlgorithm) -> None:
    """Raise UsageError unless the model is one whose networks can be made sparse."""
    _refuse_algorithm(model, "made sparse")
    _refuse_memory(model, "made sparse")


def _refuse_algorithm(model: BaseAlgorithm, what: str) -> None:
    if not isinstance(model, BaseAlgorithm):
        raise UsageError(f"{model!r} is no model of Stable-Baselines3, so it cannot be {what}")
    warn_of_version(stable_baselines3.__version__)
    if not isinstance(model, OnPolicyAlgorithm):
        raise UsageError(f"{type(model).__name__} is no on-policy algorithm: only PPO, A2C and TRPO can be {what}")
    missing = next((name for name in USED if not hasattr(model, name)), None)
    if missing:
        raise UsageError(
            f"Stable-Baselines3 {stable_baselines3.__version__} gives a {type(model).__name__} no {missing}, which is "
            f"needed: install version {' or '.join(TESTED)}"
        )


def _refuse_memory(model: BaseAlgorithm, what: str) -> None:
    if any(isinstance(module, nn.RNNBase) for module in model.policy.modules()):
        raise UsageError(f"{type(model.policy).__name__} is recurrent, so it cannot be {what}")


@cache
def warn_of_version(version: str) -> None:
    """Warn, once, of a version that was not tested."""
    if ".".join(version.split(".")[:2]) not in TESTED:
        log.warning("Stable-Baselines3 %s was not tested with rlsparse, only %s", version, " and ".join(TESTED))
