"""Carries out a study: which of its cells are to be trained, by how many processes, and what they come to."""

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rlsparse.errors import BROKEN, RlsparseError, UsageError, in_one_line
from rlsparse.run.stop import Stop
from rlsparse.study.cell import Cell
from rlsparse.study.drive import Drive, Options, Tell
from rlsparse.study.jobs import cut
from rlsparse.study.local_pool import LocalPool, usable
from rlsparse.study.pool import Pool
from rlsparse.study.populations import populations
from rlsparse.study.standing import Standing, standing

COMPARISON = "comparison"
"""Folder of a study in which its comparison lies."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """Where jobs run."""

    jobs: int | None = None
    """Processes at once; as many as there are cores if None."""
    on: str | None = None
    """Nothing for this machine, or the address of a Ray cluster."""


def part_of(cells: Sequence[Cell], part: str | None) -> list[Cell]:
    """Return the cells of one part, "2/10", of a study: as many as in the others, of as few populations as can be.

    Parts are counted from 1 or from 0; part 10 of 10 is part 0. Raises UsageError for what is no part.
    """
    if part is None:
        return [*cells]
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", part)
    number, count = map(int, match.groups()) if match else (1, 0)
    if number > count or count == 0:
        raise UsageError(f"--part {part}: expected a number of a part and how many there are, as 2/10")
    number %= count
    ordered = [cell for population in grouped(cells) for cell in population]
    return ordered[number * len(cells) // count : (number + 1) * len(cells) // count]


def grouped(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Return populations: cells that one process can train together."""
    return [[cells[i] for i in group] for group in populations([cell.recipe for cell in cells])]


def jobs_of(cells: Sequence[Cell], slots: int) -> list[list[Cell]]:
    """Return the jobs of the cells that are not finished; those of one job have taken as many steps."""
    left = {cell.folder: now for cell in cells if (now := standing(cell)).state != "finished"}
    groups: list[list[Cell]] = []
    for population in grouped([cell for cell in cells if cell.folder in left]):
        by_steps: dict[int, list[Cell]] = {}
        for cell in population:
            by_steps.setdefault(left[cell.folder].steps, []).append(cell)
        groups += by_steps.values()

    def work(cell: Cell) -> float:
        now = left[cell.folder]
        return max(1, now.budget - now.steps) * len(now.seeds)

    return cut(groups, slots, work, lambda cell: cell.recipe.iteration_steps * cell.recipe.num_seeds)


def carry_out(cells: Sequence[Cell], place: Place, options: Options, stop: Stop, tell: Tell) -> list[Standing]:
    """Train the cells that are not finished, and return how all stand."""
    slots = place.jobs or default_slots(cells, options)
    jobs = jobs_of(cells, slots)
    if not jobs:
        return [standing(cell) for cell in cells]
    pool = pool_of(replace(place, jobs=min(slots, len(jobs))))
    options = replace(options, cores=max(1, len(usable()) // pool.slots) if place.on is None else 1)
    return Drive(cells, pool, options, stop, tell).run(jobs)


def default_slots(cells: Sequence[Cell], options: Options) -> int:
    """Return how many jobs run at once if nobody says it: one for each core; one alone has a GPU for itself."""
    on_gpu = options.device.startswith("cuda") or any(cell.recipe.simulator == "warp" for cell in cells)
    return 1 if on_gpu else len(usable())


def pool_of(place: Place) -> Pool:
    """Return what runs jobs; raises UsageError for a place that there is not."""
    if place.on is None:
        return LocalPool(place.jobs)
    if place.on.partition(":")[0] != "ray":
        raise UsageError(f"--on {place.on}: expected ray, or ray://HOST:PORT")
    raise UsageError(f"--on {place.on}: this version has no Ray")


def compare_finished(standings: Iterable[Standing], out: Path) -> Path | None:
    """Write the comparison of all finished cells, and return its folder; a failure costs only the comparison."""
    from rlsparse.compare.__main__ import CompareFlags, read_and_compare
    from rlsparse.compare.report import write_report

    arms: dict[str, list[str]] = {}
    for x in standings:
        if x.state == "finished" and x.folder is not None:
            arms.setdefault(x.label, []).append(str(x.folder))
    if not arms:
        return None
    flags = CompareFlags(out=out / COMPARISON)
    try:
        write_report(read_and_compare(flags, arms), flags.out, flags.statistic, flags.figure)
    except RlsparseError as error:
        log.warning("no comparison: %s", error)
        return None
    except BROKEN as error:
        log.warning("no comparison: %s", in_one_line(error))
        return None
    return flags.out


def exit_code(standings: Iterable[Standing], received: int = 0) -> int:
    """Return 0 if all cells are finished, that of a signal that was received, else that of the first failure."""
    if received:
        return 128 + received
    return next((x.code for x in standings if x.code), 0)
