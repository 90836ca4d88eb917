"""The result in sentences: first over all environments, then one for each."""

import math
from itertools import groupby

from rlsparse.compare.cells import Panel
from rlsparse.compare.comparison import Comparison
from rlsparse.compare.contrasts import LEAST_SEEDS_FOR_STAR, Contrast, Overall
from rlsparse.compare.statistics import FEWEST
from rlsparse.compare.tables import between, number


def findings(comparison: Comparison) -> list[str]:
    """Return what the tables come to, the most general first."""
    by_env = {env: list(those) for env, those in groupby(comparison.contrasts, lambda x: x.environment)}
    sentences = [f"{panel.env}: {_in_environment(panel, by_env.get(panel.env, []))}." for panel in comparison.panels]
    overall = comparison.overall
    return (
        [f"Over {overall.shared} environments: {x}." for x in _overall(overall)] + sentences if overall else sentences
    )


def _overall(overall: Overall) -> list[str]:
    """The normalised IQM of each arm, the highest first, and every pair where one is clearly above the other."""
    iqms = sorted(overall.normalised_iqm.items(), key=lambda entry: float(entry[1].estimate), reverse=True)
    ranked = ", ".join(f"{arm} {x.estimate:.3f}" + _ends(float(x.low), float(x.high), "{:.3f}") for arm, x in iqms)
    pairs = []
    for (a, b), (p, low, high, _) in overall.probability_of_improvement.items():
        if high < 0.5:
            a, b, p, low, high = b, a, 1 - p, 1 - high, 1 - low
        if low > 0.5:
            pairs.append(f"{a} above {b} with probability {p:.2f}" + _ends(float(low), float(high), "{:.2f}"))
    return [f"normalised IQM {ranked}"] * bool(ranked) + ["; ".join(pairs)] * bool(pairs)


def _ends(low: float, high: float, form: str) -> str:
    return f" (95 % interval {form.format(low)} to {form.format(high)})" if math.isfinite(low) else ""


def _in_environment(panel: Panel, contrasts: list[Contrast]) -> str:
    """What may be said of the final returns in one environment."""
    cells = [cell for cell in panel.cells.values() if cell.n]
    if len(cells) == 1 or not contrasts:
        return ", ".join(f"{x.arm} ends at {number(x.summary['mean'])}{_interval(x.summary)}" for x in cells)
    numbers = sorted(cell.n for cell in cells)
    seeds = f"n = {numbers[0]}" + f" to {numbers[-1]}" * (numbers[-1] > numbers[0])
    if numbers[-1] < LEAST_SEEDS_FOR_STAR:
        return f"too few seeds to tell the arms apart ({seeds})"
    sure = [x for x in contrasts if x.verdict.endswith("*")]
    found = [
        f"{x.arm} {'above' if x.difference > 0 else 'below'} {x.other} by {number(abs(x.difference))} "
        f"(95 % interval {between(*sorted((abs(x.low), abs(x.high))))})"
        for x in sure
    ]
    if len(sure) < len(contrasts):
        found.append(f"no evidence of {'another' if sure else 'a'} difference ({seeds})")
    return "; ".join(found)


def _interval(summary: dict[str, float]) -> str:
    n = summary["n"]
    return f" (95 % interval {between(summary['low'], summary['high'])}, n = {n})" if n >= FEWEST else f" (n = {n})"
