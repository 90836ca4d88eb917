"""The tables of a report, as text; terminal and page lay them out."""

import math
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from rlsparse.compare.cells import Cell, Panel
from rlsparse.compare.comparison import Comparison
from rlsparse.compare.contrasts import Contrast, Improvement
from rlsparse.compare.statistics import Interval


@dataclass(frozen=True)
class Table:
    """A header, rows of as many texts, and a note below."""

    title: str
    header: list[str]
    rows: list[list[str]]
    note: str = ""


def number(x: float) -> str:
    """Return a number with a few significant digits, or a dash."""
    if not math.isfinite(x):
        return "-"
    size = abs(x)
    if 0 < size < 0.1:
        return f"{x:.2g}"
    return f"{x:,.{0 if size >= 1000 else 1 if size >= 10 else 2}f}" if x else "0"


def between(low: float, high: float) -> str:
    """Return an interval, or a dash."""
    return f"{number(low)} to {number(high)}" if math.isfinite(low) and math.isfinite(high) else "-"


def probability(p: float) -> str:
    """Return a p-value, or a dash."""
    return "-" if not math.isfinite(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def result_tables(comparison: Comparison) -> list[Table]:
    """Return what a report shows: results over environments, final performance in each, and differences."""
    finals = [_final_table(panel, comparison.measure) for panel in comparison.panels]
    return [*_overall_tables(comparison), *_noted(finals, FINAL_NOTE), *_contrast_tables(comparison.contrasts)]


FINAL_NOTE = (
    "95 % interval: Student-t, of the mean over seeds. area: mean return over the whole range. reaches: the median "
    "seed's first time, and how many seeds get there; the threshold is the lowest final mean unless --threshold sets "
    "it."
)


def _final_table(panel: Panel, measure: str) -> Table:
    reaches = f"reaches {number(panel.threshold)} at"
    header = ["arm", "n", "mean", "std", "IQM", "95 % interval", "min", "max", "area", reaches]
    title = f"{panel.env}: {measure}, last 10 % of points up to {panel.end:,.0f}"
    return Table(title, header, [_final_row(cell) for cell in panel.cells.values()])


def _final_row(cell: Cell) -> list[str]:
    n, x = cell.n_text.removeprefix("n="), cell.summary
    if not cell.n:
        return [cell.arm, n, *["-"] * 8]
    interval = between(x["low"], x["high"]) if cell.n >= 3 else "n too small"
    reached = int(np.isfinite(cell.reached).sum())
    median = float(np.median(cell.reached)) if reached else math.inf
    scores = [x["mean"], x["std"], x["iqm"], x["min"], x["max"], cell.areas.mean()]
    mean, std, iqm, *rest = map(number, scores)
    return [cell.arm, n, mean, std, iqm, interval, *rest, f"{number(median)} ({reached} of {cell.n})"]


def _contrast_tables(contrasts: list[Contrast]) -> list[Table]:
    """Differences of final performance per environment: the tests, and how large the differences are."""
    several = f"p in brackets: after Holm's correction for {len(contrasts)} comparisons. " if len(contrasts) > 1 else ""
    test_note = (
        f"{several}perm.: permutation test. *: both (corrected) p below 0.05, with 5 seeds or more in both arms."
    )
    size_note = (
        "d: difference over the pooled standard deviation. detectable: the smallest difference that so many seeds find "
        "in 80 % of experiments."
    )
    tests, sizes = [], []
    for env, group in groupby(contrasts, lambda x: x.environment):
        those = list(group)
        header = ["arm", "other", "n", "mean diff.", "95 % interval", "p Welch", "p perm.", "verdict"]
        tests.append(Table(f"{env}: differences of final performance", header, [_test_row(x) for x in those]))
        header = ["arm", "other", "n", "d", "P(improvement)", "95 % interval", "paired", "detectable"]
        sizes.append(Table(f"{env}: how large they are, and could have been", header, [_size_row(x) for x in those]))
    return [*_noted(tests, test_note), *_noted(sizes, size_note)]


def _noted(tables: list[Table], note: str) -> list[Table]:
    """The same tables, with a note below the last."""
    return [*tables[:-1], *(replace(table, note=note) for table in tables[-1:])]


def _who(x: Contrast) -> list[str]:
    return [x.arm, x.other, "{},\u00a0{}".format(*x.n)]  # numbers that are not folded apart


def _test_row(x: Contrast) -> list[str]:
    p = _corrected(x.p_welch, x.p_welch_holm), _corrected(x.p_permutation, x.p_permutation_holm)
    return [*_who(x), number(x.difference), between(x.low, x.high), *p, x.verdict]


def _size_row(x: Contrast) -> list[str]:
    improvement = _estimate(x.probability_of_improvement, 2)
    return [*_who(x), number(x.effect_size), *improvement, number(x.detectable_difference)]


def _corrected(p: float, adjusted: float) -> str:
    return probability(p) if p == adjusted or not math.isfinite(p) else f"{probability(p)} ({probability(adjusted)})"


def _overall_tables(comparison: Comparison) -> list[Table]:
    """Results over environments: normalised IQM per arm, probability of improvement per pair."""
    overall, tables = comparison.overall, []
    if overall and overall.normalised_iqm:
        title = f"Normalised IQM over {len(overall.environments)} environments"
        rows = [[arm, *_estimate(x)] for arm, x in overall.normalised_iqm.items()]
        note = f"{overall.scale}. Stratified bootstrap over seeds."
        tables.append(Table(title, ["arm", "IQM", "95 % interval"], rows, note))
    if overall and overall.probability_of_improvement:
        title = f"Probability of improvement over {overall.shared} environments"
        rows = [[a, b, *_estimate(x)] for (a, b), x in overall.probability_of_improvement.items()]
        header = ["arm", "other", "P(improvement)", "95 % interval", "paired"]
        tables.append(Table(title, header, rows, "Mean over environments; stratified bootstrap over seeds."))
    return tables


def _estimate(x: Interval | Improvement, digits: int = 3) -> list[str]:
    """An estimate, its interval and, where that is a question, whether it is paired."""
    center, low, high, *paired = x
    interval = f"{low:.{digits}f} to {high:.{digits}f}" if math.isfinite(low) else "n too small"
    return [f"{center:.{digits}f}", interval, *("by seed" if is_paired else "no" for is_paired in paired)]
