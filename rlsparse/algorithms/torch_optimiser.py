"""Optimisers of the package pytorch-optimizer on the flat parameter vector; needs rlsparse[optimisers]."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np

from rlsparse.errors import import_extra
from rlsparse.learner.adam import NewOptimiser
from rlsparse.learner.arrays import Array, namespace, to_device
from rlsparse.learner.layout import Layout

OPTIMISERS: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    "diffgrad": ("DiffGrad", ("exp_avg", "exp_avg_sq", "previous_grad"), {"foreach": False}),
    "adamp": ("AdamP", ("exp_avg", "exp_avg_sq"), {}),
    "sgdp": ("SGDP", ("momentum",), {"momentum": 0.9, "nesterov": True}),
}
"""By name: class, its state for every parameter (momentum first), and settings."""


class TorchOptimiser:
    """One of OPTIMISERS, called for each layer of each member, so that members do not depend on each other.

    Projections need weights in torch's order, rows [out, in]; the flat vector has another order, so the working memory
    is reordered by `_order`. There is no weight decay, so absent weights, whose gradients are zero, stay zero.
    """

    def __init__(self, name: str, params: Array, layout: Layout) -> None:
        cls, remembered, settings = OPTIMISERS[name]
        xp = namespace(params)
        self._order = _torch_order(layout)
        self._inverse = np.argsort(self._order)
        if not isinstance(params, np.ndarray):
            self._order, self._inverse = (to_device(x, str(params.device)) for x in (self._order, self._inverse))
        self._params, self._gradient = xp.zeros_like(params), xp.zeros_like(params)
        self._state = {name: xp.zeros_like(params) for name in remembered}
        self.steps = xp.zeros_like(params[:, :1])
        self._starts = [slot.start for slot in layout.slots]
        pieces = [(member, slot) for member in range(len(params)) for slot in layout.slots]

        def views(x: Array) -> list[Any]:
            tensor = _tensor(x)
            return [tensor[s, slot.start : slot.stop].view(slot.shape[::-1]) for s, slot in pieces]

        tensors = views(self._params)
        for tensor, gradient in zip(tensors, views(self._gradient), strict=True):
            tensor.grad = gradient
        self._optimiser = _package_class(name, cls)([{"params": [tensor]} for tensor in tensors], **settings)
        memory = {name: views(x) for name, x in self._state.items()}
        for i, tensor in enumerate(tensors):
            self._optimiser.state[tensor] = {name: of_pieces[i] for name, of_pieces in memory.items()}

    def step(self, params: Array, gradient: Array, learning_rate: float | Array, epsilon: float) -> None:
        """Move params [S, D] down the gradient [S, D], in place; the gradient may be overwritten.

        `learning_rate` is one number, [S, 1], or [S, D] that is the same for all of a layer's weights.
        """
        rates = self._rates(learning_rate)
        ages, epsilons = self.steps[:, 0].tolist(), (np.zeros(len(params)) + epsilon).tolist()
        pieces = len(self._starts)
        for i, group in enumerate(self._optimiser.param_groups):
            member, piece = divmod(i, pieces)
            group["lr"], group["eps"], group["step"] = rates[member][piece], epsilons[member], int(ages[member])
        self._params[...] = params[:, self._order]
        self._gradient[...] = gradient[:, self._order]
        with _one_thread():
            self._optimiser.step()
        self.steps += 1
        params[:, self._order] = self._params

    def _rates(self, learning_rate: float | Array) -> list[list[float]]:
        """Return the step size of every layer of every member."""
        if isinstance(learning_rate, float):
            return [[learning_rate] * len(self._starts)] * len(self.steps)
        if learning_rate.shape[1] == 1:
            return [row * len(self._starts) for row in learning_rate.tolist()]
        return learning_rate[:, self._starts].tolist()

    @property
    def first(self) -> Array:
        """The momentum, [S, D], in the order of the parameters."""
        return next(iter(self._state.values()))[:, self._inverse]

    def restart(self, where: Array) -> None:
        """Forget everything about the parameters marked in `where`, [S, D] bool."""
        for array in self._state.values():
            array[where[:, self._order]] = 0.0

    def forget(self, member: int, moments: Literal["keep", "reset", "transport"], part: slice) -> None:
        """Adapt a member's state after its parameters `part` were changed by other code, whole layers.

        Keep it; reset it, steps too; or reset the momentum of `part` and keep the rest.
        """
        if moments == "reset":
            for array in self.state_dict().values():
                array[member] = 0.0
        elif moments == "transport":
            next(iter(self._state.values()))[member, part] = 0.0

    def state_dict(self) -> dict[str, Array]:
        """Return the state and the step counts; they are live, not copies."""
        return {**self._state, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Array]) -> None:
        """Copy in what `state_dict` gave."""
        for name, array in self.state_dict().items():
            array[...] = state[name]


def _torch_order(layout: Layout) -> np.ndarray:
    """Return the place in the flat vector of every layer's numbers, weights as [out, in]; [D]."""
    return np.concatenate([np.arange(slot.start, slot.stop).reshape(slot.shape).T.ravel() for slot in layout.slots])


def _tensor(x: Array) -> Any:
    """Return a torch tensor in the memory of `x`."""
    import torch

    return torch.from_numpy(x) if isinstance(x, np.ndarray) else x


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch to one thread: on layers this small, waiting for others takes longer than the work."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _package_class(name: str, cls: str) -> Any:
    return getattr(import_extra("pytorch_optimizer", "optimisers", f"--algorithm.optimiser {name}"), cls)


def new_torch_optimisers() -> dict[str, NewOptimiser]:
    """Return the constructor of each of OPTIMISERS, by name."""

    def builder(name: str) -> NewOptimiser:
        return lambda params, layout, own_steps: TorchOptimiser(name, params, layout)

    return {name: builder(name) for name in OPTIMISERS}
