"""A log and its curves, whatever wrote it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rlsparse.errors import RunDirectoryError

Axis = Literal["steps", "train-steps", "updates", "seconds"]
"""What a curve can be drawn against: train + probe steps, train steps, policy updates, wall-clock time."""

AXIS_LABELS: dict[Axis, str] = {
    "steps": "environment steps per seed (train + probe)",
    "train-steps": "training steps per seed (probe steps NOT counted)",
    "updates": "policy updates (rollouts learnt from; environment steps NOT equal)",
    "seconds": "wall-clock seconds of the whole run, evaluation included",
}

EVALUATION = "evaluation return"
TRAINING = "training return, mean of the last 100 episodes"

PROBES_COUNTED = "train + probe"
PROBES_UNKNOWN = "as logged: training steps, probe steps unknown"


class UnreadableLog(RunDirectoryError):
    """A log that holds no curve: one sentence with its path."""


@dataclass(frozen=True)
class Curve:
    """The returns of one seed."""

    seed: int | None
    """None if the log does not say."""
    axes: dict[Axis, np.ndarray]
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
    episodes: tuple[int, ...] = ()
    """Episodes behind each point; several numbers if they differ."""
    started: str = ""
    """ISO time; of two runs of the same seed the newer one counts."""
    remarks: tuple[str, ...] = ()
    """What had to be left out in reading."""


def rising(at: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sort points by x, keep the last of equal x, and leave out x that are not finite."""
    finite = np.isfinite(at)
    x, last = np.unique(at[finite][::-1], return_index=True)
    return x, y[finite][::-1][last]
