"""Arms against each other: in one environment with Welch and permutation tests, and over several environments."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import NamedTuple

import numpy as np

from rlsparse.compare import statistics
from rlsparse.compare.cells import Cell, Panel
from rlsparse.compare.statistics import FEWEST, Interval
from rlsparse.run import cards

MOST_ARMS_IN_ALL_PAIRS = 4
"""Up to so many arms, all pairs are compared; above, each arm with the baseline."""

LEAST_SEEDS_FOR_STAR = 5
ALPHA = 0.05


class Improvement(NamedTuple):
    """Probability that a seed of one arm scores above one of the other, and the ends of its interval."""

    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray
    paired: bool
    """The seeds of both are the same, and are compared each with itself."""


@dataclass(frozen=True)
class Contrast:
    """One arm's final scores against another's, in one environment."""

    environment: str
    arm: str
    other: str
    n: tuple[int, int]
    difference: float
    """Of the mean final scores, with the ends of Welch's interval."""
    low: float
    high: float
    p_welch: float
    p_permutation: float
    effect_size: float
    probability_of_improvement: Improvement
    detectable_difference: float
    """Smallest difference of means, in returns, that so many seeds find in 80 % of experiments."""
    p_welch_holm: float = np.nan
    """After Holm's correction over all contrasts of the report."""
    p_permutation_holm: float = np.nan

    @property
    def verdict(self) -> str:
        """What may be said; a star where both corrected tests are below 5 %, with 5 seeds or more in both arms."""
        if min(self.n) < FEWEST:
            return "n too small"
        if min(self.n) < LEAST_SEEDS_FOR_STAR:
            return "smoke check, n < 5"
        if max(self.p_welch_holm, self.p_permutation_holm) < ALPHA:
            return "higher *" if self.difference > 0 else "lower *"
        return "no evidence of a difference"


def choose_pairs(arms: Sequence[str], baseline: str | None) -> list[tuple[str, str]]:
    """Which arm is compared with which: all with the baseline, or all pairs of up to 4 arms."""
    if baseline is None and len(arms) <= MOST_ARMS_IN_ALL_PAIRS:
        return [(b, a) for a, b in combinations(arms, 2)]
    baseline = baseline or arms[0]
    return [(arm, baseline) for arm in arms if arm != baseline]


def contrast_all(panels: Sequence[Panel], pairs: Sequence[tuple[str, str]]) -> list[Contrast]:
    """Compare final scores, pair by pair and environment by environment, with Holm's correction over all of it."""
    found = [
        _contrast(panel.cells[a], panel.cells[b])
        for panel in panels
        for a, b in pairs
        if all(arm in panel.cells and panel.cells[arm].n for arm in (a, b))
    ]
    welch_p = statistics.holm(np.array([x.p_welch for x in found])).tolist()
    permutation = statistics.holm(np.array([x.p_permutation for x in found])).tolist()
    return [
        replace(x, p_welch_holm=p, p_permutation_holm=q) for x, p, q in zip(found, welch_p, permutation, strict=True)
    ]


def _contrast(a: Cell, b: Cell) -> Contrast:
    x, y = a.finals, b.finals
    difference, deviation = statistics.welch(x, y), statistics.pooled_deviation(x, y)
    return Contrast(
        environment=a.env,
        arm=a.arm,
        other=b.arm,
        n=(a.n, b.n),
        difference=difference.mean,
        low=difference.low,
        high=difference.high,
        p_welch=difference.p,
        p_permutation=statistics.permutation_p(x, y),
        effect_size=statistics.effect_size(x, y),
        probability_of_improvement=_improvement([(a, b)]),
        detectable_difference=statistics.detectable_effect(a.n, b.n) * deviation if deviation > 0 else np.nan,
    )


def _improvement(pairs: Sequence[tuple[Cell, Cell]]) -> Improvement:
    """Probability of improvement over environments, one pair of cells each."""
    paired = all(None not in a.seeds and a.seeds == b.seeds for a, b in pairs)
    x, y = [a.finals for a, _ in pairs], [b.finals for _, b in pairs]
    return Improvement(*statistics.probability_of_improvement(x, y, paired=paired), paired)


@dataclass(frozen=True)
class Overall:
    """Arms over several environments."""

    shared: int
    """Environments that all arms ran in."""
    environments: list[str]
    """Those of them that have a scale."""
    scale: str
    """What 0 and 1 mean on the normalised scale; empty if there is none."""
    normalised_iqm: dict[str, Interval]
    thresholds: np.ndarray
    performance_profile: dict[str, Interval]
    """Share of runs above each threshold, per arm, each [T]."""
    probability_of_improvement: dict[tuple[str, str], Improvement]
    remarks: list[str]


def overall(
    panels: Sequence[Panel], arms: Sequence[str], pairs: Sequence[tuple[str, str]], baseline: str | None
) -> Overall | None:
    """Aggregate over environments that the same arms ran in; None if there are no two."""
    shared, arms, remarks = _shared(panels, arms, baseline)
    if len(shared) < 2:
        return None
    scales, scale, more = _normalise(shared, baseline)
    kept = [(panel, *scales[panel.env]) for panel in shared if panel.env in scales]
    scores = {arm: [(p.cells[arm].finals - zero) / (one - zero) for p, zero, one in kept] for arm in arms if kept}
    every = np.concatenate([x for those in scores.values() for x in those] or [np.empty(0)])
    thresholds = np.linspace(every.min(initial=0.0), every.max(initial=0.0), 101) if kept else np.empty(0)
    return Overall(
        shared=len(shared),
        environments=[panel.env for panel, _, _ in kept],
        scale=scale,
        normalised_iqm={arm: statistics.stratified_iqm(x) for arm, x in scores.items()},
        thresholds=thresholds,
        performance_profile={arm: statistics.performance_profile(x, thresholds) for arm, x in scores.items()},
        probability_of_improvement={
            (a, b): _improvement([(p.cells[a], p.cells[b]) for p in shared]) for a, b in pairs if {a, b} <= set(arms)
        },
        remarks=remarks + more,
    )


def _shared(
    panels: Sequence[Panel], arms: Sequence[str], baseline: str | None
) -> tuple[list[Panel], Sequence[str], list[str]]:
    """Choose environments and arms so that every arm ran in every environment; say what was left out.

    The arms that ran everywhere if there are two (and the baseline), else the environments that have every arm.
    """
    ran = {arm: {panel.env for panel in panels if arm in panel.cells and panel.cells[arm].n} for arm in arms}
    everywhere = [arm for arm in arms if len(ran[arm]) == len(panels)]
    if len(arms) > len(everywhere) >= 2 and baseline in (None, *everywhere):
        left = ", ".join(arm for arm in arms if arm not in everywhere)
        return list(panels), everywhere, [f"not in the results over environments, for not run in all of them: {left}"]
    shared = [panel for panel in panels if all(panel.env in ran[arm] for arm in arms)]
    left = ", ".join(sorted({panel.env for panel in panels} - {panel.env for panel in shared}))
    remark = f"not in the results over environments, for not every arm ran there: {left}"
    return shared, arms, [remark] if left else []


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
    return scales, "0 = random actions, 1 = highest published PPO return (its simulator is older)", remarks


def _baseline_scale(panel: Panel, baseline: str) -> Scale | str:
    mean = float(panel.cells[baseline].finals.mean())
    return (0.0, mean) if mean > 0 else f"the mean return of {baseline} is {mean:,.1f}, which cannot be divided by"


def _card_scale(env: str) -> Scale | str:
    card = cards.environments().get(env)
    best = card.best_reference("PPO") if card else None
    if card is None or best is None or best.mean <= card.random_return.mean:
        return "its card has no published PPO return (--baseline ARM normalises by an arm instead)"
    return card.random_return.mean, best.mean
