"""Run directories that travel between machines: what is new in one, and how it is put into another.

A checkpoint travels whole and is put in place in one step, before the tables that it makes good, as saving does it. So
a run goes on from what has arrived, wherever its machine was when it was lost.
"""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rlsparse.errors import RunDirectoryError
from rlsparse.run import checkpoint
from rlsparse.run.reading import MOST_BYTES, printable, read_bytes
from rlsparse.run.storage import make_folder, persist, write_atomic

STATUS = "status.json"
"""Told last: what it says of a run is then true of the other files."""

RECIPE = "recipe.toml"

Mark = tuple[int, int]
"""Size and time of change (ns) of a file, by which another content is told."""


@dataclass(frozen=True)
class Snapshot:
    """What is new in a run directory."""

    checkpoints: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Files of those that are new, by their steps."""
    files: dict[str, bytes] = field(default_factory=dict)
    """Other files that are new or have changed, by their place below the run directory."""
    stay: tuple[str, ...] = ()
    """Steps of all its checkpoints; others are outdated."""

    @property
    def empty(self) -> bool:
        """Whether nothing is new."""
        return not self.checkpoints and not self.files


def news(folder: Path, seen: dict[str, Mark]) -> Snapshot:
    """Return what is new in a run directory since `seen`, which is brought up to date.

    The run may be at work: what it takes away meanwhile is left out, and a checkpoint that it replaces waits for the
    next time. Raises OSError for what cannot be read.
    """
    status = _read_new(folder, STATUS, seen)  # the others are then as new as it or newer
    checkpoints = {}
    found = [path.name for path in checkpoint.steps_first(folder / "checkpoint") if path.suffix != ".old"]
    for steps in reversed(found):
        if files := _read_checkpoint(folder, steps, seen):
            checkpoints[steps] = files
    others = {name: content for name in _names(folder) if (content := _read_new(folder, name, seen)) is not None}
    return Snapshot(checkpoints, others | ({} if status is None else {STATUS: status}), tuple(found))


def _names(folder: Path) -> Iterator[str]:
    """Return the places of files that are no checkpoint's and not hidden, as locks and what is half written are."""
    for place, folders, files in os.walk(folder):
        here = Path(place)
        folders[:] = [x for x in folders if not x.startswith(".") and here / x != folder / "checkpoint"]
        names = [(here / file).relative_to(folder).as_posix() for file in sorted(files) if not file.startswith(".")]
        yield from (name for name in names if name != STATUS)


def _mark(path: Path) -> Mark | None:
    """Return the mark of a file; None if there is none, or something else."""
    with suppress(FileNotFoundError):
        found = path.lstat()
        return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None
    return None


def _read_new(folder: Path, name: str, seen: dict[str, Mark]) -> bytes | None:
    """Return a file's content if that is new; what is appended meanwhile comes with the next snapshot."""
    mark = _mark(folder / name)
    if mark is None or seen.get(name) == mark:
        return None
    with suppress(FileNotFoundError):
        content = (folder / name).read_bytes()
        seen[name] = mark
        return content
    return None


def _read_checkpoint(folder: Path, steps: str, seen: dict[str, Mark]) -> dict[str, bytes]:
    """Return the files of a checkpoint, none if it is known or does not stay while it is read."""
    place = folder / "checkpoint" / steps
    mark = _mark(place / "manifest.json")
    if mark is None or seen.get(f"checkpoint/{steps}") == mark:
        return {}
    with suppress(FileNotFoundError):
        files = {path.name: path.read_bytes() for path in sorted(place.iterdir())}
        if _mark(place / "manifest.json") == mark:
            seen[f"checkpoint/{steps}"] = mark
            return files
    return {}


def put(new: Snapshot, folder: Path) -> None:
    """Bring a folder up to date, which exists: checkpoints first, status.json last.

    Raises StorageError, after which all of it can be put again, and RunDirectoryError for a name that leads outside.
    """
    _check(new, folder)
    place = folder / "checkpoint"
    for steps in sorted(new.checkpoints, key=int):
        persist(place / steps, partial(checkpoint.put, place, steps, new.checkpoints[steps]))
    for outdated in checkpoint.steps_first(place):
        if outdated.name not in new.stay:
            shutil.rmtree(outdated, ignore_errors=True)
    for name in sorted(new.files, key=lambda name: name == STATUS):
        if "/" in name:  # but not the run directory: one that somebody has removed does not come back in parts
            make_folder((folder / name).parent, "make the folder")
        write_atomic(folder / name, new.files[name])


def _check(new: Snapshot, folder: Path) -> None:
    """Raise RunDirectoryError for a name that is none of a run directory's files, a folder that is a link, a recipe.

    Training changes no recipe: one that comes back is what went there.
    """
    for steps, files in new.checkpoints.items():
        if not (steps.isascii() and steps.isdecimal() and all(_plain(name) for name in files)):
            raise RunDirectoryError(f"{folder}: a checkpoint that came back has the name {printable(steps)}")
    for name in new.files:
        parts = name.split("/")
        if not all(map(_plain, parts)) or parts[0] == "checkpoint":
            raise RunDirectoryError(f"{folder}: a file that came back has the name {printable(name)}")
    recipe = folder / RECIPE
    if RECIPE in new.files and recipe.exists() and read_bytes(recipe, MOST_BYTES) != new.files[RECIPE]:
        raise RunDirectoryError(f"{recipe}: another recipe came back, and a run keeps its own")
    for name in ("checkpoint/x", *new.files):
        for above in (folder / name).parents:
            if above == folder:
                break
            if above.is_symlink():
                raise RunDirectoryError(f"{above} is a link, and a run is not written through links: remove it")


def _plain(part: str) -> bool:
    """Whether this is the name of one file that is not hidden, on every system."""
    return bool(part) and not part.startswith(".") and part.isprintable() and not set(part) & set('/\\:*?"<>|')
