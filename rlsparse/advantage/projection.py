"""Which few numbers of an environment's state a set function sees."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rlsparse.learner.bounds import Count, CountFromZero, Finite

if TYPE_CHECKING:  # environment cards hold projections, and are read without importing any package
    from rlsparse.learner.arrays import Array


@dataclass(frozen=True)
class Projection:
    """Chosen coordinates, scaled so that a box of interest becomes the unit cube."""

    description: str
    """What the coordinates are, with units."""
    source: Literal["observation", "qpos"]
    """"observation", or "qpos": MuJoCo's generalised positions, some of which are not in the observation."""
    index: tuple[CountFromZero, ...]
    """Which numbers of the source, d of them."""
    low: tuple[Finite, ...]
    """The box's lower corner, in the source's units."""
    high: tuple[Finite, ...]
    """The box's upper corner."""
    cells: tuple[Count, ...]
    """Default number of cells into which coverage divides each side."""

    def __call__(self, source: "Array") -> "Array":
        """Points [..., d] of states [..., W], float64; within the box they are in [0, 1]."""
        from rlsparse.learner.arrays import as_float64, namespace

        sides = zip(self.index, self.low, self.high, strict=True)
        return namespace(source).stack([(as_float64(source[..., i]) - a) / (b - a) for i, a, b in sides], -1)

    def flaw(self) -> str | None:
        """Return what is wrong, as "field must ..."; None if nothing is."""
        if not self.index or any(len(side) != len(self.index) for side in (self.low, self.high, self.cells)):
            return "index must not be empty, and low, high and cells must be as long"
        below = all(low < high for low, high in zip(self.low, self.high, strict=True))
        return None if below else "low must lie below high"
