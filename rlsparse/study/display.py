"""Shows on stderr how a study stands: a table that is drawn anew on a terminal, else a line for whatever happens."""

import logging
import shutil
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rlsparse.run.command_line import ignore_lost_reader
from rlsparse.study.standing import Standing
from rlsparse.study.table import news, summary, table

SUMMARY_EVERY = 60.0
"""Seconds between two lines about the whole study, where there is no terminal."""


class Display:
    """Is told how all cells stand; as a context it ends what it has drawn, and says each warning once.

    What is drawn last `stays`, or is erased for what is printed after it.
    """

    def __init__(self, quiet: bool = False, stays: bool = True) -> None:
        self._quiet, self._stays = quiet, stays
        self._live = not quiet and sys.stderr.isatty()
        self._drawn = 0
        """Lines on the terminal that the next drawing replaces."""
        self._begun = self._summed = time.monotonic()
        self._before: dict[int, Standing] = {}
        self._said: set[str] = set()
        self._record: logging.LogRecord | None = None
        """The last warning."""
        self._is_new = False

    def __enter__(self) -> Self:
        self._handlers = [*logging.getLogger().handlers, *filter(None, [logging.lastResort])]
        for handler in self._handlers:
            handler.addFilter(self._allowed)
        return self

    def __exit__(self, _: object, __: object, ___: TracebackType | None) -> None:
        for handler in self._handlers:
            handler.removeFilter(self._allowed)
        if self._drawn:
            self._print("\n" if self._stays else self._erased())
        self._drawn = 0

    def _allowed(self, record: logging.LogRecord) -> bool:
        """Whether a warning is new: cells that are alike are warned of alike. What is drawn makes room for it."""
        if record is not self._record:  # which several handlers may have
            self._record, text = record, record.getMessage()
            self._is_new = text not in self._said
            self._said.add(text)
        if self._drawn and self._is_new:
            self._print(self._erased())
        return self._is_new

    def __call__(self, standings: Sequence[Standing]) -> None:
        """Show how all cells stand."""
        if self._live:
            size = shutil.get_terminal_size()
            text = table(standings, size.lines - 1, size.columns - 1)
            self._print(f"{self._erased()}{text}")
            self._drawn = text.count("\n") + 1
        elif not self._quiet:
            self._tell(standings)

    def _tell(self, standings: Sequence[Standing]) -> None:
        for i, now in enumerate(standings):
            text = news(self._before.get(i, now), now)
            self._before[i] = now
            if text:
                self._print(f"{text}\n")
        if time.monotonic() - self._summed > SUMMARY_EVERY:
            self._summed = time.monotonic()
            self._print(f"{summary(standings, self._summed - self._begun)}\n")

    def _erased(self) -> str:
        """Return what moves the cursor to where the drawing begins, and clears what follows."""
        up = f"\x1b[{self._drawn - 1}A" if self._drawn > 1 else ""
        erased = f"\r{up}\x1b[J" if self._drawn else ""
        self._drawn = 0
        return erased

    def _print(self, text: str) -> None:
        with ignore_lost_reader(sys.stderr):
            print(text, end="", file=sys.stderr, flush=True)
