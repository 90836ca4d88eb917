"""The weights of a Stable-Baselines3 policy that may be absent, as one flat vector [D]."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.vector.utils import create_empty_array
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.utils import obs_as_tensor
from torch import Tensor, nn

from rlsparse.errors import UsageError
from rlsparse.learner.layout import Group, Layout, Slot
from rlsparse.sb3.reached import reached


def weights_layout(policy: BasePolicy) -> Layout:
    """Lay out the weights of the policy's linear layers, inputs first; those of the actor, then the critic's.

    The critic's are those that its value depends on and the action does not. What both depend on is counted once,
    with the actor: it is needed to act. Convolutions, biases and action noise have no place. Raises UsageError if
    actor or critic has no linear layer.
    """
    names = {id(parameter): name for name, parameter in policy.named_parameters()}
    layers = (module.weight for module in policy.modules() if isinstance(module, nn.Linear))
    linear = {id(weight): weight for weight in layers if id(weight) in names and weight.requires_grad}
    acting, valuing = _reached_weights(policy, list(linear.values()))
    groups: dict[Group, set[int]] = {"actor": acting, "critic": valuing - acting}
    slots: list[Slot] = []
    for group, members in groups.items():
        if not members:
            raise UsageError(
                f"the {group} of this {type(policy).__name__} has no linear layer of its own to make sparse"
            )
        for weight in (weight for key, weight in linear.items() if key in members):
            start = slots[-1].stop if slots else 0
            shape = (weight.shape[1], weight.shape[0])
            slots.append(Slot(names[id(weight)], shape, group, start, start + math.prod(shape)))
    return Layout(slots[0].shape[0], slots[-1].shape[1], tuple(slots))


def _reached_weights(policy: BasePolicy, weights: Sequence[Tensor]) -> tuple[set[int], set[int]]:
    """The ids of the weights that the probability of an action depends on, and of those that the value does."""
    zeros: Any = create_empty_array(policy.observation_space, 1)
    obs = obs_as_tensor(zeros, policy.device)
    action = torch.as_tensor(create_empty_array(policy.action_space, 1), device=policy.device)
    training = policy.training
    policy.set_training_mode(False)  # else batch normalisation would take these zeros for data
    with torch.enable_grad():
        value, log_prob, _ = policy.evaluate_actions(obs, action)  # type: ignore[operator]
        found = reached(log_prob, weights), reached(value, weights)
    policy.set_training_mode(training)
    return found


def tensors(policy: BasePolicy, layout: Layout) -> list[nn.Parameter]:
    """Return the policy's parameters [out, in], one for each slot."""
    named = dict(policy.named_parameters())
    return [named[slot.name] for slot in layout.slots]


def read(parts: Sequence[Tensor]) -> np.ndarray:
    """Return tensors [out, in], one for each slot, as a flat vector [D]."""
    return torch.cat([part.detach().t().reshape(-1) for part in parts]).cpu().numpy()


def split(flat: np.ndarray, layout: Layout, like: Sequence[Tensor]) -> list[Tensor]:
    """Return a flat vector [D] as tensors [out, in], of the device of the parameters; booleans stay booleans."""
    views = (layout.view(flat, slot).T for slot in layout.slots)
    return [
        torch.as_tensor(np.ascontiguousarray(view), device=weight.device)
        for view, weight in zip(views, like, strict=True)
    ]


def write(flat: np.ndarray, layout: Layout, weights: Sequence[Tensor]) -> None:
    """Put a flat vector [D] into the parameters, in place."""
    with torch.no_grad():
        for weight, part in zip(weights, split(flat, layout, weights), strict=True):
            weight.copy_(part)
