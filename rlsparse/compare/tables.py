"""The tables of a report, as text; terminal and page lay them out."""

import math
from dataclasses import dataclass, field

import numpy as np

from rlsparse.compare.cells import Cell, Panel
from rlsparse.compare.comparison import Comparison
from rlsparse.compare.contrasts import Contrast
from rlsparse.compare.statistics import Interval


@dataclass
class Table:
    """A header, rows of as many texts, and notes below."""

    title: str
    header: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)


def number(x: float) -> str:
    """Return a number with a few significant digits, or a dash."""
    if not math.isfinite(x):
        return "-"
    size = abs(x)
    text = (
        f"{x:,.0f}"
        if size >= 1000
        else f"{x:,.1f}"
        if size >= 10
        else f"{x:.2f}"
        if size >= 0.1 or x == 0
        else f"{x:.2g}"
    )
    return "0" if text.strip("-0.") == "" and x == 0 else text


def between(low: float, high: float) -> str:
    """Return an interval, or a dash."""
    return f"{number(low)} to {number(high)}" if math.isfinite(low) and math.isfinite(high) else "-"


def probability(p: float) -> str:
    """Return a p-value, or a dash."""
    return "-" if not math.isfinite(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def final_table(panel: Panel, comparison: Comparison) -> Table:
    """Final performance in one environment."""
    return Table(
        title=f"{panel.env}: {comparison.measure}, last 10 % of points up to {panel.end:,.0f}",
        header=[
            "arm",
            "n",
            "mean",
            "std",
            "IQM",
            "95 % interval",
            "min",
            "max",
            "area",
            f"reaches {number(panel.threshold)} at",
        ],
        rows=[_final_row(cell) for cell in panel.cells.values()],
    )


def _final_row(cell: Cell) -> list[str]:
    n = cell.n_text.removeprefix("n=")
    if not cell.n:
        return [cell.arm, n, *["-"] * 8]
    x = cell.summary
    interval = between(x["low"], x["high"]) if cell.n >= 3 else "n too small"
    middle = [number(x[name]) for name in ("mean", "std", "iqm")]
    return [
        cell.arm,
        n,
        *middle,
        interval,
        number(x["min"]),
        number(x["max"]),
        number(float(cell.areas.mean())),
        _reach(cell),
    ]


def _reach(cell: Cell) -> str:
    """Median over all seeds of where they reach the threshold, and how many do."""
    reached = int(np.isfinite(cell.reached).sum())
    median = float(np.median(cell.reached)) if reached else math.inf
    return f"{number(median)} ({reached} of {cell.n})"


FINAL_NOTES = [
    "95 % interval: Student-t, of the mean over seeds. area: mean return over the whole range. reaches: the median "
    "seed's first time, and how many seeds get there; the threshold is the lowest final mean unless --threshold sets "
    "it.",
]


def contrast_tables(contrasts: list[Contrast]) -> list[Table]:
    """Differences of final performance: the tests, and how large the differences are."""
    if not contrasts:
        return []
    tests = [
        [*who, number(x.difference.mean), between(x.difference.low, x.difference.high),
         _corrected(x.difference.p, x.adjusted_p), _corrected(x.permutation_p, x.adjusted_permutation_p), x.verdict]
        for who, x in zip(_who(contrasts), contrasts, strict=True)
    ]  # fmt: skip
    sizes = [
        [*who, number(x.effect), f"{float(x.improvement[0]):.2f}", between(*map(float, x.improvement[1:])),
         "by seed" if x.paired else "no", number(x.detectable)]
        for who, x in zip(_who(contrasts), contrasts, strict=True)
    ]  # fmt: skip
    who = ["environment", "arm - other", "n"]
    return [
        Table(
            "Differences of final performance",
            [*who, "difference", "95 % interval", "p Welch", "p permutation", "verdict"],
            tests,
            _test_notes(contrasts),
        ),
        Table(
            "How large they are, and could have been",
            [*who, "d", "P(improvement)", "95 % interval", "paired", "detectable"],
            sizes,
            [
                "d: difference over the pooled standard deviation. detectable: the smallest difference that so many "
                "seeds find in 80 % of experiments."
            ],
        ),
    ]


def _who(contrasts: list[Contrast]) -> list[list[str]]:
    return [[x.env, f"{x.arm} - {x.other}", f"{x.n}, {x.n_other}"] for x in contrasts]


def _corrected(p: float, adjusted: float) -> str:
    return probability(p) if p == adjusted or not math.isfinite(p) else f"{probability(p)} ({probability(adjusted)})"


def _test_notes(contrasts: list[Contrast]) -> list[str]:
    several = f"p in brackets: after Holm's correction for {len(contrasts)} comparisons. " if len(contrasts) > 1 else ""
    return [several + "*: both (corrected) p below 0.05, with 5 seeds or more in both arms."]


def overall_tables(comparison: Comparison) -> list[Table]:
    """Results over environments: normalised IQM per arm, probability of improvement per pair."""
    overall = comparison.overall
    if overall is None:
        return []
    tables = []
    if overall.iqm:
        tables.append(
            Table(
                title=f"Normalised IQM over {len(overall.environments)} environments",
                header=["arm", "IQM", "95 % interval"],
                rows=[[arm, *_interval_cells(x)] for arm, x in overall.iqm.items()],
                notes=[f"{overall.scale}. Stratified bootstrap over seeds."],
            )
        )
    if overall.improvement:
        rows = [
            [f"{a} over {b}", *_interval_cells(x), "by seed" if paired else "no"]
            for (a, b), (x, paired) in overall.improvement.items()
        ]
        header = ["arm over other", "P(improvement)", "95 % interval", "paired"]
        title = f"Probability of improvement over {overall.shared} environments"
        tables.append(Table(title, header, rows, ["Mean over environments; stratified bootstrap over seeds."]))
    return tables


def _interval_cells(interval: Interval) -> list[str]:
    center, low, high = map(float, interval)
    return [f"{center:.3f}", f"{low:.3f} to {high:.3f}" if math.isfinite(low) else "n too small"]


def steps_table(comparison: Comparison) -> Table:
    """Where the steps went: three kinds, apart."""
    rows = [
        [panel.env, cell.arm, *(_count(cell.spent.get(name)) for name in ("train", "probe", "eval"))]
        for panel in comparison.panels
        for cell in panel.cells.values()
    ]
    return Table(
        title="Environment steps per seed, whole logs",
        header=["environment", "arm", "train", "probe", "evaluation"],
        rows=rows,
        notes=["Training and probing make the x axis; evaluation only reports. -: not logged."],
    )


def _count(steps: float | None) -> str:
    return "-" if steps is None else f"{steps:,.0f}"
