"""What runs the jobs of a study: processes of this machine, or those of a cluster."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Job:
    """Run directories whose members one process trains together."""

    folders: tuple[Path, ...]
    cores: int = 1
    """Cores that it may use."""
    gpus: float = 0.0
    """GPUs, or the share of one, that it may use."""
    trusted: tuple[str, ...] = ()
    """Environments and wrappers whose code is run; of runs that name others by then no code is."""


@dataclass(frozen=True)
class Ended:
    """A job that is over."""

    job: Job
    reason: str = ""
    """In one line why its process did not end by itself, such as a signal; empty if it did, well or not."""
    code: int = 0
    """Exit code of its process: 0 if all runs are finished, else that of the first failure."""


class Pool(Protocol):
    """Runs jobs, and tells which are over."""

    @property
    def slots(self) -> int:
        """How many jobs it runs at once."""

    def start(self, job: Job) -> None:
        """Start a job; there is a slot free."""

    def ended(self, seconds: float) -> list[Ended]:
        """Return the jobs that are over and have not been told; waits for one at most so many seconds."""

    def stop(self) -> None:
        """Ask all jobs to save and to end, and wait for that; those that do not are killed."""
