"""The progress of a run on stderr, in a line that is drawn anew on a terminal."""

import logging
import math
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from rlsparse.errors import BROKEN
from rlsparse.learner.records import EpochStats

if TYPE_CHECKING:
    from rlsparse.run.session import Session

REDRAW_INTERVAL = 0.2
"""Seconds between two drawings of the live line."""


class ProgressLine:
    """Progress on stderr: steps, share, steps/s without the time of evaluations, last return of the seeds, time left.

    Steps are those of one seed; steps/s are those of all seeds, and then of one.
    """

    def __init__(self, session: "Session") -> None:
        """Begin before the first step of this session."""
        self._live = sys.stderr.isatty()
        self._open = False
        """Whether a line is drawn that does not end yet."""
        self._drawn = 0.0
        self._returns: dict[int, float] = {}
        self._evaluations = 0
        self._begun, self._first_steps, self._evaluated = time.monotonic(), session.total_steps, session.eval_seconds

    def iteration(self, session: "Session", stats: EpochStats) -> None:
        """Redraw the live line."""
        if self._live and time.monotonic() - self._drawn > REDRAW_INTERVAL:
            self._drawn = time.monotonic()
            print(f"\r\x1b[2K{self.line(session)}", end="", file=sys.stderr, flush=True)
            self._set_open(True)

    def evaluation(self, session: "Session", rows: list[dict[str, Any]]) -> None:
        """Print a lasting line."""
        self._evaluations += 1
        self._returns.update({row["seed"]: row["return_mean"] for row in rows})
        self._print(self.line(session))

    def probe(self, session: "Session", rows: list[dict[str, Any]]) -> None:
        """Print a lasting line for a probe that took steps."""
        if any(row["steps"] for row in rows):
            accepted, steps = sum(row["accepted"] for row in rows), np.mean([row["steps"] for row in rows])
            self._print(f"{'':>11} probe: {steps:,.0f} steps per seed, {accepted} of {len(rows)} policies replaced")

    def _print(self, text: str) -> None:
        self._set_open(False)
        print(("\r\x1b[2K" if self._live else "") + text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the live line: what is said next begins a line of its own."""
        if self._open:
            self._set_open(False)
            print(file=sys.stderr, flush=True)

    def _set_open(self, is_open: bool) -> None:
        """While the line is open, what logs on the same terminal ends it first."""
        if is_open != self._open:
            self._open = is_open
            for handler in _handlers_on(sys.stderr):
                others = [x for x in handler.filters if x != self._before_record]
                handler.filters = [*others, *([self._before_record] if is_open else [])]  # it may be read just now

    def _before_record(self, _: logging.LogRecord) -> bool:
        with suppress(*BROKEN):
            self.close()
        return True

    def line(self, session: "Session") -> str:
        """Return the line as it stands."""
        steps, budget, seeds = session.total_steps, session.recipe.total_steps, session.learner.members
        text = f"{steps:>{max(11, len(f'{budget:,}'))},} steps {min(100.0, 100 * steps / budget):5.1f} %"
        if (done := steps - self._first_steps) > 0:
            evaluating, left = session.eval_seconds - self._evaluated, max(budget - steps, 0)
            rate = done / max(time.monotonic() - self._begun - evaluating, 1e-9)
            evaluations = math.ceil(left / session.recipe.eval_interval) * evaluating / max(self._evaluations, 1)
            of_each = f" ({rate:,.0f} a seed)" if seeds > 1 else ""
            text += f"  {rate * seeds:>7,.0f} steps/s{of_each}  {_duration(left / rate + evaluations)} left"
        if self._returns:
            text += f"  return {describe_returns(np.array([*self._returns.values()]))}"
        return text


def _handlers_on(stream: TextIO) -> list[logging.Handler]:
    """Return what writes records of ours to a stream."""
    found = [*logging.getLogger("rlsparse").handlers, *logging.getLogger().handlers, logging.lastResort]
    return [x for x in found if isinstance(x, logging.StreamHandler) and x.stream is stream]


def describe_returns(returns: np.ndarray) -> str:
    """Return the mean over seeds, with spread (smallest to largest) when there are several."""
    text = f"{returns.mean():,.1f}"
    return text if len(returns) == 1 else f"{text} ({returns.min():,.1f} to {returns.max():,.1f}, {len(returns)} seeds)"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
