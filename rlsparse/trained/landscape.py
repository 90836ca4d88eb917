"""`rlsparse landscape`: draw the true returns around an update of a run."""

import io
import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from rlsparse.errors import RunDirectoryError, StorageError, UsageError
from rlsparse.run.command_line import fail_in_one_line, parse

if TYPE_CHECKING:  # simulation and plotting are imported once the command line is known to be good
    from rlsparse.trained.replay import Update
    from rlsparse.trained.survey import Survey

PICTURES = (".png", ".pdf", ".svg")


@dataclass(frozen=True)
class LandscapeFlags:
    """Draw the true returns around an update: of its anchors, of candidates, of samples, on episodes of their own."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_DIR")]
    """A run directory; nothing but the picture and its table is written there."""
    env: Annotated[str | None, tyro.conf.arg(metavar="ENV")] = None
    """The run's own environment, to be named if it comes from a module, whose code is run."""
    iteration: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Which update, counted from 1; the last one if not given. The run is replayed up to it."""
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
    """Print one JSON object instead of the table."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exits with the code of what went wrong, if anything did."""
    with fail_in_one_line():
        run_command(sys.argv[1:] if arguments is None else arguments)


def run_command(arguments: Sequence[str]) -> None:
    """Parse and do what `rlsparse landscape` is told."""
    flags = parse(LandscapeFlags, arguments, prog="rlsparse landscape")
    _check(flags)

    from rlsparse.run import cards
    from rlsparse.run.device import prepare
    from rlsparse.run.directory import read_recipe
    from rlsparse.trained.landscape_account import summary, text, warning
    from rlsparse.trained.replay import replay
    from rlsparse.trained.survey import survey

    named = None if flags.env is None else cards.resolve_environment(flags.env)
    cards.trust_environment(read_recipe(flags.run).env, named, flags.run / "recipe.toml")

    prepare()
    with _progress("replaying", "updates") as watch:
        update = replay(flags.run, flags.seed, flags.iteration, watch)
    if complaint := warning(update):
        print(f"rlsparse: {complaint}", file=sys.stderr)
    with _progress("running", "episodes") as watch:
        found = survey(update, flags.samples, flags.episodes, flags.reach, watch)
    picture = flags.out or flags.run / f"landscape-{update.iteration}.png"
    table = write(update, found, flags.reach, picture)
    if flags.json:
        print(json.dumps({**summary(update, found), "picture": str(picture), "table": str(table)}))
    else:
        print(f"{text(update, found)}\n{picture}")


def _check(flags: LandscapeFlags) -> None:
    """Raise what is wrong with the flags, before minutes are spent on them."""
    for name, given, least in (("samples", flags.samples, 2), ("episodes", flags.episodes, 2)):
        if given < least:
            raise UsageError(f"--{name} is {given}: expected a whole number from {least} on")
    if not 0 < flags.reach < math.inf:
        raise UsageError(f"--reach is {flags.reach}: expected a positive number")
    if not flags.run.is_dir():
        raise RunDirectoryError(f"there is no run directory {flags.run}")
    if flags.out is not None:
        _check_picture(flags.out)
    folder = flags.run if flags.out is None else flags.out.parent
    if not os.access(folder, os.W_OK):
        raise StorageError(f"cannot write in {folder}: name another place by --out")


def _check_picture(out: Path) -> None:
    if out.suffix.lower() not in PICTURES:
        raise UsageError(f"--out {out} should end in {', '.join(PICTURES[:-1])} or {PICTURES[-1]}")
    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: there is no folder {out.parent}")


@contextmanager
def _progress(doing: str, what: str) -> Iterator[Any]:
    """Give a function that shows how many of how many are done: in a live line on a terminal, else only at first."""
    live, begun = sys.stderr.isatty(), False

    def watch(done: int, of: int) -> None:
        nonlocal begun
        if live:
            print(f"\r\x1b[2K{doing}: {done:,} of {of:,} {what}", end="", file=sys.stderr, flush=True)
        elif not begun:
            print(f"{doing} {of:,} {what if of != 1 else what[:-1]}", file=sys.stderr, flush=True)
        begun = True

    try:
        yield watch
    finally:
        if live and begun:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)


def write(update: "Update", found: "Survey", reach: float, picture: Path) -> Path:
    """Write the picture and, beside it, the table of all points, which is returned; each is replaced whole."""
    from rlsparse.compare.figure import save
    from rlsparse.run.storage import write_atomic
    from rlsparse.trained import landscape_account as account
    from rlsparse.trained.landscape_picture import draw_landscape

    texts = account.title(update), account.remarks(update, found, reach), account.method(update, found)
    figure = draw_landscape(found, *texts, account.warning(update))
    content, table = io.BytesIO(), picture.with_suffix(".csv")
    save(figure, content, picture.suffix.lower(), account.summary(update, found))
    write_atomic(table, account.points_csv(found))
    write_atomic(picture, content.getvalue())
    return table
