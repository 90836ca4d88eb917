"""Rules: when weights are exchanged, how many, and which grow. Pure functions of their arguments."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from rlsparse.errors import UsageError
from rlsparse.learner.bounds import Count, FractionAboveZero, FractionBelowOne, Varying
from rlsparse.learner.layout import Layout
from rlsparse.sparse.masks import exchange
from rlsparse.sparse.topology import Topology

if TYPE_CHECKING:
    from rlsparse.sparse.config import Sparse


Schedule = Literal["cosine", "constant"]


def drop_fraction(first: float, schedule: Schedule, progress: np.ndarray, end: float) -> np.ndarray:
    """Share of active weights to exchange: `first`, constant or falling along half a cosine; 0 from `end` on."""
    if schedule == "constant":
        return first * (progress < end)
    return first / 2 * (1 + np.cos(np.pi * np.minimum(progress, end) / end))


def gradual_sparsity(final: float, progress: np.ndarray, start: float, end: float) -> np.ndarray:
    """Share of weights pruned, rising from 0 at `start` to `final` at `end`, fast at first.

    Source: Zhu and Gupta, arXiv 1710.01878, equation 1.
    """
    return final * (1 - (1 - np.clip((progress - start) / (end - start), 0.0, 1.0)) ** 3)


class Exchange:
    """The common part of all rules; by itself it never changes anything."""

    grows: ClassVar[bool] = False
    """Whether absent weights may grow, from zero."""
    by_gradient: ClassVar[bool] = False
    """Whether growth needs the gradient of absent weights."""
    own_loop: ClassVar[bool] = False
    """Whether it changes PPO's update, beyond masks."""
    gives: ClassVar = frozenset({"drops-by-worth"})
    """The traits on which other components may rely: here, that weights may be dropped by more than size."""

    @property
    def starts_dense(self) -> bool:
        """Whether all weights are present at first."""
        return False

    def due(self, iteration: np.ndarray, progress: np.ndarray) -> np.ndarray:
        """Whether masks may change at the end of this iteration [S], counted from 1, by the budget spent [S]."""
        return np.zeros(len(progress), bool)

    def drops(self, active: np.ndarray, final: int, size: int, progress: np.ndarray) -> np.ndarray:
        """How many of a layer's `active` weights [S] to drop; the layer has `size` and ends with `final`. [S] float."""
        return np.zeros(len(active))

    def growth(
        self, gradient: np.ndarray | None, size: int, generators: Sequence[np.random.Generator]
    ) -> np.ndarray | None:
        """Score where weights grow, [S, size], by the layer's gradient [S, size]; None if none grow."""
        return None

    def choose(
        self,
        worth: np.ndarray,
        active: np.ndarray,
        growth: np.ndarray | None,
        counts: np.ndarray,
        share: np.ndarray,
        progress: np.ndarray,
    ) -> np.ndarray:
        """Return which weights of a layer exist next, [S, n] bool: `counts` [S] of the `active` ones are dropped.

        Those of the smallest absolute `worth` [S, n] are dropped; as many grow where `growth` scores are highest.
        `share` [S] is the part of the exchange to make, `progress` [S] the budget spent.
        """
        return exchange(worth, active, growth, counts)

    def inner_sparsities(self) -> tuple[float, ...]:
        """Sparsities of further actors inside the one that acts, rising."""
        return ()

    def slow(self) -> str | None:
        """Return a hint what would make updates on the CPU faster; None if nothing would."""
        return None if self.own_loop else Topology.slow()

    def build(self, config: "Sparse", layout: Layout, seeds: Sequence[int], device: str) -> Topology:
        """Return the sparse networks of a learner with these seeds."""
        return Topology(config, layout, seeds, device)


@dataclass(frozen=True)
class Static(Exchange):
    """Draw a random mask at the start and keep it."""

    gives: ClassVar = frozenset()


@dataclass(frozen=True)
class SET(Exchange):
    """Drop the smallest weights and grow as many at random. Source: Mocanu et al., Nature Communications 9 (2018)."""

    drop: Varying[FractionAboveZero] = 0.3
    """Share of each layer's weights that is exchanged at first."""
    every: Count = 4
    """Iterations between two exchanges: new weights start at zero and need time to grow."""
    schedule: Schedule = "cosine"
    """Whether that share falls along half a cosine, or is constant."""
    end: Varying[FractionAboveZero] = 0.75
    """Share of the budget after which masks do not change."""

    grows: ClassVar[bool] = True

    def due(self, iteration: np.ndarray, progress: np.ndarray) -> np.ndarray:
        """Every `every` iterations until `end`."""
        return (progress < self.end) & (iteration % self.every == 0)

    def drops(self, active: np.ndarray, final: int, size: int, progress: np.ndarray) -> np.ndarray:
        """Return the scheduled share of the active weights."""
        return active * drop_fraction(self.drop, self.schedule, progress, self.end)

    def growth(
        self, gradient: np.ndarray | None, size: int, generators: Sequence[np.random.Generator]
    ) -> np.ndarray | None:
        """Score at random."""
        return np.stack([generator.random(size) for generator in generators])


@dataclass(frozen=True)
class RigL(SET):
    """Drop the smallest weights and grow where the loss is steepest. Source: Evci et al., arXiv 1911.11134."""

    by_gradient: ClassVar[bool] = True

    def growth(
        self, gradient: np.ndarray | None, size: int, generators: Sequence[np.random.Generator]
    ) -> np.ndarray | None:
        """Score by the size of the gradient."""
        assert gradient is not None
        return np.abs(gradient)


@dataclass(frozen=True)
class Magnitude(Exchange):
    """Begin dense and drop the smallest weights step by step. Source: Zhu and Gupta, arXiv 1710.01878."""

    start: FractionBelowOne = 0.2
    """Share of the budget before which all weights are kept."""
    end: FractionAboveZero = 0.8
    """Share of the budget at which the final number is reached."""
    every: Count = 1
    """Iterations between two cuts."""

    def check(self, recipe: Any) -> None:
        """Raise UsageError unless start is before end."""
        if self.start >= self.end:
            raise UsageError(
                f"--sparse.rule.start {self.start:g} is not before --sparse.rule.end {self.end:g}: pruning needs a "
                "part of the budget in between"
            )

    @property
    def starts_dense(self) -> bool:
        """All of them."""
        return True

    def due(self, iteration: np.ndarray, progress: np.ndarray) -> np.ndarray:
        """Every `every` iterations after `start`, and after `end` whenever there are still weights to drop."""
        return (progress > self.start) & (iteration % self.every == 0)

    def drops(self, active: np.ndarray, final: int, size: int, progress: np.ndarray) -> np.ndarray:
        """Return how many weights the layer has above the schedule."""
        return np.maximum(active - self.left(final, size, progress), 0)

    def left(self, final: int, size: int, progress: np.ndarray) -> np.ndarray:
        """Number of a layer's weights that the schedule keeps, [S]."""
        pruned = gradual_sparsity(1 - final / size, progress, self.start, self.end)
        return np.maximum(np.rint(size * (1 - pruned)), final)
