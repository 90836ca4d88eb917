"""Trains the cells of a study: those that are not finished, in as many processes as a pool has slots."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, replace
from pathlib import Path

from rlsparse.errors import BROKEN, RlsparseError, RunDirectoryError, UsageError, in_one_line
from rlsparse.run import directory
from rlsparse.run.flags import TrainFlags
from rlsparse.run.foreign import COMMAND
from rlsparse.run.reading import printable, read_text, shorten
from rlsparse.run.status import Settings
from rlsparse.run.stop import Stop
from rlsparse.study.cell import Cell
from rlsparse.study.changed import differences
from rlsparse.study.local_pool import LOG
from rlsparse.study.outcome import read_status
from rlsparse.study.pool import Ended, Job, Pool
from rlsparse.study.standing import IN_USE, Standing, State, Watch, begun, holder, is_finished, standing
from rlsparse.train.training import Planned, planned

LOOK = 0.5
"""Seconds between two looks at the run directories."""

log = logging.getLogger(__name__)

Tell = Callable[[Sequence[Standing]], None]


@dataclass(frozen=True)
class Options:
    """How runs of a study are made and trained; it changes no result."""

    device: str = "auto"
    trust: bool = False
    """Run the code of the environments that the runs name."""
    cores: int = 1
    """Cores of each job."""
    gpus: float = 0.0
    """GPUs of each job, or the share of one."""
    settings: Settings = Settings()
    """Of run directories that are made."""


class Drive:
    """One pass over the cells of a study."""

    def __init__(
        self,
        cells: Sequence[Cell],
        pool: Pool,
        options: Options,
        stop: Stop,
        tell: Tell,
        standings: Sequence[Standing] | None = None,
    ) -> None:
        before = [*map(standing, cells)] if standings is None else standings
        self.standings = {cell.folder: x for cell, x in zip(cells, before, strict=True)}
        """By run directory, in the order of the cells."""
        self._cells = {cell.folder: cell for cell in cells}
        self._pool, self._options, self._stop, self._tell = pool, options, stop, tell
        self._waiting: deque[list[Cell]] = deque()
        self._running: dict[Path, Watch] = {}

    def run(self, jobs: Iterable[Sequence[Cell]]) -> list[Standing]:
        """Train the cells of these jobs, each together, to their ends or until told to stop; return how all stand."""
        self._waiting.extend(map(list, jobs))
        used = 0
        self._look()
        try:
            while (self._waiting or used) and not self._stop():
                while self._waiting and used < self._pool.slots and not self._stop():
                    used += self._start(self._waiting.popleft())
                self._look()
                for ended in self._pool.ended(LOOK) if used else ():
                    used -= 1
                    self._after(ended)
                if not (self._waiting or used):
                    self._waiting.extend([cell] for cell in self._freed())
        finally:
            self._pool.stop()
            for ended in self._pool.ended(0.0):
                self._after(ended)
            self._look()
        return [*self.standings.values()]

    def _freed(self) -> list[Cell]:
        """Return the cells that another process had and has no more."""
        had = [folder for folder, x in self.standings.items() if x.state == "in use"]
        done = {folder for folder in had if is_finished(folder, read_status(folder))}
        return [self._cells[folder] for folder in had if folder in done or not holder(folder)]

    def _start(self, cells: Sequence[Cell]) -> bool:
        """Start a job of those of its cells that can be trained now; returns whether there are any."""
        ready = [cell for cell in cells if not self._stop() and self._prepared(cell)]
        if not ready or self._stop():
            return False
        for cell in ready:
            self.standings[cell.folder] = now = replace(self.standings[cell.folder], state="running")
            self._running[cell.folder] = Watch(now, read_status(cell.folder))
        folders = tuple(cell.folder for cell in ready)
        environment = ready[0].recipe.environment  # that of all: they are trained together
        trusted = (environment.id, *environment.wrappers) if self._options.trust else ()
        self._pool.start(Job(folders, self._options.cores, self._options.gpus, trusted))
        return True

    def _prepared(self, cell: Cell) -> bool:
        """Make sure that a cell has a run directory that nobody holds; whether it is to be trained."""
        self.standings[cell.folder] = now = standing(cell)
        if now.state != "waiting":
            return False
        try:
            prepare(cell, self._options)
        except RlsparseError as error:
            in_use = IN_USE in str(error)
            self._end(cell.folder, "in use" if in_use else "failed", str(error), error.exit_code)
        except BROKEN as error:
            self._end(cell.folder, "failed", in_one_line(error), 1)
        else:
            return True
        return False

    def _after(self, ended: Ended) -> None:
        """Say of each cell of a job that is over how it ended; those that a crash has taken along go on in halves."""
        several = len(ended.job.folders) > 1
        lost = [folder for folder in ended.job.folders if not self._told(folder, ended, several)]
        for folder in lost:
            self.standings[folder] = replace(self.standings[folder], state="waiting")
        halves = lost[: len(lost) // 2], lost[len(lost) // 2 :]
        self._waiting.extend([self._cells[folder] for folder in half] for half in halves if half)

    def _told(self, folder: Path, ended: Ended, several: bool) -> bool:
        """Say how a cell ended; whether that is known, or not, as where `several` cells were trained together."""
        watch, status = self._running.pop(folder), read_status(folder)
        self.standings[folder] = watch.look()
        told, state = status != watch.before, status.get("state")
        if is_finished(folder, status):
            self._end(folder, "finished")
        elif IN_USE in (reason := holder(folder)):
            self._end(folder, "in use", reason, RunDirectoryError.exit_code)
        elif told and state == "failed":
            self._end(folder, "failed", str(status.get("reason", "")), ended.code or 1)
        elif self._stop():
            self._end(folder, "interrupted")
        elif told and state == "interrupted":
            self._end(folder, "interrupted", f"by {status.get('reason')}", ended.code)
        elif several:
            return False
        else:
            reason = ended.reason or f"its process ended with exit code {ended.code}{last_words(folder)}"
            self._end(folder, "failed", reason, ended.code or 1)
        return True

    def _end(self, folder: Path, state: State, reason: str = "", code: int = 0) -> None:
        self.standings[folder] = replace(self.standings[folder], state=state, reason=reason, code=code)

    def _look(self) -> None:
        for folder, watch in self._running.items():
            self.standings[folder] = watch.look()
        self._tell([*self.standings.values()])


def prepare(cell: Cell, options: Options) -> None:
    """Make the run directory of a cell, unless it is there; raises RlsparseError where it cannot be trained.

    It begins as every run does: the recipe is checked, and its environment tried.
    """
    if begun(cell.folder):
        _check_begun(cell)
        return
    settings = options.settings
    flags = TrainFlags(cell.recipe, run_dir=cell.folder, device=options.device, quiet=True, **vars(settings))
    plan = _planned(cell, flags)
    place = cell.folder
    try:
        directory.create(plan.recipe, cell.agent, flags.out, place, plan.device, settings, plan.unfitted).release()
    except UsageError as error:
        if not begun(place):
            raise RunDirectoryError(f"{place} is there and is no run: remove it, or name another --out") from error
        _check_begun(cell)  # another process has made it meanwhile


def _planned(cell: Cell, flags: TrainFlags) -> Planned:
    """Check the run of a cell; an environment that hangs ends a process of its own, and not this one."""
    context = copy_context()
    if flags.env_timeout is not None:
        context.run(COMMAND.set, False)
    return context.run(planned, cell.recipe, cell.asked, flags)


def _check_begun(cell: Cell) -> None:
    """Raise RunDirectoryError for a run that another process holds, or that is not the one that the study asks for."""
    if reason := holder(cell.folder) or differences(cell):
        raise RunDirectoryError(reason)


def last_words(folder: Path) -> str:
    """Return the last line that the process of a job said beside what its runs tell, after a colon."""
    with suppress(RlsparseError):
        lines = read_text(folder / LOG).split("\n")
        return next((f": {shorten(printable(line.strip()))}" for line in reversed(lines) if line.strip()), "")
    return ""
