"""Arms against each other: differences with Welch and permutation tests, and normalised results over environments."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from rlsparse import cards
from rlsparse.comparison.cells import Cell, Panel
from rlsparse.interval import FEWEST
from rlsparse.statistics.aggregate import Interval, bootstrap, iqm, performance_profile, probability_of_improvement
from rlsparse.statistics.significance import (
    Difference,
    detectable_effect,
    effect_size,
    holm,
    permutation_p,
    pooled_deviation,
    welch,
)

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
    x, y, paired = a.finals, b.finals, _paired(a, b)
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
        detectable=detectable_effect(a.n, b.n) * pooled_deviation(x, y),
    )


def _paired(a: Cell, b: Cell) -> bool:
    return None not in a.seeds and a.seeds == b.seeds


@dataclass
class Overall:
    """Arms over several environments."""

    shared: int
    """Environments that all arms ran in."""
    environments: list[str]
    """Those of them that have a scale."""
    scale: str
    """What 0 and 1 mean on the normalised scale; empty if there is none."""
    iqm: dict[str, Interval]
    """Normalised IQM of each arm."""
    thresholds: np.ndarray
    profiles: dict[str, Interval]
    """Share of runs above each threshold, per arm, each [T]."""
    improvement: dict[tuple[str, str], tuple[Interval, bool]]
    """Probability of improvement per pair over environments, and whether it is paired."""
    remarks: list[str]


def overall(
    panels: Sequence[Panel], arms: Sequence[str], pairs: Sequence[tuple[str, str]], baseline: str | None
) -> Overall | None:
    """Aggregate over the environments that all arms ran in; None if there are fewer than two."""
    shared = [panel for panel in panels if all(arm in panel.cells and panel.cells[arm].n for arm in arms)]
    if len(shared) < 2:
        return None
    scales, scale, remarks = _normalise(shared, baseline)
    kept = [panel for panel in shared if panel.env in scales]
    if len(shared) < len(panels):
        left = sorted({panel.env for panel in panels} - {panel.env for panel in shared})
        remarks.append(f"{', '.join(left)} not in the overall results: not every arm ran there")
    scores = {arm: [_scaled(panel.cells[arm].finals, scales[panel.env]) for panel in kept] for arm in arms}
    improvement = {}
    for a, b in pairs:
        paired = all(_paired(panel.cells[a], panel.cells[b]) for panel in shared)
        x, y = ([panel.cells[arm].finals for panel in shared] for arm in (a, b))
        improvement[a, b] = probability_of_improvement(x, y, paired=paired), paired
    highest = max((float(x.max()) for those in scores.values() for x in those), default=1.0)
    lowest = min((float(x.min()) for those in scores.values() for x in those), default=0.0)
    thresholds = np.linspace(min(0.0, lowest), highest, 101)
    return Overall(
        shared=len(shared),
        environments=[panel.env for panel in kept],
        scale=scale,
        iqm={arm: bootstrap(scores[arm], iqm) for arm in arms} if kept else {},
        thresholds=thresholds,
        profiles={arm: performance_profile(scores[arm], thresholds) for arm in arms} if kept else {},
        improvement=improvement,
        remarks=remarks,
    )


Scale = tuple[float, float]
"""The returns that become 0 and 1."""


def _normalise(panels: Sequence[Panel], baseline: str | None) -> tuple[dict[str, Scale], str, list[str]]:
    """Choose each environment's scale; returns it with words for what 0 and 1 are, and remarks on what has none."""
    scales, remarks = {}, []
    for panel in panels:
        scale = _baseline_scale(panel, baseline) if baseline else _card_scale(panel.env)
        if isinstance(scale, str):
            remarks.append(f"{panel.env} is not in the normalised results: {scale}")
        else:
            scales[panel.env] = scale
    if len(scales) < 2:
        return {}, "", remarks
    if baseline:
        return scales, f"1 = mean final return of {baseline} in that environment, 0 = a return of 0", remarks
    return scales, "0 = random actions, 1 = published PPO return (its simulator is older)", remarks


def _scaled(returns: np.ndarray, scale: Scale) -> np.ndarray:
    zero, one = scale
    return (returns - zero) / (one - zero)


def _baseline_scale(panel: Panel, baseline: str) -> Scale | str:
    mean = float(panel.cells[baseline].finals.mean())
    return (0.0, mean) if mean > 0 else f"the mean return of {baseline} is {mean:,.1f}, which cannot be divided by"


def _card_scale(env: str) -> Scale | str:
    card = cards.environments().get(env)
    published = [x.mean for x in card.references if x.algorithm == "PPO"] if card else []
    if card is None or not published or max(published) <= card.random_return.mean:
        return "its card has no published PPO return (--baseline ARM normalises by an arm instead)"
    return card.random_return.mean, max(published)
