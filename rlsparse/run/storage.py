"""Write files so that a crash at any moment leaves either the old one or the new one, whole.

Files are written through no link, and what fails is tried again before it counts as failed.
"""

import errno
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from rlsparse.errors import StorageError

T = TypeVar("T")

WAITS = (0.05, 0.2, 0.8)
"""Seconds between two attempts; a disk, or a file system over the network, may fail for a moment."""

LASTING = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.EFBIG),
}
"""Failures that no wait mends."""


def opening(*names: str) -> int:
    """Return flags of `os.open` by their names; those that the system does not have are left out."""
    return sum(getattr(os, name, 0) for name in names)


OURS = opening("O_NOFOLLOW", "O_CLOEXEC", "O_BINARY")
"""Every file that is written: through no link, by this process alone, and on Windows as bytes."""

NEW = OURS | opening("O_WRONLY", "O_CREAT", "O_EXCL")
APPEND = OURS | opening("O_WRONLY", "O_APPEND")
"""How files are opened: neither mode follows a link."""


def patiently(action: Callable[[], T]) -> T:
    """Do what reads or writes a file, again after each of WAITS if it fails; raises OSError."""
    for wait in WAITS:
        try:
            return action()
        except OSError as error:
            if error.errno in LASTING:
                raise
            time.sleep(wait)
    return action()


def persist(path: Path, action: Callable[[], T], doing: str = "write") -> T:
    """Do what writes `path`, patiently; raises StorageError, which names path and cause."""
    with storage_errors(path, doing):
        return patiently(action)


def write_synced(path: Path, content: bytes, how: int = NEW) -> None:
    """Write to a file that is opened `how` (NEW or APPEND), and wait until it is on the disk; raises OSError."""
    descriptor = os.open(path, how, 0o666)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def opens_folders() -> bool:
    """Whether this system opens a folder as it opens a file."""
    return hasattr(os, "O_DIRECTORY")


def sync_directory(path: Path) -> None:
    """Wait until the names in a directory are on the disk; Windows opens no directory, and there nothing is done."""
    if not opens_folders():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path, doing: str) -> None:
    """Make a folder and those above it, and wait until their names are on the disk; raises StorageError."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    persist(path, partial(path.mkdir, parents=True, exist_ok=True), doing)
    for folder in missing:  # each by itself: one that is tried again is not missing any more, but may not be synced
        persist(path, partial(sync_directory, folder.parent), doing)


def write_atomic(path: Path, content: bytes | str) -> None:
    """Replace a file in one step: written beside, synced, renamed. Raises StorageError."""
    written = content.encode() if isinstance(content, str) else content
    persist(path, lambda: replace_once(path, written))


def replace_once(path: Path, content: bytes) -> None:
    """Replace a file in one step, or not at all; raises OSError."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        write_synced(beside, content)
        os.replace(beside, path)
        sync_directory(path.parent)
    finally:
        with suppress(OSError):
            os.unlink(beside)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes have left beside the files of a folder."""
    for leftover in folder.glob(".*.????????.tmp"):
        with suppress(OSError):
            os.unlink(leftover)


@contextmanager
def storage_errors(path: Path, doing: str = "write") -> Iterator[None]:
    """Turn an OSError into a StorageError that names the path and the cause, without another attempt."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot {doing} {path}: {error.strerror or error}") from error
