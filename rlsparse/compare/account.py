"""A comparison as plain data: report.json, and the block inside every picture."""

import hashlib
import json
import math
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np

from rlsparse.compare.cells import Cell, Panel
from rlsparse.compare.comparison import Comparison
from rlsparse.compare.contrasts import Contrast
from rlsparse.compare.record import Log
from rlsparse.compare.statistics import Interval
from rlsparse.run.version import __version__

FORMAT = 1
"""Raised when a reader of report.json would have to change."""


def account(comparison: Comparison) -> dict[str, Any]:
    """Return everything but the curves, JSON-ready: what is not finite is None."""
    overall = comparison.overall
    return _plain(
        {
            **provenance(comparison),
            "environments": {panel.env: _panel(panel) for panel in comparison.panels},
            "contrasts": [_contrast(x) for x in comparison.contrasts],
            "overall": overall
            and {
                "environments": overall.environments,
                "scale": overall.scale,
                "normalised_iqm": {arm: _interval(x) for arm, x in overall.iqm.items()},
                "thresholds": overall.thresholds if overall.profiles else [],
                "performance_profile": {arm: _interval(x) for arm, x in overall.profiles.items()},
                "probability_of_improvement": [
                    {"arm": a, "other": b, **_interval(x), "paired": paired}
                    for (a, b), (x, paired) in overall.improvement.items()
                ],
            },
        }
    )


def provenance(comparison: Comparison) -> dict[str, Any]:
    """Return what a picture carries inside: where its numbers come from and how they were made."""
    return _plain(
        {
            "format": FORMAT,
            "rlsparse": __version__,
            "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            "measure": comparison.measure,
            "axis": comparison.axis,
            "baseline": comparison.baseline,
            "arms": comparison.arms,
            "mismatches": comparison.mismatches,
            "remarks": comparison.remarks,
            "intervals": "95 %; mean: Student-t; IQM: Student-t of the trimmed mean below 10 seeds, else bootstrap; "
            "over environments: stratified bootstrap; differences: Welch",
            "n": {panel.env: {arm: cell.n for arm, cell in panel.cells.items()} for panel in comparison.panels},
            "steps_per_seed": {
                panel.env: {arm: cell.spent for arm, cell in panel.cells.items()} for panel in comparison.panels
            },
            "runs": [_run(log) for log in comparison.logs],
        }
    )


def _run(log: Log) -> dict[str, Any]:
    settings = json.dumps(log.settings, sort_keys=True, default=str)
    return {
        "path": str(log.path),
        "kind": log.kind,
        "agent": log.agent,
        "environment": log.env,
        "seeds": [curve.seed for curve in log.curves],
        "state": log.state,
        "recipe_sha256": hashlib.sha256(settings.encode()).hexdigest() if log.settings else None,
        "versions": log.versions,
    }


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "start": panel.start,
        "end": panel.end,
        "threshold": panel.threshold,
        "arms": {arm: _cell(cell) for arm, cell in panel.cells.items()},
    }


def _cell(cell: Cell) -> dict[str, Any]:
    return {
        **cell.summary,
        "seeds": cell.seeds,
        "final_returns": cell.finals,
        "areas": cell.areas,
        "threshold_reached_at": cell.reached,
        "left_out": [{"seed": x.label, "why": x.why} for x in cell.left_out],
        "steps_per_seed": cell.spent,
    }


def _contrast(x: Contrast) -> dict[str, Any]:
    return {
        "environment": x.env,
        "arm": x.arm,
        "other": x.other,
        "n": [x.n, x.n_other],
        "difference": x.difference.mean,
        "low": x.difference.low,
        "high": x.difference.high,
        "p_welch": x.difference.p,
        "p_permutation": x.permutation_p,
        "p_welch_holm": x.adjusted_p,
        "p_permutation_holm": x.adjusted_permutation_p,
        "effect_size": x.effect,
        "probability_of_improvement": {**_interval(x.improvement), "paired": x.paired},
        "detectable_difference": x.detectable,
        "verdict": x.verdict,
    }


def _interval(x: Interval) -> dict[str, Any]:
    return dict(zip(("estimate", "low", "high"), x, strict=True))


def _plain(value: Any) -> Any:
    """Turn numpy into lists and numbers, and what JSON has no word for into None."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
