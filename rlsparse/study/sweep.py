"""Carries out a study: which of its cells are to be trained, by how many processes, and what they come to."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from rlsparse.errors import UsageError
from rlsparse.run.status import Settings
from rlsparse.run.stop import Stop
from rlsparse.sim.user_classes import shown_name
from rlsparse.sim.vector import usable_cores
from rlsparse.study.cell import Cell
from rlsparse.study.drive import Drive, Options, Tell
from rlsparse.study.flags import RunFlags
from rlsparse.study.jobs import cut
from rlsparse.study.local_pool import LocalPool
from rlsparse.study.pool import Pool
from rlsparse.study.populations import populations
from rlsparse.study.ray_pool import RayPool
from rlsparse.study.standing import Standing, refused, standing
from rlsparse.study.study import Cells
from rlsparse.study.table import table


@dataclass(frozen=True)
class Place:
    """Where jobs run."""

    jobs: int | None = None
    """Processes at once; as many as there are cores if None."""
    on: str | None = None
    """Nothing for this machine, ray for the cluster that Ray finds or a Ray that is started here, or an address."""


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


def jobs_of(cells: Sequence[Cell], standings: Iterable[Standing], slots: int) -> list[list[Cell]]:
    """Return the jobs of the cells that are to be trained; those of one job have taken as many steps."""
    left = {x.folder: x for x in standings if x.state == "waiting"}
    groups: list[list[Cell]] = []
    for population in grouped([cell for cell in cells if cell.folder in left]):
        by_steps: dict[int, list[Cell]] = {}
        for cell in population:
            by_steps.setdefault(left[cell.folder].steps, []).append(cell)
        groups += by_steps.values()

    def work(cell: Cell) -> float:
        now = left[cell.folder]
        return max(1, now.budget - now.steps) * len(now.seeds)

    return cut(
        groups, min(slots, max(1, len(left))), work, lambda cell: cell.recipe.iteration_steps * cell.recipe.num_seeds
    )


def carry_out(
    found: Cells, place: Place, options: Options, stop: Stop, tell: Tell, out: Path = Path()
) -> list[Standing]:
    """Train the cells that are not finished, and return how all stand, those at the end whose recipes are refused.

    `out` is the folder of the study. Raises UsageError for a place that there is not.
    """
    failures, cells = [*map(refused, found.failures)], found.cells
    check_place(place)
    standings = [*map(standing, cells)]
    if not any(x.state == "waiting" for x in standings):
        return [*standings, *failures]
    if place.on is None:
        jobs = jobs_of(cells, standings, slots_here(place, cells, options))
        pool: Pool = LocalPool(min(slots_here(place, cells, options), len(jobs)))
        options = replace(options, cores=max(1, usable_cores() // pool.slots))
    else:
        pool = RayPool(place.on, out, place.jobs)
        jobs = jobs_of(cells, standings, pool.slots)
    options = replace(options, gpus=1.0 if on_gpu(cells, options) else 0.0)
    drive = Drive(cells, pool, options, stop, lambda told: tell([*told, *failures]), standings)
    return [*drive.run(jobs), *failures]


def plan(found: Cells, place: Place, options: Options) -> tuple[str, int]:
    """Return which cells there are, how they are trained together, what is done and how much is left, and a code.

    The code is that of the first cell that cannot be trained. Raises UsageError for a place that there is not.
    """
    check_place(place)
    slots = slots_here(place, found.cells, options)
    standings = [*map(standing, found.cells), *map(refused, found.failures)]
    jobs, populations = jobs_of(found.cells, standings, slots), len(grouped(found.cells))
    left = sum(max(0, x.budget - x.steps) * len(x.seeds) for x in standings if x.state == "waiting")
    lines = [table(standings), f"populations  {populations:,}: cells that one process can train together"]
    for number, job in enumerate(jobs if place.on is None else (), 1):
        members = sum(cell.recipe.num_seeds for cell in job)
        what = f"{len(job)} cell{'s' * (len(job) > 1)}, {members} member{'s' * (members > 1)}"
        first = f"{job[0].label} on {shown_name(job[0].recipe.env)}{' ...' * (len(job) > 1)}"
        lines.append(f"job {number:<8} {what}: {first}")
    at_once = min(slots, len(jobs))
    where = f"{at_once} job{'s' * (at_once != 1)} at once" if place.on is None else f"by jobs on {place.on}"
    return "\n".join([*lines, f"to do        {left:,} steps, {where}"]), exit_code(standings)


def place_of(flags: RunFlags) -> Place:
    """Return where the flags say that jobs run."""
    return Place(flags.jobs, flags.on)


def options_of(flags: RunFlags) -> Options:
    """Return how the flags say that runs are made; code that the study's own check let pass is trusted."""
    given = {f.name: getattr(flags, f.name, None) for f in fields(Settings)}
    return Options(flags.device, True, settings=Settings(**{name: x for name, x in given.items() if x is not None}))


def slots_here(place: Place, cells: Sequence[Cell], options: Options) -> int:
    """Return how many jobs run at once here: one for each core if nobody says it, but one alone on a GPU."""
    return place.jobs or (1 if on_gpu(cells, options) else usable_cores())


def on_gpu(cells: Sequence[Cell], options: Options) -> bool:
    """Whether jobs need a GPU."""
    return options.device.startswith("cuda") or any(cell.recipe.simulator == "warp" for cell in cells)


def check_place(place: Place) -> None:
    """Raise UsageError for a place that there is not."""
    if place.on is not None and place.on.partition(":")[0] != "ray":
        raise UsageError(f"--on {place.on}: expected ray, ray:ADDRESS or ray://HOST:PORT")


def exit_code(standings: Iterable[Standing], received: int = 0) -> int:
    """Return 0 if all cells are finished, that of a signal that was received, else that of the first failure."""
    if received:
        return 128 + received
    return next((x.code for x in standings if x.code), 0)
