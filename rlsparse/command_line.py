"""Parse command lines and end failed commands with one clear line and the right exit code."""

import difflib
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import tyro

from rlsparse.errors import RlsparseError, UsageError

Flags = TypeVar("Flags")


def parse(
    cls: type[Flags], arguments: Sequence[str], *, prog: str, default: Flags | None = None, unknown_hint: str = ""
) -> Flags:
    """Build `cls` from the command line; an unknown flag raises UsageError with the nearest one.

    `unknown_hint` replaces the list of nearest flags for flags that exist but do not belong here.
    """
    keywords = {} if default is None else {"default": default}
    flags, unknown = tyro.cli(cls, args=list(arguments), prog=prog, return_unknown_args=True, **keywords)  # type: ignore[call-overload]
    if unknown:
        known = _flag_names(cls, default)
        name = unknown[0].partition("=")[0]
        near = difflib.get_close_matches(name, known, 1, cutoff=0.5)
        hint = unknown_hint or (f"did you mean {near[0]}?" if near else f"{prog} --help lists the flags")
        raise UsageError(f"unknown {'flag' if name.startswith('-') else 'argument'} {name}: {hint}")
    return flags


def _flag_names(cls: type, default: object) -> list[str]:
    keywords = {} if default is None else {"default": default}
    parser = tyro.extras.get_parser(cls, **keywords)  # type: ignore[arg-type]
    return [option for action in parser._actions for option in action.option_strings]


@contextmanager
def fail_in_one_line() -> Iterator[None]:
    """Print a user's error as one line on stderr and exit with its code, instead of a traceback."""
    logging.basicConfig(format="rlsparse: %(message)s", level=logging.WARNING)
    try:
        yield
    except RlsparseError as error:
        print(f"rlsparse: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
