"""A comparison as plain data: report.json, and the block inside every picture."""

import hashlib
import json
import math
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np

from rlsparse.compare.cells import Cell
from rlsparse.compare.comparison import Comparison
from rlsparse.compare.contrasts import Overall
from rlsparse.compare.record import Log
from rlsparse.run.version import __version__

FORMAT = 1
"""Raised when a reader of report.json would have to change."""


def account(comparison: Comparison) -> dict[str, Any]:
    """Return everything but the curves, JSON-ready: what is not finite is None."""
    environments = {
        panel.env: {
            "start": panel.start,
            "end": panel.end,
            "threshold": panel.threshold,
            "arms": {arm: _cell(cell) for arm, cell in panel.cells.items()},
        }
        for panel in comparison.panels
    }
    contrasts = [{**vars(x), "verdict": x.verdict} for x in comparison.contrasts]
    overall = comparison.overall and _overall(comparison.overall)
    plain: dict[str, Any] = _plain({"environments": environments, "contrasts": contrasts, "overall": overall})
    return provenance(comparison) | plain


def provenance(comparison: Comparison) -> dict[str, Any]:
    """Return what a picture carries inside: where its numbers come from and how they were made."""
    panels = comparison.panels
    plain: dict[str, Any] = _plain(
        {
            "format": FORMAT,
            "rlsparse": __version__,
            "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            **{name: getattr(comparison, name) for name in ("measure", "axis", "baseline", "arms", "mismatches")},
            "remarks": comparison.remarks,
            "intervals": "95 %; mean: Student-t; IQM: Student-t of the trimmed mean below 10 seeds, else bootstrap; "
            "over environments: stratified bootstrap; differences: Welch",
            "n": {panel.env: {arm: cell.n for arm, cell in panel.cells.items()} for panel in panels},
            "steps_per_seed": {panel.env: {arm: cell.spent for arm, cell in panel.cells.items()} for panel in panels},
            "runs": [_run(log) for log in comparison.logs],
        }
    )
    return plain


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


def _cell(cell: Cell) -> dict[str, Any]:
    return {
        **cell.summary,
        "seeds": cell.seeds,
        "final_returns": cell.finals,
        "areas": cell.areas,
        "threshold_reached_at": cell.reached,
        "left_out": [{"seed": x.member.label, "why": x.why} for x in cell.left_out],
        "steps_per_seed": cell.spent,
    }


def _overall(overall: Overall) -> dict[str, Any]:
    pairs = overall.probability_of_improvement.items()
    known = vars(overall) | {
        "probability_of_improvement": [{"arm": a, "other": b, **x._asdict()} for (a, b), x in pairs]
    }
    return {name: x for name, x in known.items() if name not in ("shared", "remarks")}


def _plain(value: Any) -> Any:
    """Turn numpy into lists and numbers, and what JSON has no word for into None."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
