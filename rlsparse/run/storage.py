"""Write files so that a crash at any moment leaves either the old one or the new one, whole."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rlsparse.errors import StorageError


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an OSError into a StorageError that names the path and the cause."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error


def write_synced(path: Path, content: bytes) -> None:
    """Write a new file and wait until it is on the disk."""
    with storage_errors(path), open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Wait until the names in a directory are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, content: bytes | str) -> None:
    """Replace a file in one step: written beside, synced, renamed. What a killed process left beside is overwritten."""
    beside = path.with_name(f".{path.name}.tmp")
    try:
        write_synced(beside, content.encode() if isinstance(content, str) else content)
        with storage_errors(path):
            os.replace(beside, path)
            sync_directory(path.parent)
    finally:
        beside.unlink(missing_ok=True)
