"""The progress of a run on stderr, in a line that is drawn anew on a terminal."""

import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from rlsparse.learner.records import EpochStats

if TYPE_CHECKING:
    from rlsparse.run.session import Session

REDRAW_INTERVAL = 0.2
"""Seconds between two drawings of the live line."""


class ProgressLine:
    """Progress on stderr: steps, share, steps/s, last return of the seeds, time left."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._drawn = 0.0
        self._returns: dict[int, float] = {}
        self._first: tuple[float, int] | None = None

    def iteration(self, session: "Session", stats: EpochStats) -> None:
        """Redraw the live line."""
        if self._first is None:
            self._first = (time.monotonic(), session.total_steps - session.recipe.iteration_steps)
        if self._live and time.monotonic() - self._drawn > REDRAW_INTERVAL:
            self._drawn = time.monotonic()
            print(f"\r\x1b[2K{self.line(session)}", end="", file=sys.stderr, flush=True)

    def evaluation(self, session: "Session", rows: list[dict[str, Any]]) -> None:
        """Print a lasting line."""
        self._returns.update({row["seed"]: row["return_mean"] for row in rows})
        print(("\r\x1b[2K" if self._live else "") + self.line(session), file=sys.stderr, flush=True)

    def probe(self, session: "Session", rows: list[dict[str, Any]]) -> None:
        """Print a lasting line for a probe that took steps."""
        if any(row["steps"] for row in rows):
            accepted, steps = sum(row["accepted"] for row in rows), np.mean([row["steps"] for row in rows])
            text = f"{'':>11} probe: {steps:,.0f} steps per seed, {accepted} of {len(rows)} policies replaced"
            print(("\r\x1b[2K" if self._live else "") + text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Do nothing: every line is complete."""

    def line(self, session: "Session") -> str:
        """Return the line as it stands."""
        steps, budget = session.total_steps, session.recipe.total_steps
        text = f"{steps:>11,} steps {min(100.0, 100 * steps / budget):5.1f} %"
        if self._first is not None:
            since, first_steps = self._first
            rate = (steps - first_steps) / max(time.monotonic() - since, 1e-9)
            total_rate = rate * session.learner.members
            text += f"  {total_rate:>7,.0f} steps/s  {_duration(max(budget - steps, 0) / max(rate, 1e-9))} left"
        if self._returns:
            text += f"  return {describe_returns(np.array([*self._returns.values()]))}"
        return text


def describe_returns(returns: np.ndarray) -> str:
    """Return the mean over seeds, with spread (smallest to largest) when there are several."""
    text = f"{returns.mean():,.1f}"
    return text if len(returns) == 1 else f"{text} ({returns.min():,.1f} to {returns.max():,.1f}, {len(returns)} seeds)"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
