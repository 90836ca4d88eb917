"""Where the process of a study and its jobs on other machines leave messages for each other.

Plain Python; on a cluster it is one Ray actor beside the study's process. Jobs are known by tickets, of which each
attempt has its own: what an attempt that was given up still says is not heard, and it is told to stop.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from rlsparse.study.snapshot import Snapshot


@dataclass(frozen=True)
class Began:
    """A job has begun on a machine."""

    host: str
    shared: bool
    """It sees the run directories."""


@dataclass(frozen=True)
class News:
    """What a job says."""

    ticket: str
    began: Began | None = None
    snapshots: tuple[Snapshot, ...] = ()
    """What is new in each of its run directories."""


@dataclass(frozen=True)
class Answer:
    """What a job is told."""

    stop: bool
    """Save and end."""
    free: bool
    """Its snapshots so far have been written: it may send further ones."""
    parcel: tuple[Snapshot, ...] | None
    """Its run directories as they are, once they were sent."""


@dataclass
class Desk:
    """Messages in both directions; nobody waits here."""

    stopping: bool = False
    news: list[News] = field(default_factory=list)
    parcels: dict[str, tuple[Snapshot, ...]] = field(default_factory=dict)
    valid: set[str] = field(default_factory=set)
    """Tickets of the attempts that count."""
    unwritten: set[str] = field(default_factory=set)
    """Tickets of those whose snapshots have not been written yet."""

    def tell(self, ticket: str, began: Began | None = None, snapshots: Sequence[Snapshot] = ()) -> None:
        """Leave what a job says for the study's process."""
        if ticket in self.valid:
            self.news.append(News(ticket, began, tuple(snapshots)))
            if snapshots:
                self.unwritten.add(ticket)

    def ask(self, ticket: str) -> Answer:
        """Tell a job how to go on."""
        stop = self.stopping or ticket not in self.valid
        return Answer(stop, ticket not in self.unwritten, self.parcels.pop(ticket, None))

    def admit(self, ticket: str) -> None:
        """Let an attempt count."""
        self.valid.add(ticket)

    def give_up(self, ticket: str) -> None:
        """Let an attempt, that has ended or was lost, count no more."""
        self.valid.discard(ticket)
        self.unwritten.discard(ticket)
        self.parcels.pop(ticket, None)

    def send(self, ticket: str, parcel: tuple[Snapshot, ...]) -> None:
        """Leave a job's run directories for it."""
        if ticket in self.valid:
            self.parcels[ticket] = parcel

    def take(self) -> list[News]:
        """Return what jobs have said, in that order, once."""
        taken, self.news = self.news, []
        return taken

    def written(self, ticket: str) -> None:
        """Tell a job that its snapshots have been written."""
        self.unwritten.discard(ticket)

    def stop(self) -> None:
        """Tell all jobs to save and to end."""
        self.stopping = True
