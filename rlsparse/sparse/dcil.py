"""The dense path: absent weights go on learning in the dense network, and may come back with what they have learned."""

import numpy as np

from rlsparse.learner.adam import Adam, Optimiser
from rlsparse.learner.arrays import Array, namespace, to_device
from rlsparse.learner.layout import Layout, Views


class DensePath:
    """The latent values [S, D] of absent weights, zero where a weight is present, and Adam's moments of them.

    Together with the sparse network's own they make one dense network with one Adam: what changes sides keeps its
    value and its moments. Source: Kim et al., arXiv 2109.04660.
    """

    def __init__(self, layout: Layout, values: Array) -> None:
        xp = namespace(values)
        self.values = values
        self.optimiser = Adam(values)
        self.gradient: Views = layout.views(xp.empty_like(values))
        """Of the dense network's loss; whoever writes it calls `step` next."""
        self._whole = layout.views(xp.empty_like(values))
        self._learning: Array | None = None

    @property
    def is_open(self) -> bool:
        """Whether any absent weight learns in this iteration."""
        return self._learning is not None

    def begin(self, learning: np.ndarray, device: str) -> None:
        """Begin an iteration in which these absent weights [S, D] bool learn; others are forgotten."""
        factor = to_device(learning.astype(np.float32), device)
        for array in self._arrays():
            array *= factor
        self._learning = factor if learning.any() else None

    def whole(self, params: Array) -> Views:
        """Return the dense network of present `params` [S, D] and absent weights, until the next call."""
        self._whole.flat[...] = params
        self._whole.flat[...] += self.values
        return self._whole

    def step(self, optimiser: Optimiser, rate: float | Array, epsilon: float, max_norm: float) -> None:
        """Move the absent weights down `gradient`, which is overwritten, beside the next step of `optimiser`.

        Their gradient is clipped by its own norm, [S], so that it does not shrink the step of present weights.
        """
        xp, gradient = namespace(self.values), self.gradient.flat
        gradient *= self._learning
        norm = (gradient * gradient).sum(-1) ** 0.5
        gradient *= xp.clip(max_norm / (norm + 1e-6), 0.0, 1.0)[:, None]
        self.optimiser.steps[...] = optimiser.steps
        self.optimiser.step(self.values, gradient, rate, epsilon)

    def exchange(self, params: Array, optimiser: Adam, active: Array) -> None:
        """Let weights change sides: present are those in `active`, [S, D] bool."""
        xp = namespace(params)
        for absent, present in zip(self._arrays(), (params, optimiser.first, optimiser.second), strict=True):
            both = absent + present
            present[...] = xp.where(active, both, 0.0)
            absent[...] = xp.where(active, 0.0, both)

    def _arrays(self) -> tuple[Array, Array, Array]:
        return self.values, self.optimiser.first, self.optimiser.second

    def state_dict(self) -> dict[str, Array]:
        """Return all that the dense path goes on from, live; it counts the steps of the sparse network's Adam."""
        return dict(zip(("values", "first", "second"), self._arrays(), strict=True))

    def load_state_dict(self, state: dict[str, Array]) -> None:
        """Copy in what `state_dict` gave."""
        for name, array in self.state_dict().items():
            array[...] = state[name]
