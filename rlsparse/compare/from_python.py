"""`rlsparse.compare(...)`: what `rlsparse compare` does, from a script or a notebook."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rlsparse.errors import UsageError

if TYPE_CHECKING:  # imported once there is something to compare
    from rlsparse.compare.comparison import Comparison

Run = str | os.PathLike[str]
"""A run directory, a folder of them, logs of another library, a glob, an agent card, or what `rlsparse.train` gave."""


@dataclass(frozen=True, repr=False)
class Compared:
    """A comparison; printed, it is the report that the command shows."""

    comparison: "Comparison"
    folder: Path | None
    """Where report.html, report.png, curves.csv and report.json lie, if they were to be written."""

    @property
    def account(self) -> dict[str, Any]:
        """All numbers, as report.json has them."""
        from rlsparse.compare.account import account

        return account(self.comparison)

    def __repr__(self) -> str:
        from rlsparse.compare.report import text

        return text(self.comparison)


def from_script(
    *runs: Run | Mapping[str, Run | Iterable[Run]],
    out: Run | None = None,
    x: Literal["steps", "train-steps", "updates", "seconds"] = "steps",
    statistic: Literal["mean", "iqm"] = "mean",
    baseline: str | None = None,
    env: str | None = None,
    allow_mixed: bool = False,
) -> Compared:
    """Compare reward curves at equal environment steps, with intervals over seeds.

    A dict names arms: {"scratch": run, "tuned": [run, run]}. With `out` the page, the picture and the tables are
    written into that folder. Raises UsageError for curves that must not be compared, unless `allow_mixed`, and
    RunDirectoryError where there is nothing to compare.
    """
    from rlsparse.compare.__main__ import CompareFlags, read_and_compare
    from rlsparse.compare.report import write_report

    named = {name: _paths(given) for entry in runs if isinstance(entry, Mapping) for name, given in entry.items()}
    plain = tuple(_path(entry) for entry in runs if not isinstance(entry, Mapping))
    if not plain and not named:
        raise UsageError("compare what? e.g. rlsparse.compare('runs/HalfCheetah-v5')")
    flags = CompareFlags(plain, x=x, baseline=baseline, env=env, allow_mixed=allow_mixed)
    comparison = read_and_compare(flags, named)
    folder = None if out is None else Path(out)
    if folder is not None:
        write_report(comparison, folder, statistic, flags.figure)
    return Compared(comparison, folder)


def _paths(given: Run | Iterable[Run]) -> list[str]:
    if isinstance(given, str | os.PathLike) or not isinstance(given, Iterable):
        return [_path(given)]
    return [_path(run) for run in given]


def _path(run: object) -> str:
    if isinstance(run, str | os.PathLike):
        return os.fspath(run)
    raise UsageError(f"expected a run, a path, or a dict of them by the names of arms, not {run!r}")
