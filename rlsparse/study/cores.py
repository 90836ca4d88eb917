"""Which cores of a machine a job runs on, where nobody shares them out: those that no other job has claimed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import lock_descriptor

from rlsparse.errors import StorageError
from rlsparse.run.storage import OURS, opening
from rlsparse.study.local_pool import usable
from rlsparse.study.own_folder import own_folder


@contextmanager
def claimed(count: int, folder: Path | None = None) -> Iterator[list[int]]:
    """Claim so many cores of this machine, by locked files in a `folder` that its jobs have in common.

    None are claimed where too few are left, as beside a study that does not claim, or where files cannot be locked; a
    process that is killed gives its own back.
    """
    held: dict[int, int] = {}
    try:
        with suppress(OSError, StorageError):
            folder = folder or own_folder("cores")
            for core in usable():
                if len(held) < count and (descriptor := _claim(folder / str(core))) is not None:
                    held[core] = descriptor
        if len(held) < count:
            _give_back(held)
        yield sorted(held)
    finally:
        _give_back(held)


def _give_back(held: dict[int, int]) -> None:
    while held:
        os.close(held.popitem()[1])


def _claim(file: Path) -> int | None:
    descriptor = os.open(file, OURS | opening("O_RDWR", "O_CREAT"), 0o666)
    with suppress(OSError):
        if lock_descriptor(descriptor, blocking=False):
            return descriptor
    os.close(descriptor)
    return None
