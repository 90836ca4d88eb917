"""Arms over several environments: normalised IQM, performance profiles, probability of improvement."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlsparse.compare.cells import Panel
from rlsparse.compare.contrasts import is_paired
from rlsparse.compare.statistics import Interval, bootstrap, iqm, performance_profile, probability_of_improvement
from rlsparse.run import cards


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
    """Aggregate over environments that the same arms ran in; None if there are no two."""
    shared, arms, remarks = _shared(panels, arms, baseline)
    if len(shared) < 2:
        return None
    scales, scale, more = _normalise(shared, baseline)
    kept = [panel for panel in shared if panel.env in scales]
    scores = {arm: [_scaled(panel.cells[arm].finals, scales[panel.env]) for panel in kept] for arm in arms}
    every = np.array([score for those in scores.values() for x in those for score in x])
    thresholds = np.linspace(min(0.0, every.min(initial=0.0)), every.max(initial=0.0), 101)
    return Overall(
        shared=len(shared),
        environments=[panel.env for panel in kept],
        scale=scale,
        iqm={arm: bootstrap(scores[arm], iqm) for arm in arms} if kept else {},
        thresholds=thresholds,
        profiles={arm: performance_profile(scores[arm], thresholds) for arm in arms} if kept else {},
        improvement={(a, b): _improvement(shared, a, b) for a, b in pairs if {a, b} <= set(arms)},
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


def _improvement(panels: Sequence[Panel], a: str, b: str) -> tuple[Interval, bool]:
    paired = all(is_paired(panel.cells[a], panel.cells[b]) for panel in panels)
    x, y = ([panel.cells[arm].finals for panel in panels] for arm in (a, b))
    return probability_of_improvement(x, y, paired=paired), paired


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
