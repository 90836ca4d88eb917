"""What a study has left, in Python: its runs by arm, environment and setting, its failures, its comparison."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlsparse.errors import UsageError, nearest
from rlsparse.study.cell import Cell
from rlsparse.study.ranking import Ranked, ranked
from rlsparse.study.standing import Standing
from rlsparse.study.table import table
from rlsparse.trained.result import TrainedRun

if TYPE_CHECKING:  # plotting is imported once there is something to compare
    from rlsparse.compare.from_python import Compared


@dataclass(frozen=True, repr=False)
class StudyRun(TrainedRun):
    """A finished run of a study; several of them may have other seeds of the same arm, environment and setting."""

    arm: str = ""
    setting: dict[str, Any] = field(default_factory=dict, hash=False)
    """Value of each swept field, by dotted name."""

    @property
    def environment(self) -> str:
        """The id of its environment."""
        return self.recipe.env


@dataclass(frozen=True, repr=False)
class Sweep:
    """A study as it stands after `rlsparse.sweep`; printed, it is the table that the command shows."""

    folder: Path
    runs: tuple[StudyRun, ...]
    """Those that are finished."""
    standings: tuple[Standing, ...]
    """Of all cells, in the order of arms, environments and settings."""
    comparison: "Compared | None" = None
    """Of all finished runs; `comparison.folder` has report.html. None where nothing could be compared."""

    @property
    def failures(self) -> tuple[Standing, ...]:
        """The cells that are not finished; `reason` says in one line why."""
        return tuple(x for x in self.standings if x.state != "finished")

    def ranked(self, environment: str | None = None) -> list[Ranked]:
        """Return all arms with settings of which runs are finished, by environment, the highest mean return first.

        With an `environment` those in it only. Each has mean, interval, returns, setting and folders.
        """
        found = ranked(self.standings)
        if environment is None:
            return found
        names = list(dict.fromkeys(x.environment for x in found))
        for name in names:
            if environment.casefold() in (name.casefold(), name.rpartition("-v")[0].casefold()):
                return [x for x in found if x.environment == name]
        near = nearest(environment, names)
        hint = f"did you mean {near}?" if near else f"there are {', '.join(names) or 'no finished runs'}"
        raise UsageError(f"the study has no finished runs on {environment!r}: {hint}")

    def best(self, environment: str | None = None) -> Ranked:
        """Return the arm and setting with the highest mean return in an environment, which need not be named if alone.

        Its mean is a maximum, and so no score: to tell how good it is, train it again with seeds of their own.
        """
        found = self.ranked(environment)
        names = list(dict.fromkeys(x.environment for x in found))
        if len(names) != 1:
            says = f"best of which environment? {' or '.join(names)}" if names else "no run of the study is finished"
            raise UsageError(says)
        return found[0]

    def table(self) -> str:
        """Return a line for each cell, and how the whole study stands."""
        return table(self.standings)

    def __repr__(self) -> str:
        return self.table()


def finished_runs(cells: Sequence[Cell], standings: Iterable[Standing]) -> tuple[StudyRun, ...]:
    """Return the runs of the cells that are finished."""
    from rlsparse.run.directory import read_recipe

    done = {x.folder for x in standings if x.state == "finished"}
    return tuple(
        StudyRun(cell.folder, read_recipe(cell.folder), cell.agent, "finished", cell.arm, cell.setting)
        for cell in cells
        if cell.folder in done
    )
