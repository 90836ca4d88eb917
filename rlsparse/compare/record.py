"""A log and its curves, whatever wrote it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rlsparse.errors import RunDirectoryError

Axis = Literal["steps", "train-steps", "updates", "seconds"]
"""What a curve can be drawn against: train + probe steps, train steps, policy updates, wall-clock time."""

Axes = dict[Axis, np.ndarray]

AXIS_LABELS: dict[Axis, str] = {
    "steps": "environment steps per seed (train + probe)",
    "train-steps": "training steps per seed (probe steps NOT counted)",
    "updates": "policy updates (rollouts learnt from; environment steps NOT equal)",
    "seconds": "wall-clock seconds of the whole run, evaluation included",
}

EVALUATION = "evaluation return"
TRAINING = "training return, mean of the last 100 episodes"

MOST_STEPS = 2**53
"""Whole numbers up to here have a float of their own; no run has taken so many steps."""

PROBES_COUNTED = "train + probe"
PROBES_UNKNOWN = "as logged: training steps, probe steps unknown"


class UnreadableLog(RunDirectoryError):
    """A log that holds no curve: one sentence with its path."""


@dataclass(frozen=True)
class Curve:
    """The returns of one seed."""

    seed: int | None
    """None if the log does not say."""
    axes: Axes
    """What had been spent at each point, each [P]; the axes that the log knows."""
    returns: np.ndarray
    """[P]"""
    spent: dict[str, int] = field(default_factory=dict)
    """Steps at the last point: train, probe, eval, as far as the log knows them."""
    broken: str = ""
    """Why the curve stops before its time, if it does: returns that are not finite."""


@dataclass(frozen=True)
class Log:
    """What one run directory, folder or file says."""

    path: Path
    kind: str
    """What wrote it, in words."""
    agent: str
    env: str | None
    """Environment id; None if the log does not say."""
    measure: str
    """What kind of return: EVALUATION, TRAINING or a TensorBoard tag."""
    curves: tuple[Curve, ...]
    accounting: str = PROBES_UNKNOWN
    """What its steps count."""
    missing: tuple[int, ...] = ()
    """Seeds that the run was to have but has no row of."""
    state: str = ""
    """running, finished, interrupted, failed, killed; empty if the log does not say."""
    reason: str = ""
    """Why it is in that state."""
    settings: dict[str, Any] = field(default_factory=dict)
    """The recipe's fields by dotted name."""
    versions: dict[str, str] = field(default_factory=dict)
    """Packages, and the backend, that decide what the environment computes."""
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of the user's own files that decide what the environment is, by name."""
    episodes: tuple[int, ...] = ()
    """Episodes behind each point; several numbers if they differ."""
    started: str = ""
    """ISO time; of two runs of the same seed the newer one counts."""
    remarks: tuple[str, ...] = ()
    """What had to be left out in reading."""
    instead_of: str = ""
    """Why a better file of the same run could not be read."""
    span: tuple[float, float] | None = None
    """When it was written, in seconds of the world's clock, as far as the log says."""
    argument: str = ""
    """What named it."""


def rising(at: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sort points by x, keep the last of equal x, and leave out x that are not finite."""
    finite = np.isfinite(at)
    x, last = np.unique(at[finite][::-1], return_index=True)
    return x, y[finite][::-1][last]


def log_of_one_curve(path: Path, kind: str, measure: str, axes: Axes, returns: np.ndarray, **known: Any) -> Log:
    """Return a log of one curve in the order of its steps, without the points that are not finite."""
    finite = np.flatnonzero(np.isfinite(returns) & (np.abs(axes["steps"]) < MOST_STEPS))
    _, rows = rising(axes["steps"][finite], finite)
    axes = {name: values[rows] for name, values in axes.items()}
    spent = {"train": int(axes["train-steps"][-1])} if "train-steps" in axes and len(rows) else {}
    return Log(path, kind, "", known.pop("env", None), measure, (Curve(None, axes, returns[rows], spent),), **known)


def some(items: Sequence[object], most: int = 4) -> str:
    """Name a few of many."""
    return ", ".join(map(str, items[:most])) + (f" and {len(items) - most} more" if len(items) > most else "")
