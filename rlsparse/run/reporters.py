"""Who is told how training goes."""

import logging
from typing import TYPE_CHECKING, Any, Protocol, Self

from rlsparse.errors import BROKEN, in_one_line
from rlsparse.learner.records import EpochStats
from rlsparse.run.progress_line import ProgressLine

if TYPE_CHECKING:
    from rlsparse.run.session import Session

log = logging.getLogger(__name__)


class Reporter(Protocol):
    """Is told how training goes."""

    def iteration(self, session: "Session", stats: EpochStats) -> None:
        """One update is done."""

    def evaluation(self, session: "Session", rows: list[dict[str, Any]]) -> None:
        """Members have been evaluated: a progress row of each."""

    def probe(self, session: "Session", rows: list[dict[str, Any]]) -> None:
        """Members have probed: a row of probe.csv of each."""


class Reporters:
    """Passes every report to the progress line and to TensorBoard, where there are any.

    One that fails, whatever the reason, is left out from then on: training never ends for it.
    """

    def __init__(self, session: "Session", quiet: bool) -> None:
        self._reporters: list[Any] = [] if quiet else [ProgressLine()]
        try:
            from rlsparse.run.tensorboard import TensorBoard

            self._reporters.append(TensorBoard(session.run.path / "tb", session))
        except BROKEN as error:
            if not (isinstance(error, ModuleNotFoundError) and error.name == "tensorboard"):  # which is an extra
                _warn("TensorBoard", error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._tell("close")

    def iteration(self, session: "Session", stats: EpochStats) -> None:
        """One update is done."""
        self._tell("iteration", session, stats)

    def evaluation(self, session: "Session", rows: list[dict[str, Any]]) -> None:
        """Members have been evaluated: a progress row of each."""
        self._tell("evaluation", session, rows)

    def probe(self, session: "Session", rows: list[dict[str, Any]]) -> None:
        """Members have probed: a row of probe.csv of each."""
        self._tell("probe", session, rows)

    def _tell(self, what: str, *news: Any) -> None:
        for reporter in tuple(self._reporters):
            try:
                getattr(reporter, what)(*news)
            except BROKEN as error:
                self._reporters.remove(reporter)
                _warn(type(reporter).__name__, error)


def _warn(name: str, error: BaseException) -> None:
    log.warning("%s fails and is left out from now on: %s; training goes on", name, in_one_line(error))
