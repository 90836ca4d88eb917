"""Masks at work on a policy while it learns: on every gradient, and on every step."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from rlsparse.sb3.moments import Young


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
