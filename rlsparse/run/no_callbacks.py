"""Nobody is told how a run goes; `run/callbacks.py` overrides every method, `run/reporters.py` the first three."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rlsparse.learner.records import EpochStats
from rlsparse.run.reading import printable, shorten

if TYPE_CHECKING:
    from rlsparse.run.session import Session

log = logging.getLogger(__name__)


class NoCallbacks:
    """Does nothing."""

    def iteration(self, session: "Session", stats: EpochStats) -> None:
        """One update is done."""

    def evaluation(self, session: "Session", rows: list[dict[str, Any]]) -> None:
        """Members have been evaluated: a progress row of each."""

    def probe(self, session: "Session", rows: list[dict[str, Any]]) -> None:
        """Members have probed: a row of probe.csv of each."""

    def end(self, session: "Session", state: str) -> None:
        """Training ends, and is finished, interrupted or failed."""

    def state(self) -> tuple[dict[str, np.ndarray], list[dict[str, str]]]:
        """Return all arrays of the callbacks, by name, and of each its class and its other values as JSON."""
        return {}, []

    def load(self, arrays: dict[str, np.ndarray], states: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """Restore what `state` returned; a warning tells which callback is not there any more."""
        for name, _ in states:
            log.warning("the run had a callback %s, which is not there any more", printable(shorten(name)))
