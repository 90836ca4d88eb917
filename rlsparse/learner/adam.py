"""Adam over the flat parameter vector, with a step count for each member or, if needed, for each parameter."""

from collections.abc import Callable
from typing import Literal, Protocol

from rlsparse.learner.arrays import Array, namespace
from rlsparse.learner.layout import Layout


class Optimiser(Protocol):
    """Steps the parameters of all members; its state has the member axis first."""

    steps: Array
    """Step count of each member, [S, 1]."""

    @property
    def first(self) -> Array:
        """Momentum, [S, D]."""

    def step(self, params: Array, gradient: Array, learning_rate: float | Array, epsilon: float) -> None:
        """Move params [S, D] down the gradient [S, D], in place; the gradient may be overwritten."""

    def restart(self, where: Array) -> None:
        """Forget everything about the parameters marked in `where`, [S, D] bool."""

    def forget(self, member: int, moments: Literal["keep", "reset", "transport"], part: slice) -> None:
        """Adapt the memory of a member after its parameters `part` were changed by other code."""

    def state_dict(self) -> dict[str, Array]:
        """Return all arrays on which steps depend; they are live, not copies."""

    def load_state_dict(self, state: dict[str, Array]) -> None:
        """Copy in what `state_dict` gave."""


NewOptimiser = Callable[[Array, Layout, bool], Optimiser]
"""Builds an optimiser from params [S, D], their layout, and whether single parameters may begin anew."""


def adam(params: Array, layout: Layout, own_steps: bool) -> "Adam":
    """Return Adam; it ignores the layout."""
    return Adam(params, own_steps)


class Adam:
    """Adam's moments for params [S, D]. Source: Kingma and Ba, arXiv 1412.6980, algorithm 1.

    With `own_steps` single parameters can begin anew, and each one's bias is corrected by its own age.
    """

    BETA1, BETA2 = 0.9, 0.999

    def __init__(self, params: Array, own_steps: bool = False) -> None:
        xp = namespace(params)
        self.first = xp.zeros_like(params)
        self.second = xp.zeros_like(params)
        self.steps = xp.zeros_like(params[:, :1])
        self._ages = {name: xp.zeros_like(params) for name in ("age1", "age2")} if own_steps else {}
        self._scratch = xp.empty_like(params)

    def step(self, params: Array, gradient: Array, learning_rate: float | Array, epsilon: float) -> None:
        """Move params [S, D] down the gradient [S, D], in place; the gradient is overwritten.

        `learning_rate` is one number or [S, 1], of the parameters' dtype.
        """
        xp = namespace(params)
        scratch = self._scratch
        self.steps += 1
        xp.multiply(gradient, gradient, out=scratch)
        scratch *= 1 - self.BETA2
        self.second *= self.BETA2
        self.second += scratch
        gradient *= 1 - self.BETA1
        self.first *= self.BETA1
        self.first += gradient
        if self._ages:
            self._own_direction(epsilon)
            scratch *= learning_rate
        else:
            xp.sqrt(self.second, out=scratch)
            scratch *= 1 / xp.sqrt(1 - self.BETA2**self.steps)
            scratch += epsilon
            xp.divide(self.first, scratch, out=scratch)
            scratch *= learning_rate / (1 - self.BETA1**self.steps)
        params -= scratch

    def _own_direction(self, epsilon: float) -> None:
        """Write the direction of the step to the scratch memory, each parameter's bias corrected by its own age."""
        xp, scratch = namespace(self.first), self._scratch
        for age, beta in zip(self._ages.values(), (self.BETA1, self.BETA2), strict=True):
            age *= beta  # 1 - beta ** steps, without the cost of a power
            age += 1 - beta
        xp.divide(self.second, self._ages["age2"], out=scratch)
        xp.sqrt(scratch, out=scratch)
        scratch += epsilon
        xp.divide(self.first, scratch, out=scratch)
        scratch /= self._ages["age1"]

    def restart(self, where: Array) -> None:
        """Forget everything about the parameters marked in `where`, [S, D] bool."""
        for array in (self.first, self.second, *self._ages.values()):
            array[where] = 0.0

    def forget(self, member: int, moments: Literal["keep", "reset", "transport"], part: slice) -> None:
        """Adapt a member's moments after its parameters `part` were changed by other code.

        Keep them; or reset all of them, steps too; or set the first moments of `part` to zero and keep the second.
        """
        if moments == "reset":
            for array in self.state_dict().values():
                array[member] = 0.0
        elif moments == "transport":
            self.first[member, part] = 0.0

    def state_dict(self) -> dict[str, Array]:
        """Return the moments, step counts and, if parameters have their own, ages; they are live, not copies."""
        return {"first": self.first, "second": self.second, "steps": self.steps, **self._ages}

    def load_state_dict(self, state: dict[str, Array]) -> None:
        """Copy in what `state_dict` gave."""
        for name, array in self.state_dict().items():
            array[...] = state[name]
