"""One process at a time in a run directory."""

import fcntl
import os
import socket
from contextlib import suppress
from functools import partial
from pathlib import Path

from rlsparse.errors import RunDirectoryError, StorageError
from rlsparse.run.reading import MOST_BYTES, check_regular
from rlsparse.run.storage import persist


class Lock:
    """Holds a folder by its file .lock, which names the holder, and by itself, for that file may be deleted."""

    def __init__(self, folder: Path) -> None:
        """Raises RunDirectoryError where another process holds it, or where nothing can be written or locked."""
        file = folder / ".lock"
        opened = partial(os.open, file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            self._descriptors = [persist(folder, opened, "write in the run directory")]
            self._descriptors.append(persist(folder, partial(os.open, folder, os.O_RDONLY | os.O_CLOEXEC), "open"))
        except StorageError as error:
            raise RunDirectoryError(str(error)) from error
        try:
            check_regular(file, os.fstat(self._descriptors[0]), MOST_BYTES)
            self._take(folder)
        except RunDirectoryError:
            self.release()
            raise
        with suppress(OSError):  # the name of the holder is a courtesy
            os.truncate(self._descriptors[0], 0)
            os.write(self._descriptors[0], f"process {os.getpid()} on {socket.gethostname()}\n".encode())

    def _take(self, folder: Path) -> None:
        for number, descriptor in enumerate(self._descriptors):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.pread(self._descriptors[0], 200, 0).decode(errors="replace").strip() or "another process"
                raise RunDirectoryError(f"{folder} is in use by {holder}: wait for it or stop it") from error
            except OSError as error:
                if number == 0:  # some file systems lock files alone
                    raise RunDirectoryError(f"cannot lock the run directory {folder}: {error.strerror}") from error

    def release(self) -> None:
        """Let other processes use the folder."""
        while self._descriptors:
            os.close(self._descriptors.pop())
