"""One process at a time in a run directory."""

import os
import socket
from contextlib import suppress
from functools import partial
from pathlib import Path

from filelock import lock_descriptor

from rlsparse.errors import RunDirectoryError, StorageError
from rlsparse.run.reading import MOST_BYTES, check_regular
from rlsparse.run.storage import OURS, opening, opens_folders, persist


class Lock:
    """Holds a folder by its file .lock, which names the holder, and by itself, for that file may be deleted."""

    def __init__(self, folder: Path) -> None:
        """Raises RunDirectoryError where another process holds it, or where nothing can be written or locked."""
        file = folder / ".lock"
        opened = partial(os.open, file, OURS | opening("O_RDWR", "O_CREAT"), 0o666)
        try:
            self._descriptors = [persist(folder, opened, "write in the run directory")]
            if opens_folders():
                opened = partial(os.open, folder, opening("O_RDONLY", "O_CLOEXEC"))
                self._descriptors.append(persist(folder, opened, "open"))
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
            # after a blank: Windows lets nobody else read the first byte, by which the file is locked
            os.write(self._descriptors[0], f" process {os.getpid()} on {socket.gethostname()}\n".encode())

    def _take(self, folder: Path) -> None:
        for number, descriptor in enumerate(self._descriptors):
            try:
                taken = lock_descriptor(descriptor, blocking=False)
            except OSError as error:
                if number == 0:  # some file systems lock files alone
                    raise RunDirectoryError(f"cannot lock the run directory {folder}: {error.strerror}") from error
                continue
            if not taken:
                os.lseek(self._descriptors[0], 1, os.SEEK_SET)
                holder = os.read(self._descriptors[0], 200).decode(errors="replace").strip() or "another process"
                raise RunDirectoryError(f"{folder} is in use by {holder}: wait for it or stop it")

    def release(self) -> None:
        """Let other processes use the folder."""
        while self._descriptors:
            os.close(self._descriptors.pop())
