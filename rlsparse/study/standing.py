"""How the cells of a study stand, as their run directories tell it."""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rlsparse.errors import RlsparseError, RunDirectoryError
from rlsparse.run.directory import PROMISED, read_progress
from rlsparse.run.lock import Lock
from rlsparse.run.records import last_returns
from rlsparse.sim.user_classes import shown_name
from rlsparse.study.cell import Cell
from rlsparse.study.changed import differences
from rlsparse.study.outcome import read_status
from rlsparse.study.study import Failure

State = Literal["waiting", "running", "finished", "interrupted", "in use", "failed"]

STEPS = ("total_steps",)
"""Columns of progress.csv that tell steps."""

IN_USE = " is in use by "
"""What is said of a run directory that another process holds."""


@dataclass(frozen=True)
class Standing:
    """How a cell stands."""

    label: str
    env: str
    seeds: range
    budget: int
    """Steps that each seed is to take."""
    folder: Path | None = None
    """Run directory; None for a cell whose recipe is refused."""
    state: State = "waiting"
    steps: int = 0
    """Those that the seed with most of them has taken."""
    returns: tuple[float, ...] = ()
    """Of the last evaluation of each seed; none before the first."""
    rate: float = 0.0
    """Steps of one seed a second; 0 if it is not known."""
    reason: str = ""
    """In one line why it failed, or who else holds it."""
    code: int = 0
    """Exit code that a failure has."""
    arm: str = ""
    setting: dict[str, Any] = field(default_factory=dict, hash=False)
    """Value of each swept field, by dotted name."""

    @property
    def share(self) -> float:
        """Share of the budget that is spent, at most 1."""
        return min(1.0, self.steps / self.budget) if self.budget else 0.0

    @property
    def seconds_left(self) -> float | None:
        """How long it will take still, None if that is not known."""
        return max(0, self.budget - self.steps) / self.rate if self.rate else None


def standing(cell: Cell) -> Standing:
    """Return how a cell stands by what its run directory tells, failed if that is another run; no file is written."""
    recipe = cell.recipe
    fresh = Standing(
        cell.label,
        shown_name(recipe.env),
        recipe.seeds,
        recipe.total_steps,
        cell.folder,
        arm=cell.arm,
        setting=cell.setting,
    )
    if not begun(cell.folder):
        return fresh
    try:
        reason = differences(cell)
    except RlsparseError as error:
        reason = str(error)
    status = read_status(cell.folder)
    fresh = replace(fresh, steps=steps_of(status), returns=returns_of(cell.folder, recipe.seeds))
    if reason:
        return replace(fresh, state="failed", reason=reason, code=RunDirectoryError.exit_code)
    return replace(fresh, state="finished" if is_finished(cell.folder, status) else "waiting")


def refused(failure: Failure) -> Standing:
    """Return how a cell stands that is refused."""
    x, nobody = failure, range(0)
    return Standing(
        x.label, x.env, nobody, 0, state="failed", reason=x.reason, code=x.code, arm=x.arm, setting=x.setting
    )


def begun(folder: Path) -> bool:
    """Whether a run has begun in this folder."""
    return os.path.exists(folder / "recipe.toml")  # also where no file can be called so


def is_finished(folder: Path, status: dict[str, Any]) -> bool:
    """Whether a run is finished by its status, and all is there that a finished run promises."""
    return status.get("state") == "finished" and all((folder / name).is_file() for name in PROMISED)


def steps_of(status: dict[str, Any]) -> int:
    """Return how many steps a status tells of."""
    steps = status.get("total_steps")
    return steps if type(steps) is int else 0


def returns_of(folder: Path, seeds: range) -> tuple[float, ...]:
    """Return what the last evaluation of each seed gave, nothing if there was none or it cannot be read."""
    with suppress(RlsparseError):
        found = last_returns(read_progress(folder / "progress.csv"), seeds)
        return tuple(map(float, found[~np.isnan(found)]))
    return ()


def evaluated(folder: Path) -> int:
    """Return after how many steps the last evaluation was, which comes more often than a status; 0 if none is known."""
    with suppress(RlsparseError, KeyError):
        return max((int(row["total_steps"]) for row in read_progress(folder / "progress.csv", STEPS)), default=0)
    return 0


def holder(folder: Path) -> str:
    """Say in one line who else holds a run directory, or why it cannot be held; nothing if it is free."""
    try:
        Lock(folder).release()
    except RunDirectoryError as error:
        return str(error)
    return ""


@dataclass
class Watch:
    """Looks at a cell that is being trained, and reads again only what has changed."""

    last: Standing
    before: dict[str, Any] = field(default_factory=dict)
    """What the status was before this session."""
    _changed: dict[str, int] = field(default_factory=dict)
    """When each file was last written (ns), by its name."""
    _first: tuple[float, int] | None = None
    """When the first of them was written in this session (s), and the steps that it told."""

    def __post_init__(self) -> None:
        assert self.last.folder is not None
        for name in ("status.json", "progress.csv"):  # of an earlier session, whose times say nothing of this one
            self._written(self.last.folder / name)

    def look(self) -> Standing:
        """Return how the cell stands now."""
        folder = self.last.folder
        assert folder is not None
        if written := self._written(folder / "status.json"):
            status = read_status(folder)
            self._took(steps_of(status), written)
            if status.get("state") == "failed" and status != self.before:  # others are trained on beside it
                self.last = replace(self.last, state="failed", reason=str(status.get("reason", "")))
        if written := self._written(folder / "progress.csv"):
            self.last = replace(self.last, returns=returns_of(folder, self.last.seeds) or self.last.returns)
            self._took(max(self.last.steps, evaluated(folder)), written)
        return self.last

    def _took(self, steps: int, written: int) -> None:
        """Note how many steps a file told when it was written (ns)."""
        begun, first_steps = self._first = self._first or (written / 1e9, steps)
        seconds = written / 1e9 - begun
        rate = (steps - first_steps) / seconds if seconds > 0 else self.last.rate
        self.last = replace(self.last, steps=steps, rate=max(rate, 0.0))

    def _written(self, path: Path) -> int:
        """Return when a file was written, if that is later than when it was last looked at; else 0."""
        with suppress(OSError):
            written = path.stat().st_mtime_ns
            if self._changed.get(path.name) != written:
                self._changed[path.name] = written
                return written
        return 0


def count(standings: Iterable[Standing], state: State) -> int:
    """Return how many cells are in a state."""
    return sum(x.state == state for x in standings)
