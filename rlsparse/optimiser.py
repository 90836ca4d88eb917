"""Adam over the flat parameter vector, with its own step count for each member or each parameter."""

import math
from typing import Literal

from rlsparse.arrays import Array, namespace


class Adam:
    """Adam's moments for params [S, D]. Source: Kingma and Ba, arXiv 1412.6980, algorithm 1.

    With `own_steps` each parameter counts its own steps, and can begin anew beside others.
    """

    BETA1, BETA2 = 0.9, 0.999

    def __init__(self, params: Array, own_steps: bool = False) -> None:
        xp = namespace(params)
        self.first = xp.zeros_like(params)
        self.second = xp.zeros_like(params)
        self.steps = xp.zeros_like(params if own_steps else params[:, :1])
        self._own_steps = own_steps
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
        xp.sqrt(self.second, out=scratch)
        scratch *= 1 / xp.sqrt(self._debias(self.BETA2))
        scratch += epsilon
        xp.divide(self.first, scratch, out=scratch)
        scratch *= learning_rate / self._debias(self.BETA1)
        params -= scratch

    def _debias(self, beta: float) -> Array:
        """Return 1 - beta ** steps."""
        if self._own_steps:  # where the exponential is a fifth of the work of the power
            return 1 - namespace(self.steps).exp(self.steps * math.log(beta))
        return 1 - beta**self.steps

    def restart(self, where: Array) -> None:
        """Forget everything about the parameters marked in `where`, [S, D] bool."""
        self.first[where] = 0.0
        self.second[where] = 0.0
        if self._own_steps:
            self.steps[where] = 0.0

    def forget(self, member: int, moments: Literal["keep", "reset", "transport"], part: slice) -> None:
        """Treat a member's moments after its parameters `part` were moved by another hand.

        Keep them; begin all of them anew, steps too; or forget the direction of `part` and keep its scale.
        """
        if moments == "reset":
            for array in self.state_dict().values():
                array[member] = 0.0
        elif moments == "transport":
            self.first[member, part] = 0.0

    def state_dict(self) -> dict[str, Array]:
        """Return the moments and step counts, live."""
        return {"first": self.first, "second": self.second, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Array]) -> None:
        """Copy in what `state_dict` gave."""
        for name, array in self.state_dict().items():
            array[...] = state[name]
