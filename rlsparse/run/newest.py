"""A folder that holds runs, such as runs/Hopper-v5, means the newest run in it."""

import logging
import os
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from rlsparse.errors import RunDirectoryError
from rlsparse.run.foreign import COMMAND
from rlsparse.run.reading import printable, read_json

log = logging.getLogger(__name__)

DEEPEST = 4
"""Folders below the one that is named, in which runs are looked for: <out>/<env>/<agent>/<run> has three."""


def newest_run(path: Path, file: str = "recipe.toml") -> Path:
    """Return the run directory that `path` means: itself, or the run below it that was begun last.

    Runs that hold the `file` go before those that do not, such as one that failed in its first step. A command says on
    stderr which run was taken, a script in the log. What holds no run, such as a file, is returned as it is.
    """
    if os.path.isfile(path / "recipe.toml"):  # pathlib raises for a name that is too long, or a folder that is closed
        return path
    found = sorted(runs_below(path), key=lambda run: not (run / file).is_file())
    if not found:
        return path
    told = printable(f"{path}: taking its newest run, {found[0]}")
    if COMMAND.get():
        print(told, file=sys.stderr)
    else:
        log.info("%s", told)
    return found[0]


def newest_unfinished(folder: Path) -> Path | None:
    """Return the run below a folder that was begun last of those that are not finished, by their status.json."""
    for run in runs_below(folder):
        with suppress(RunDirectoryError):
            if read_json(run / "status.json").get("state") != "finished":
                return run
    return None


def runs_below(folder: Path) -> list[Path]:
    """Return the run directories below a folder, the one that was begun last first; links are not followed."""
    found: list[Path] = []
    for place, folders, files in os.walk(folder) if os.path.isdir(folder) else ():
        path = Path(place)
        if "recipe.toml" in files:
            found.append(path)
        if "recipe.toml" in files or len(path.parts) - len(folder.parts) >= DEEPEST:
            folders.clear()  # nothing below it is walked through
    return sorted(found, key=lambda run: (begun(run), run.name), reverse=True)


def begun(run: Path) -> float:
    """Return when a run was begun (s since 1970), by its versions.json or else by its name; 0 if neither says it."""
    try:
        told = str(read_json(run / "versions.json").get("started"))
    except RunDirectoryError:
        told = ""
    for read in (lambda: datetime.fromisoformat(told), lambda: datetime.strptime(run.name[:15], "%Y%m%d-%H%M%S")):
        try:
            return read().timestamp()
        except (ValueError, OverflowError, OSError):
            continue
    return 0.0
