"""Who is told how training goes."""

import sys
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Protocol, Self

from rlsparse.learner.records import EpochStats
from rlsparse.run.command_line import outlive_reader

if TYPE_CHECKING:
    from rlsparse.run.session import Session


class Reporter(Protocol):
    """Is told how training goes."""

    def iteration(self, session: "Session", stats: EpochStats) -> None:
        """One update is done."""

    def evaluation(self, session: "Session", rows: list[dict[str, Any]]) -> None:
        """Members have been evaluated: a progress row of each."""

    def probe(self, session: "Session", rows: list[dict[str, Any]]) -> None:
        """Members have probed: a row of probe.csv of each."""


class Reporters:
    """Passes every report to the progress line and to TensorBoard, where there are any."""

    def __init__(self, session: "Session", quiet: bool) -> None:
        from rlsparse.run.progress import ProgressLine

        self._reporters: list[Any] = [] if quiet else [ProgressLine()]
        self._open = ExitStack()
        with suppress(ImportError):
            from rlsparse.run.tensorboard import TensorBoard

            self._reporters.append(self._open.enter_context(TensorBoard(session.run.path / "tb", session)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def iteration(self, session: "Session", stats: EpochStats) -> None:
        """One update is done."""
        self._tell("iteration", session, stats)

    def evaluation(self, session: "Session", rows: list[dict[str, Any]]) -> None:
        """Members have been evaluated: a progress row of each."""
        self._tell("evaluation", session, rows)

    def probe(self, session: "Session", rows: list[dict[str, Any]]) -> None:
        """Members have probed: a row of probe.csv of each."""
        self._tell("probe", session, rows)

    def _tell(self, what: str, session: "Session", news: Any) -> None:
        with outlive_reader(sys.stderr):
            for reporter in self._reporters:
                getattr(reporter, what)(session, news)
