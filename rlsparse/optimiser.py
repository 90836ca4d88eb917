"""Adam over the flat parameter vector, with its own step count for each member."""

from typing import Literal

from rlsparse.arrays import Array, namespace


class Adam:
    """Adam's moments for params [S, D]. Source: Kingma and Ba, arXiv 1412.6980, algorithm 1."""

    BETA1, BETA2 = 0.9, 0.999

    def __init__(self, params: Array) -> None:
        xp = namespace(params)
        self.first = xp.zeros_like(params)
        self.second = xp.zeros_like(params)
        self.steps = xp.zeros_like(params[:, :1])
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
        scratch *= 1 / xp.sqrt(1 - self.BETA2**self.steps)
        scratch += epsilon
        xp.divide(self.first, scratch, out=scratch)
        scratch *= learning_rate / (1 - self.BETA1**self.steps)
        params -= scratch

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
