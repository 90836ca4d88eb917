"""`rlsparse landscape`: draw the true returns around an update of a run."""

import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from rlsparse.errors import RunDirectoryError, StorageError, UsageError, require
from rlsparse.run.command_line import fail_in_one_line, parse
from rlsparse.run.foreign import contained
from rlsparse.run.newest import newest_run

PICTURES = (".png", ".pdf", ".svg")


@dataclass(frozen=True)
class LandscapeFlags:
    """Draw the true returns around an update: of its anchors, of candidates, of samples, on episodes of their own."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_DIR")]
    """A run directory, or a folder whose newest run is meant; only the picture and its table are written there."""
    env: Annotated[str | None, tyro.conf.arg(metavar="ENV")] = None
    """The run's own environment, to be named if its code is neither rlsparse's nor Gymnasium's, for it is run."""
    wrappers: tuple[str, ...] | None = None
    """The run's own wrappers, to be named for the same reason."""
    trust: bool = False
    """Run the code of the environment that the run names, whatever it is; a line says first which that is."""
    iteration: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Which update, counted from 1; where no checkpoint is kept right before it, the latest earlier one that has one.
    The last such update if not given."""
    seed: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Which member of the population, by its seed; the first one if not given."""
    samples: int = 100
    """Samples of the normal distribution fitted to the anchors."""
    episodes: int = 10
    """Deterministic episodes of every sample, anchor and candidate, on seeds that nothing else uses."""
    reach: float = 2.0
    """Scale of the normal distribution, in units of the anchors' spread."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Picture, as PNG, PDF or SVG by its name's ending, with a .csv beside it; RUN_DIR/landscape-INT.png if not
    given."""
    json: bool = False
    """Print one JSON object instead of the text."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exits with the code of what went wrong, if anything did."""
    with fail_in_one_line():
        run_command(sys.argv[1:] if arguments is None else arguments)


def run_command(arguments: Sequence[str]) -> None:
    """Parse and do what `rlsparse landscape` is told."""
    flags = parse(LandscapeFlags, arguments, prog="rlsparse landscape")
    flags = replace(flags, run=newest_run(flags.run))
    _check(flags)

    from rlsparse.run.device import prepared  # slow imports, once the command line is known to be good
    from rlsparse.run.directory import read_recipe
    from rlsparse.run.environment_files import warn_of_changes
    from rlsparse.run.trust import trust_run

    environment = read_recipe(flags.run).environment
    trust_run(flags.run, environment, flags.env, flags.wrappers, flags.trust)
    warn_of_changes(flags.run, environment)

    from rlsparse.trained import landscape_account as account
    from rlsparse.trained.survey import survey
    from rlsparse.trained.update import next_update

    with prepared(), contained():
        update = next_update(flags.run, flags.seed, flags.iteration)
    if flags.iteration not in (None, update.iteration):
        print(f"no checkpoint is kept there: drawing update {update.iteration:,} instead", file=sys.stderr)
    with prepared(), contained():
        found = survey(update, flags.samples, flags.episodes, flags.reach, _watch)
    picture = flags.out or flags.run / f"landscape-{update.iteration}.png"
    table = account.write(update, found, picture)
    if flags.json:
        print(json.dumps({**account.summary(update, found), "picture": str(picture), "table": str(table)}))
    else:
        print(account.title(update), account.remark(update, found), account.belief(found), picture, sep="\n")


def _check(flags: LandscapeFlags) -> None:
    """Raise what is wrong with the flags, before minutes are spent on them."""
    require(flags.samples >= 2, "samples", flags.samples, "a whole number from 2 on")
    require(flags.episodes >= 2, "episodes", flags.episodes, "a whole number from 2 on")
    require(0 < flags.reach < math.inf, "reach", flags.reach, "a positive number")
    if not flags.run.is_dir():
        raise RunDirectoryError(f"there is no run directory {flags.run}")
    folder = flags.run if flags.out is None else flags.out.parent
    if flags.out is not None and flags.out.suffix.lower() not in PICTURES:
        raise UsageError(f"--out {flags.out} should end in {', '.join(PICTURES[:-1])} or {PICTURES[-1]}")
    if not folder.is_dir():
        raise UsageError(f"--out {flags.out}: there is no folder {folder}")
    if not os.access(folder, os.W_OK):
        raise StorageError(f"cannot write in {folder}: name another place by --out")


def _watch(done: int, of: int) -> None:
    """Show how many episodes have been run: in a live line on a terminal, else only at first."""
    if sys.stderr.isatty():
        print(f"\r\x1b[2Krunning: {done:,} of {of:,} episodes", end="\r", file=sys.stderr, flush=True)
    elif not done:
        print(f"running {of:,} episodes", file=sys.stderr, flush=True)
