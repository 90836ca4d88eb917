"""`python -m rlsparse.study.worker DIR...`: goes on with run directories, in a process of its own.

What it needs is in the directories, and so is what it leaves: the state of each run, and in one line why it failed.
"""

import argparse
import os
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rlsparse.run.stop import Stop, StopSignal  # nothing that imports numpy before the process is on its cores

if TYPE_CHECKING:
    from rlsparse.train.training import Opened

WAITS = (0.1, 0.4)
"""Seconds after which a directory that is in use is tried again: another process may only have looked who holds it."""

STOPPED = 130
"""Exit code of a worker that was told to stop by other means than a signal."""

WORKER = "RLSPARSE_WORKER"
"""Environment variable of workers: a script that they import for its environments begins no study of its own."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exits with 0 if all runs are finished, else with the code of the first that is not."""
    flags = _parse(sys.argv[1:] if arguments is None else arguments)
    os.environ[WORKER] = "1"
    if flags.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, flags.cores)
    _open_as_many_files_as_allowed()
    with StopSignal() as stop:
        if flags.until_stdin_ends:
            threading.Thread(target=_stop_at_end_of_stdin, args=(stop,), daemon=True).start()
        from rlsparse.run.command_line import fail_in_one_line

        with fail_in_one_line():
            code = work(flags.folders, flags.trusted, stop)
    sys.exit(128 + stop.received if stop.received else code)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="rlsparse.study.worker", description="Go on with runs of a study.")
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="a run directory")
    parser.add_argument("--cores", type=_numbers, help="run on these cores alone, as 0,1")
    trusted = "run the code of these environments and wrappers where the runs name them"
    parser.add_argument("--trusted", nargs="+", default=(), metavar="NAME", help=trusted)
    ends = "save and end as soon as stdin ends: whoever started this process is gone"
    parser.add_argument("--until-stdin-ends", action="store_true", help=ends)
    return parser.parse_args(arguments)


def _open_as_many_files_as_allowed() -> None:
    """Raise this process's own limit of open files: every run that it holds takes two."""
    with suppress(ImportError, OSError, ValueError):  # as where there is no such limit
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _numbers(text: str) -> set[int]:
    return {int(number) for number in text.split(",")}


def _stop_at_end_of_stdin(stop: Stop) -> None:
    os.read(0, 1)  # a byte says it as well: a fork of whoever started this may keep the pipe open
    stop.ask("the end of its study")


def work(folders: Sequence[Path], trusted: Sequence[str], stop: Stop) -> int:
    """Train the runs of these directories to their ends, or until told to stop, together where their recipes allow it.

    Those for which the files that this process may open do not suffice wait for the others. Returns the exit code: 0
    if all are finished, else that of the first failure.
    """
    from rlsparse.study.together import train_together

    codes, at_once = [], most_runs()
    for some in (folders[first : first + at_once] for first in range(0, len(folders), at_once)):
        opened = []
        for folder in some:
            run, code = _open(folder, trusted) if not stop() else (None, STOPPED)
            opened += [run] if run else []
            codes.append(code)
        codes += [_told(failure.error) for failure in train_together(opened, stop)]
        codes += [STOPPED for one in opened if one.run.state not in ("finished", "failed")]
    return next((code for code in codes if code not in (0, STOPPED)), max(codes))


def most_runs() -> int:
    """Return how many runs this process may hold: of the files that it may open, each takes two of one half."""
    with suppress(ImportError):
        import resource

        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return sys.maxsize if most == resource.RLIM_INFINITY else max(1, most // 4)
    return sys.maxsize


def _open(folder: Path, trusted: Sequence[str]) -> "tuple[Opened | None, int]":
    """Open a run directory and hold it; returns it, or none for one that is finished or fails, and the exit code."""
    from rlsparse.errors import RlsparseError, RunDirectoryError
    from rlsparse.run.directory import read_recipe
    from rlsparse.run.flags import ResumeFlags
    from rlsparse.study.outcome import tell_failure
    from rlsparse.study.standing import IN_USE
    from rlsparse.train.training import reopen

    for wait in (*WAITS, None):
        try:
            environment = read_recipe(folder).environment
            known = {environment.id, *environment.wrappers} <= {*trusted}
            opened = reopen(ResumeFlags(folder, trust=known, quiet=True))
            if opened.recipe.environment != environment:
                opened.run.release()
                raise RunDirectoryError(f"{folder / 'recipe.toml'} was changed while it was read")
        except RlsparseError as error:
            if IN_USE in str(error) and wait is not None:
                time.sleep(wait)
                continue
            tell_failure(folder, str(error))
            return None, error.exit_code
        if opened.run.complete:
            opened.run.release()
            return None, 0
        return opened, 0
    raise AssertionError


def _told(error: BaseException) -> int:
    """Return the exit code for what has ended a run, which its status tells; what nobody foresaw is shown."""
    from rlsparse.errors import RlsparseError

    if isinstance(error, RlsparseError):
        return error.exit_code
    traceback.print_exception(error)
    return 1


if __name__ == "__main__":
    main()
