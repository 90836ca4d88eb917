"""How a run of a study ended, where its directory does not say so yet."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from rlsparse.errors import RlsparseError, RunDirectoryError
from rlsparse.run.convert import told
from rlsparse.run.directory import Run
from rlsparse.run.reading import read_json
from rlsparse.run.status import Status


def tell_failure(folder: Path, reason: str) -> None:
    """Write into a run directory why its run cannot be opened, unless another process holds it."""
    status = read_status(folder)
    with suppress(RlsparseError):
        run = Run(folder)
        try:
            with suppress(RunDirectoryError):  # what is damaged is written anew
                run.settings = told(Status, status, folder / "status.json")
            steps = status.get("total_steps")
            run.write_status("failed", steps if type(steps) is int else 0, reason)
        finally:
            run.release()


def read_status(folder: Path) -> dict[str, Any]:
    """Return what status.json says, nothing if there is none or it is damaged."""
    with suppress(RlsparseError):
        return read_json(folder / "status.json")
    return {}
