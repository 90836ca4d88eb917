"""report.csv, the numbers of the tables, and curves.csv, the lines and bands of the picture."""

import csv
import io
from collections.abc import Iterable
from typing import Any

import numpy as np

from rlsparse.compare.cells import Cell, Panel
from rlsparse.compare.comparison import Comparison

SCORES = ("n", "mean", "std", "iqm", "min", "max", "low", "high", "iqm_low", "iqm_high")


def report_csv(comparison: Comparison) -> str:
    """Return one row per environment and arm: final performance, area, steps to the threshold, steps spent."""
    return _csv(_row(comparison, panel, cell) for panel in comparison.panels for cell in panel.cells.values())


def curves_csv(comparison: Comparison) -> str:
    """Return one row per environment, arm and point: mean and IQM over seeds, with the ends of their intervals."""
    return _csv(
        {"environment": panel.env, "arm": cell.arm, comparison.axis: x, "n": cell.n, **point}
        for panel in comparison.panels
        for cell in panel.cells.values()
        if cell.n
        for x, point in zip(cell.x.tolist(), _points(cell), strict=True)
    )


def _points(cell: Cell) -> Iterable[dict[str, float]]:
    names = ("mean", "low", "high", "iqm", "iqm_low", "iqm_high")
    for values in np.stack([*cell.mean, *cell.iqm], 1).tolist():
        yield dict(zip(names, values, strict=True))


def _row(comparison: Comparison, panel: Panel, cell: Cell) -> dict[str, Any]:
    scores = cell.summary
    reached = np.isfinite(cell.reached)
    return {
        "environment": panel.env,
        "arm": cell.arm,
        "measure": comparison.measure,
        "x": comparison.axis,
        "from": panel.start,
        "to": panel.end,
        **{name: scores.get(name, np.nan) for name in SCORES},
        "left_out": len(cell.left_out),
        "area": cell.areas.mean() if cell.n else np.nan,
        "threshold": panel.threshold,
        "reached": int(reached.sum()),
        "reached_at_median": np.median(cell.reached) if reached.any() else np.inf,
        **{f"{name}_steps": cell.spent.get(name, np.nan) for name in ("train", "probe", "eval")},
    }


def _csv(rows: Iterable[dict[str, Any]]) -> str:
    text, writer = io.StringIO(), None
    for row in rows:
        if writer is None:
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(row)
        writer.writerow(_cell_text(value) for value in row.values())
    return text.getvalue()


def _cell_text(value: Any) -> Any:
    """A number as it is, nothing for NaN, and text that a spreadsheet cannot take for a formula."""
    if isinstance(value, float) and np.isnan(value):
        return ""
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+@\t" and value else value
