"""Which weights of a Stable-Baselines3 model are there: kept in the model, saved and copied with it.

The weights that may be absent are one flat vector [D] to the masks, and tensors [out, in] to the policy.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from gymnasium.vector.utils import create_empty_array
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.utils import obs_as_tensor
from torch import Tensor, nn
from torch.optim import Optimizer

from rlsparse.errors import UsageError
from rlsparse.learner.layout import Group, Layout, Slot
from rlsparse.run.torch_parameters import reached
from rlsparse.sb3 import moments
from rlsparse.sb3.moments import Young
from rlsparse.sparse import masks as account
from rlsparse.sparse.budgets import NETWORKS, weight_slots
from rlsparse.sparse.config import Sparse
from rlsparse.sparse.masks import Masks


class Hooks:
    """Masks [out, in] of a policy's weights, one each, applied until `remove`.

    A hook of the tensor sees its gradient before anybody clips it, in `torch.autograd.grad` too. Nothing is added to
    the policy's modules, so that the names in its state are what they were.
    """

    def __init__(self, weights: list[nn.Parameter], optimiser: Optimizer) -> None:
        self.weights, self._optimiser = weights, optimiser
        self.masks: list[Tensor] = []
        self.young: Young | None = None
        self.reach: list[float] = []
        """How much longer than the optimiser's each weight's steps are."""
        self.growth: list[Tensor] | None = None
        """Sums of whole gradients, as long as they are wanted."""
        self._handles: list[Any] = [
            weight.register_hook(partial(self._gradient, i)) for i, weight in enumerate(weights)
        ]
        self._handles.append(optimiser.register_step_pre_hook(self._before_step))
        self._handles.append(optimiser.register_step_post_hook(self._after_step))

    def remove(self) -> None:
        """Leave the policy and its optimiser as they were."""
        for handle in self._handles:
            handle.remove()

    def project(self) -> None:
        """Make what is absent zero."""
        with torch.no_grad():
            for weight, mask in zip(self.weights, self.masks, strict=True):
                weight.mul_(mask)

    def _gradient(self, i: int, gradient: Tensor) -> Tensor:
        # a gradient that is differentiated again is on the way to a product with the Fisher matrix
        if self.growth is not None and not torch.is_grad_enabled():
            self.growth[i] += gradient
        return gradient * self.masks[i]

    def _before_step(self, *_: Any) -> None:
        self._before = [
            weight.detach().clone() if reach != 1.0 else None
            for weight, reach in zip(self.weights, self.reach, strict=True)
        ]

    def _after_step(self, optimiser: Optimizer, *_: Any) -> None:
        if self.young is not None:
            self.young.after_step(optimiser)
        with torch.no_grad():
            for weight, before, reach in zip(self.weights, self._before, self.reach, strict=True):
                if before is not None:
                    weight.lerp_(before, 1.0 - reach)
        self.project()


class Sparsity:
    """The masks of one model. It is attached to a policy while that learns, and holds none of it otherwise."""

    normalised = False
    """Whether the model learned under VecNormalize, whose statistics are not saved with it."""

    def __init__(self, config: Sparse, policy: BasePolicy, seed: int, in_line: bool) -> None:
        self._layout = weights_layout(policy)
        self.masks = Masks(config, self._layout, [seed])
        self._in_line = in_line
        self._ages = np.full(self._layout.size, moments.GROWN_UP)
        self._hooks: Hooks | None = None
        parameters = tensors(policy, self._layout)
        write(self.masks.initial(read(parameters)[None])[0], self._layout, parameters)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_hooks": None}

    def __repr__(self) -> str:
        """How many weights of each layer are there."""
        active = self.masks.active[0]
        layers = [
            f"{slot.name} {active[slot.start : slot.stop].sum():,} of {slot.stop - slot.start:,}"
            for slot in self._layout.slots
        ]
        return f"{active.mean():.1%} of {active.size:,} weights: " + ", ".join(layers)

    @contextmanager
    def attached(self, policy: BasePolicy, optimiser: Optimizer) -> Iterator[None]:
        """Keep absent weights of the policy zero within; once is enough."""
        if self._hooks is not None:
            yield
            return
        self._hooks = Hooks(tensors(policy, self._layout), optimiser)
        self._refresh(optimiser)
        self._hooks.project()
        try:
            yield
        finally:
            self._hooks.remove()
            self._hooks = None

    def _attached_hooks(self) -> Hooks:
        assert self._hooks is not None, "no policy is attached"
        return self._hooks

    def _refresh(self, optimiser: Optimizer) -> None:
        """Give the hooks the masks as they are, and the weights that are younger than the optimiser."""
        hooks = self._attached_hooks()
        active = split(self.masks.active[0], self._layout, hooks.weights)
        hooks.masks = [mask.to(weight.dtype) for mask, weight in zip(active, hooks.weights, strict=True)]
        steps = np.broadcast_to(self.masks.learning_rate(np.ones((1, 1), np.float32)), self.masks.active.shape)
        hooks.reach = [float(steps[0, slot.start]) for slot in self._layout.slots]
        if moments.corrects_bias(optimiser):
            ages = split(self._ages, self._layout, hooks.weights)
            hooks.young = moments.young(optimiser, hooks.weights, ages)

    def begin(self, progress: float, optimiser: Optimizer) -> None:
        """Begin an update, with this share of the budget spent before its rollout."""
        hooks = self._attached_hooks()
        if hooks.young is not None:  # some may have grown up, or the optimiser may have been told to forget everything
            self._refresh(optimiser)
        self.masks.begin(np.array([progress]))
        hooks.growth = None if self.masks.growth is None else [torch.zeros_like(weight) for weight in hooks.weights]

    def end(self, optimiser: Optimizer, movement: Callable[[], Callable[[], Tensor]]) -> None:
        """End an update, and exchange weights if it is time to.

        `movement` notes the policy as it is, and returns what tells how far it has moved from there: a KL divergence.
        """
        hooks, masks = self._attached_hooks(), self.masks
        if moments.corrects_bias(optimiser):
            self._ages = read(moments.aged(optimiser, hooks.weights, hooks.young))
        if masks.due.any():
            params = read(hooks.weights)
            if hooks.growth is not None:
                masks.growth = read(hooks.growth)[None]
            kl = movement() if masks.config.max_kl is not None else None

            def moved(candidate: np.ndarray) -> np.ndarray:
                assert kl is not None
                write(candidate[0], self._layout, hooks.weights)
                distance = float(kl())
                write(params, self._layout, hooks.weights)
                return np.array([distance])

            self._settle(masks.evolve(params[None], params[None], moved)[0], optimiser)
        hooks.growth = None

    def _settle(self, changed: np.ndarray, optimiser: Optimizer) -> None:
        """After weights came and went: those are zero, and the optimiser knows nothing of them."""
        hooks, active = self._attached_hooks(), self.masks.active[0]
        self._ages = np.where(changed, np.where(active, 0, moments.GROWN_UP), self._ages)
        self._refresh(optimiser)
        hooks.project()
        parts = (split(marked, self._layout, hooks.weights) for marked in (changed, active))
        for weight, came_or_went, there in zip(hooks.weights, *parts, strict=True):
            moments.restart(optimiser, weight, came_or_went, there)

    def metrics(self) -> dict[str, float]:
        """Describe the sparse networks in numbers; dead units only where each layer follows on the one before."""
        masks, layout = self.masks, self._layout
        layers = {
            group: [layout.view(masks.active, slot) for slot in weight_slots(layout, group)] for group in NETWORKS
        }
        numbers = {"density": masks.active.mean(), "regrown": masks.regrown[0], "explored": masks.explored.mean()}
        for group in NETWORKS:
            numbers[f"{group}_weights"] = sum(layer.sum() for layer in layers[group])
        if self._in_line:
            numbers["dead_units"] = sum(account.dead_units(layers[group])[0] for group in NETWORKS)
        return {name: number.item() for name, number in numbers.items()}

    @contextmanager
    def not_growing(self) -> Iterator[None]:
        """Within, gradients are not those of the loss, so that growth does not depend on them."""
        hooks = self._attached_hooks()
        growth, hooks.growth = hooks.growth, None
        try:
            yield
        finally:
            hooks.growth = growth

    def project_flat(self, parameters: list[nn.Parameter], vector: Tensor) -> None:
        """Make the numbers of a flat vector zero that belong to absent weights of these parameters, in place."""
        hooks = self._attached_hooks()
        vector *= flat_mask(hooks.weights, hooks.masks, parameters)

    def present(self, policy: BasePolicy, parameters: list[nn.Parameter]) -> np.ndarray:
        """Which numbers of these parameters, one after the other, are there: [P] bool."""
        own = tensors(policy, self._layout)
        return flat_mask(own, split(self.masks.active[0], self._layout, own), parameters).bool().cpu().numpy()


def flat_mask(weights: Sequence[Tensor], masks: Sequence[Tensor], parameters: Sequence[Tensor]) -> Tensor:
    """Return the masks of those parameters that are among the weights, and ones for the others, one after another."""
    known = {id(weight): mask for weight, mask in zip(weights, masks, strict=True)}
    return torch.cat([known.get(id(p), torch.ones_like(p)).reshape(-1) for p in parameters])


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


def split(flat: np.ndarray, layout: Layout, weights: Sequence[Tensor]) -> list[Tensor]:
    """Return a flat vector [D] as tensors [out, in], on the device of the weights; they may share its memory."""
    whole = torch.as_tensor(flat, device=weights[0].device)
    return [layout.view(whole, slot).T.contiguous() for slot in layout.slots]


def write(flat: np.ndarray, layout: Layout, weights: Sequence[Tensor]) -> None:
    """Put a flat vector [D] into the parameters, in place."""
    with torch.no_grad():
        for weight, part in zip(weights, split(flat, layout, weights), strict=True):
            weight.copy_(part)
