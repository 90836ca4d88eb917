"""Which weights exist. `Dense` is what a learner calls, and its answers where every weight exists."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from rlsparse.learner.adam import Optimiser
from rlsparse.learner.arrays import Array
from rlsparse.learner.layout import Layout, Views
from rlsparse.learner.records import Batch, EpochStats

if TYPE_CHECKING:  # a learner owns its sparsity
    from rlsparse.learner.actors import Actors
    from rlsparse.learner.learner import Learner

Terms = dict[str, Array]
"""Numbers of a loss by name, [S] each."""

Loss = Callable[[Views, Batch, Views], Terms]
"""Writes the gradient of the loss of parameters on a batch into the last argument; returns the loss's terms."""


class Updates(Protocol):
    """The part of an algorithm that an update needs."""

    def update(self, learner: "Learner", batch: Batch) -> Iterator[EpochStats]:
        """Improve the learner on the batch, yielding after every epoch."""


class Dense:
    """Every weight exists: nothing is hidden, nothing changes. A sparse kind overrides what differs."""

    columns: ClassVar[tuple[str, ...]] = ()
    """The names of `metrics`, in order."""
    records: ClassVar[bool] = True
    """Whether every step of an update does the same to the same memory, so that it can be recorded and replayed."""

    @property
    def regrows(self) -> bool:
        """Whether absent weights may grow again, so that some are younger than others."""
        return False

    @property
    def acting(self) -> bool:
        """Whether the last gradient is of the policy that acts, so that its statistics count."""
        return True

    def build(self, layout: Layout, seeds: Sequence[int], device: str) -> "Dense":
        """Return the sparsity of a learner with these seeds."""
        return self

    def initial(self, params: np.ndarray) -> np.ndarray:
        """Return the parameters to begin with, given those of dense networks, [S, D]."""
        return params

    def adopt(self, params: np.ndarray) -> np.ndarray:
        """Return the parameters to begin with, given those of trained networks, [S, D]."""
        return params

    def begin(self, progress: np.ndarray) -> None:
        """Begin an iteration with this share of each member's budget spent, [S]."""

    def update(self, algorithm: Updates, learner: "Learner", batch: Batch) -> Iterator[EpochStats]:
        """Improve the learner on the batch by the algorithm, yielding when it yields."""
        return algorithm.update(learner, batch)

    def gradient(self, loss: Loss, params: Views, batch: Batch, gradient: Views) -> Terms:
        """Write the gradient of the loss with zeros for absent weights; return the loss's terms."""
        terms = loss(params, batch, gradient)
        self.hide(gradient.flat)
        return terms

    def step(
        self, optimiser: Optimiser, params: Array, gradient: Array, rate: Array, epsilon: float, max_norm: float | None
    ) -> None:
        """Step params [S, D] down the gradient, of at most `max_norm`; `rate` [S, 1] is that of dense networks."""
        optimiser.step(params, gradient, rate, epsilon)

    def hide(self, gradient: Array) -> None:
        """Set the gradient [S, D] of absent weights to zero, in place."""

    def clear(self, vectors: Array, part: slice) -> None:
        """Set absent numbers of vectors [S, ..., P] to zero, in place; P is the `part` of the flat vector."""

    def project(self, points: np.ndarray, members: np.ndarray | slice, part: slice) -> np.ndarray:
        """Return points [S, K, P] of these members with zeros for absent numbers; P is the `part`."""
        return points

    def evolve(self, learner: "Learner", obs: Array) -> None:
        """Exchange weights if it is time; normalised `obs` [S, B, O] measure how far policies move."""

    def kept_state(self) -> list[Array]:
        """Return the live arrays that an update changes beside parameters and optimiser, member axis first."""
        return []

    def inner_actors(self, actors: "Actors") -> list["Actors"]:
        """Return the policies of sparser networks inside these, the densest first."""
        return []

    def inner_rows(self, learner: "Learner", scores: Sequence[Any], members: np.ndarray) -> list[dict[str, Any]]:
        """Return rows of density.csv: each of the members with its own network and those of `inner_actors`."""
        return []

    def metrics(self, optimiser: Optimiser) -> dict[str, np.ndarray]:
        """Return numbers about the networks, [S] each."""
        return {}

    def policy_arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that a policy file holds beside the parameters."""
        return {}

    def state_dict(self) -> dict[str, Array]:
        """Return all arrays from which the networks continue, by name."""
        return {}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Restore the state that `state_dict` returned."""


class NewSparsity(Protocol):
    """A configuration that builds a learner's sparsity; `Dense` builds itself."""

    def build(self, layout: Layout, seeds: Sequence[int], device: str) -> Dense:
        """Return the sparsity of a learner with these seeds."""


DENSE = Dense()
