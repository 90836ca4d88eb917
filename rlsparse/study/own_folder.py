"""Folders of this user's own among the temporary files of a machine, which all its jobs find."""

import os
import tempfile
from pathlib import Path

from rlsparse.errors import StorageError
from rlsparse.run.storage import storage_errors


def own_folder(purpose: str) -> Path:
    """Make the folder if there is none; raises StorageError, also if it is another user's."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir(), f"rlsparse-{purpose}-{user}")
    with storage_errors(folder, "make the folder"):
        folder.mkdir(0o700, exist_ok=True)
        if hasattr(os, "getuid") and (folder.is_symlink() or folder.stat().st_uid != user):
            raise StorageError(f"{folder} is another user's: remove it, or set TMPDIR to another folder")
    return folder
