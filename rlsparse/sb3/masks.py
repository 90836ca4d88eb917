"""Which weights of a Stable-Baselines3 model are there: kept in the model, saved and copied with it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor, nn
from torch.optim import Optimizer

from rlsparse.sb3 import moments, weights
from rlsparse.sb3.hooks import Hooks
from rlsparse.sparse import account
from rlsparse.sparse.budgets import NETWORKS, weight_slots
from rlsparse.sparse.config import Sparse
from rlsparse.sparse.masks import Masks


class Sparsity:
    """The masks of one model. It is attached to a policy while that learns, and holds none of it otherwise."""

    def __init__(self, config: Sparse, policy: BasePolicy, seed: int, in_line: bool) -> None:
        self._layout = weights.weights_layout(policy)
        self.masks = Masks(config, self._layout, [seed])
        self._in_line = in_line
        self._ages = np.full(self._layout.size, moments.GROWN_UP)
        self._hooks: Hooks | None = None
        self._metrics = self._account()
        parameters = weights.tensors(policy, self._layout)
        weights.write(self.masks.initial(weights.read(parameters)[None])[0], self._layout, parameters)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_hooks": None}

    @property
    def config(self) -> Sparse:
        """What was asked for."""
        return self.masks.config

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
        self._hooks = Hooks(weights.tensors(policy, self._layout), optimiser)
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
        active = weights.split(self.masks.active[0], self._layout, hooks.weights)
        hooks.masks = [mask.to(weight.dtype) for mask, weight in zip(active, hooks.weights, strict=True)]
        steps = np.broadcast_to(self.masks.learning_rate(np.ones((1, 1), np.float32)), self.masks.active.shape)
        hooks.reach = [float(steps[0, slot.start]) for slot in self._layout.slots]
        if moments.corrects_bias(optimiser):
            ages = weights.split(self._ages, self._layout, hooks.weights)
            hooks.young = moments.young(optimiser, hooks.weights, ages)

    def _note_ages(self, optimiser: Optimizer) -> None:
        """Remember how old young weights have become."""
        hooks = self._attached_hooks()
        self._ages = weights.read(moments.aged(optimiser, hooks.weights, hooks.young))

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
            self._note_ages(optimiser)
        if masks.due.any():
            params = weights.read(hooks.weights)
            if hooks.growth is not None:
                masks.growth = weights.read(hooks.growth)[None]
            kl = movement() if masks.config.max_kl is not None else None

            def moved(candidate: np.ndarray) -> np.ndarray:
                assert kl is not None
                weights.write(candidate[0], self._layout, hooks.weights)
                distance = float(kl())
                weights.write(params, self._layout, hooks.weights)
                return np.array([distance])

            self._settle(masks.evolve(params[None], params[None], moved)[0], optimiser)
        hooks.growth = None

    def _settle(self, changed: np.ndarray, optimiser: Optimizer) -> None:
        """After weights came and went: those are zero, and the optimiser knows nothing of them."""
        hooks, active = self._attached_hooks(), self.masks.active[0]
        self._ages = np.where(changed, np.where(active, 0, moments.GROWN_UP), self._ages)
        self._refresh(optimiser)
        hooks.project()
        parts = (weights.split(marked, self._layout, hooks.weights) for marked in (changed, active))
        for weight, came_or_went, there in zip(hooks.weights, *parts, strict=True):
            moments.restart(optimiser, weight, came_or_went, there)
        self._metrics = self._account()

    def _account(self) -> dict[str, float]:
        masks = self.masks
        every = np.ones(self._layout.size, bool)
        numbers = {
            "density": account.share_of_weights(masks.active, every)[0],
            "regrown": masks.regrown[0],
            "explored": account.share_of_weights(masks.explored, every)[0],
        }
        slots = {group: weight_slots(self._layout, group) for group in NETWORKS}
        layers = {group: [self._layout.view(masks.active, slot) for slot in slots[group]] for group in NETWORKS}
        for group in NETWORKS:
            numbers[f"{group}_weights"] = sum(int(layer.sum()) for layer in layers[group])
        if self._in_line:
            numbers["dead_units"] = sum(account.dead_units(layers[group])[0] for group in NETWORKS)
        return {name: number.item() if isinstance(number, np.generic) else number for name, number in numbers.items()}

    def metrics(self) -> dict[str, float]:
        """Describe the sparse networks in numbers; dead units only where each layer follows on the one before."""
        return self._metrics

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
        masks = {id(weight): mask for weight, mask in zip(hooks.weights, hooks.masks, strict=True)}
        parts = vector.split([parameter.numel() for parameter in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            if id(parameter) in masks:
                part *= masks[id(parameter)].reshape(-1)

    def present(self, policy: BasePolicy, parameters: list[nn.Parameter]) -> np.ndarray:
        """Which numbers of these parameters, one after the other, are there: [P] bool."""
        own = weights.tensors(policy, self._layout)
        active = weights.split(self.masks.active[0], self._layout, own)
        masks = {id(weight): mask for weight, mask in zip(own, active, strict=True)}
        everything = [masks.get(id(p), torch.ones(p.shape, dtype=torch.bool)).cpu() for p in parameters]
        return torch.cat([x.reshape(-1) for x in everything]).numpy()
