"""Arms against each other in one environment: differences, with Welch and permutation tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from rlsparse.compare.cells import Cell, Panel
from rlsparse.compare.interval import FEWEST
from rlsparse.compare.significance import (
    Difference,
    detectable_effect,
    effect_size,
    holm,
    permutation_p,
    pooled_deviation,
    welch,
)
from rlsparse.compare.statistics import Interval, probability_of_improvement

MOST_ARMS_IN_ALL_PAIRS = 4
"""Up to so many arms, all pairs are compared; above, each arm with the baseline."""

LEAST_SEEDS_FOR_STAR = 5
ALPHA = 0.05


@dataclass
class Contrast:
    """One arm's final scores against another's, in one environment."""

    env: str
    arm: str
    other: str
    n: int
    n_other: int
    difference: Difference
    permutation_p: float
    adjusted_p: float
    """Welch's p after Holm's correction over all contrasts of the report."""
    adjusted_permutation_p: float
    effect: float
    improvement: Interval
    """Probability that a seed of `arm` scores above one of `other`."""
    paired: bool
    """The seeds of both are the same, and are compared each with itself."""
    detectable: float
    """Smallest difference of means, in returns, that so many seeds find in 80 % of experiments."""

    @property
    def star(self) -> bool:
        """Both corrected tests are below 5 %, with 5 seeds or more in both arms."""
        enough = min(self.n, self.n_other) >= LEAST_SEEDS_FOR_STAR
        return enough and max(self.adjusted_p, self.adjusted_permutation_p) < ALPHA

    @property
    def verdict(self) -> str:
        """What may be said."""
        if min(self.n, self.n_other) < FEWEST:
            return "n too small"
        if self.star:
            return "higher *" if self.difference.mean > 0 else "lower *"
        if min(self.n, self.n_other) < LEAST_SEEDS_FOR_STAR:
            return "smoke check, n < 5"
        return "no evidence of a difference"


def choose_pairs(arms: Sequence[str], baseline: str | None) -> list[tuple[str, str]]:
    """Which arm is compared with which: all with the baseline, or all pairs of up to 4 arms."""
    if baseline is None and len(arms) <= MOST_ARMS_IN_ALL_PAIRS:
        return [(b, a) for a, b in combinations(arms, 2)]
    baseline = baseline or arms[0]
    return [(arm, baseline) for arm in arms if arm != baseline]


def contrast_all(panels: Sequence[Panel], pairs: Sequence[tuple[str, str]]) -> list[Contrast]:
    """Compare final scores, pair by pair and environment by environment, with Holm's correction over all of it."""
    contrasts = [
        _contrast(panel.cells[a], panel.cells[b])
        for panel in panels
        for a, b in pairs
        if a in panel.cells and b in panel.cells and panel.cells[a].n and panel.cells[b].n
    ]
    for contrast, p, q in zip(
        contrasts,
        holm(np.array([x.difference.p for x in contrasts])),
        holm(np.array([x.permutation_p for x in contrasts])),
        strict=True,
    ):
        contrast.adjusted_p, contrast.adjusted_permutation_p = float(p), float(q)
    return contrasts


def _contrast(a: Cell, b: Cell) -> Contrast:
    x, y, paired = a.finals, b.finals, is_paired(a, b)
    deviation = pooled_deviation(x, y)
    return Contrast(
        env=a.env,
        arm=a.arm,
        other=b.arm,
        n=a.n,
        n_other=b.n,
        difference=welch(x, y),
        permutation_p=permutation_p(x, y),
        adjusted_p=np.nan,
        adjusted_permutation_p=np.nan,
        effect=effect_size(x, y),
        improvement=probability_of_improvement([x], [y], paired=paired),
        paired=paired,
        detectable=detectable_effect(a.n, b.n) * deviation if deviation > 0 else np.nan,
    )


def is_paired(a: Cell, b: Cell) -> bool:
    """Whether two cells have the same seeds."""
    return None not in a.seeds and a.seeds == b.seeds
