"""`rlsparse sweep`: train a study, or what is missing of it."""

import json
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rlsparse.run.command_line import fail_in_one_line, ignore_lost_reader, say
from rlsparse.run.reading import printable
from rlsparse.run.stop import StopSignal
from rlsparse.study.flags import RunFlags, parse


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exits with 0 if all cells are finished, else with the code of the first failure."""
    with fail_in_one_line():
        run_command(sys.argv[1:] if arguments is None else arguments)


def run_command(arguments: Sequence[str]) -> None:
    """Parse and do what `rlsparse sweep` is told."""
    study, flags = parse(arguments)
    from rlsparse.study.comparison import compare_finished
    from rlsparse.study.display import Display
    from rlsparse.study.standing import standing
    from rlsparse.study.study import cells
    from rlsparse.study.sweep import carry_out, exit_code, options_of, part_of, place_of, plan

    assert flags.out is not None
    whole = cells(study, flags.out)
    found = replace(whole, cells=tuple(part_of(whole.cells, flags.part)))
    if flags.dry_run:
        text, code = plan(found, place_of(flags), options_of(flags))
        with ignore_lost_reader(sys.stdout):
            print(printable_lines(text))
        sys.exit(code)
    with StopSignal() as stop, Display(flags.quiet, stays=not sys.stdout.isatty()) as display:
        tell = _redrawing(display, flags.out) if flags.watch else display
        standings = carry_out(found, place_of(flags), options_of(flags), stop, tell, flags.out)
    others = [standing(cell) for cell in whole.cells if cell not in found.cells]
    compared = None if stop.received else compare_finished([*standings, *others], flags.out)
    _tell_end(standings, flags, compared.folder if compared else None)
    if stop.received:
        say(printable(f"stopped; go on with: rlsparse sweep {shlex.join(arguments)}"))
    sys.exit(exit_code(standings, stop.received))


def _redrawing(display: Any, out: Path) -> Any:
    """Return what is told how cells stand, and from time to time compares all runs as they are."""
    from rlsparse.study.comparison import compare_finished

    drawn = time.monotonic()

    def tell(standings: Sequence[Any]) -> None:
        nonlocal drawn
        display(standings)
        if time.monotonic() - drawn > WATCH_EVERY:
            compare_finished(standings, out, so_far=True)
            drawn = time.monotonic()

    return tell


WATCH_EVERY = 30.0
"""Seconds between two comparisons of --watch."""


def _tell_end(standings: Sequence[Any], flags: RunFlags, comparison: Path | None) -> None:
    """Print how the cells stand, and last on stdout the folder of the study."""
    from rlsparse.study.comparison import SETTINGS
    from rlsparse.study.ranking import best_lines
    from rlsparse.study.table import record, table

    with ignore_lost_reader(sys.stdout):
        if flags.json:
            ends = {"folder": str(flags.out), "comparison": None if comparison is None else str(comparison)}
            print(json.dumps({**ends, "cells": [record(x) for x in standings]}))
            return
        if not flags.quiet:
            best = [] if flags.part else best_lines(standings)
            width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
            text = "\n".join([table(standings, width=width, cut=False), *best])
            print(f"\n{printable_lines(text)}")
            if comparison is not None:
                made = [comparison / name for name in ("report.html", "report.png", SETTINGS)]
                print(f"\ncomparison: {', '.join(str(path) for path in made if path.exists())}")
        print(flags.out)


def printable_lines(text: str) -> str:
    """Return lines with blanks for what is no visible character, and question marks for what stdout cannot show."""
    encoding = sys.stdout.encoding or "utf-8"
    return "\n".join(map(printable, text.split("\n"))).encode(encoding, "replace").decode(encoding)


if __name__ == "__main__":
    main()
