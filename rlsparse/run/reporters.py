"""Who is told how training goes."""

import logging
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rlsparse.errors import BROKEN, Interrupted, in_one_line
from rlsparse.learner.records import EpochStats
from rlsparse.run.command_line import say
from rlsparse.run.no_callbacks import NoCallbacks
from rlsparse.run.progress_line import ProgressLine

if TYPE_CHECKING:
    from rlsparse.run.session import Session

log = logging.getLogger(__name__)


def callbacks_of(given: Sequence[object], ask_to_stop: Callable[[str], None]) -> NoCallbacks:
    """Return what tells these callbacks, which are objects, or texts module:Class; raises UsageError for others."""
    if not given:
        return NoCallbacks()
    from rlsparse.run.callbacks import Callbacks

    return Callbacks(given, ask_to_stop)


class Reporters(NoCallbacks):
    """Passes every report to the progress line and to TensorBoard, where there are any, and then to the callbacks.

    One of the former that fails, whatever the reason, is left out from then on: training never ends for it. What a
    callback raises is the user's own, and passes through.
    """

    def __init__(self, session: "Session", quiet: bool) -> None:
        self._session = session
        self._reporters: list[Any] = [] if quiet else [ProgressLine(session)]
        try:
            from rlsparse.run.tensorboard import TensorBoard

            self._reporters.append(TensorBoard(session.run.path / "tb", session))
        except BROKEN as error:
            if not (isinstance(error, ModuleNotFoundError) and str(error.name).startswith("tensorboard")):  # an extra
                _warn("TensorBoard", error)
            elif not quiet:
                say("no TensorBoard events: they need 'rlsparse[tb]', and rlsparse tensorboard writes them later")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._tell("close")
        state = "finished" if error is None else "interrupted" if isinstance(error, Interrupted) else "failed"
        try:
            self._session.callbacks.end(self._session, state)
        except BROKEN as late:
            if state != "failed":
                raise
            _warn("a callback's on_end", late)  # and what ended the run is told

    def iteration(self, session: "Session", stats: EpochStats) -> None:
        """One update is done."""
        self._tell("iteration", session, stats)
        session.callbacks.iteration(session, stats)

    def evaluation(self, session: "Session", rows: list[dict[str, Any]]) -> None:
        """Members have been evaluated: a progress row of each."""
        self._tell("evaluation", session, rows)
        session.callbacks.evaluation(session, rows)

    def probe(self, session: "Session", rows: list[dict[str, Any]]) -> None:
        """Members have probed: a row of probe.csv of each."""
        self._tell("probe", session, rows)
        session.callbacks.probe(session, rows)

    def _tell(self, what: str, *news: Any) -> None:
        for reporter in tuple(self._reporters):
            try:
                getattr(reporter, what)(*news)
            except BROKEN as error:
                self._reporters.remove(reporter)
                _warn(type(reporter).__name__, error)


def _warn(name: str, error: BaseException) -> None:
    log.warning("%s fails and is left out from now on: %s; training goes on", name, in_one_line(error))
