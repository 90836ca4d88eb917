"""Steps of given length along a running mean of gradients, whose samples are taken where the mean's error is small.

Source: Fatkhullin et al., "Stochastic policy gradient methods", ICML 2023, arXiv 2302.01734.
"""

from typing import Literal

from rlsparse.algorithms.solve import dot
from rlsparse.learner.adam import Adam
from rlsparse.learner.arrays import Array, namespace
from rlsparse.learner.layout import Layout


def falling(count: Array, power: float) -> Array:
    """(2 / (count + 2)) ** power, after `count` updates [S, 1]: 1 at first."""
    return (2.0 / (count + 2.0)) ** power


def look_ahead(policy: Array, moved: Array, eta: Array) -> Array:
    """Where N-PG-IGT takes its samples: policy [S, P] + (1 - eta) / eta * its last step [S, P], for eta [S, 1].

    If gradients are linear, the mean of those taken there is the gradient at the policy.
    """
    return policy + (1.0 - eta) / eta * moved


def running_mean(direction: Array, gradient: Array, eta: Array) -> Array:
    """(1 - eta) * direction + eta * gradient, [S, P] each, for eta [S, 1]."""
    return (1.0 - eta) * direction + eta * gradient


def step_along(direction: Array, length: Array) -> Array:
    """Step [S, P] of this length [S, 1] along each direction [S, P]; none along zero."""
    xp, norm = namespace(direction), dot(direction, direction)[:, None] ** 0.5
    return length * direction / xp.where(norm > 0, norm, 1.0)


class MomentumAdam(Adam):
    """Adam for the critics, and beside it what policies stepped along a running mean remember."""

    def __init__(self, params: Array, layout: Layout, own_steps: bool) -> None:
        super().__init__(params, own_steps)
        xp, policy = namespace(params), params[:, layout.policy]
        self.direction = xp.zeros_like(policy)
        """The running mean of gradients, [S, P]."""
        self.moved = xp.zeros_like(policy)
        """The policy's last step, [S, P]."""
        self.count = xp.zeros_like(params[:, :1])
        """Steps of the policy, [S, 1]."""

    def restart(self, where: Array) -> None:
        """Forget everything about the parameters marked in `where`, [S, D] bool."""
        super().restart(where)
        for array in (self.direction, self.moved):
            array[where[:, : array.shape[1]]] = 0.0

    def forget(self, member: int, moments: Literal["keep", "reset", "transport"], part: slice) -> None:
        """Treat what is remembered of a member after its parameters `part` were moved by another hand.

        Keep it, the last step too; begin anew; or forget mean and last step of `part`.
        """
        super().forget(member, moments, part)
        if moments == "transport":
            for array in (self.direction, self.moved):
                array[member, part] = 0.0

    def state_dict(self) -> dict[str, Array]:
        """Return all that steps depend on, live."""
        return super().state_dict() | {"direction": self.direction, "moved": self.moved, "count": self.count}
