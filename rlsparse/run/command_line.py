"""Parse command lines and end failed commands with one clear line and the right exit code."""

import argparse
import ast
import errno
import io
import json
import logging
import os
import re
import shutil
import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from itertools import dropwhile, takewhile
from typing import Any, NoReturn, TextIO, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from rlsparse.errors import RlsparseError, UsageError, nearest
from rlsparse.learner.bounds import whole_number
from rlsparse.run.foreign import COMMAND
from rlsparse.run.other_names import ours
from rlsparse.run.reading import printable

Flags = TypeVar("Flags")

REGISTRY = ConstructorRegistry()

CONFIG = (tyro.conf.AvoidSubcommands,)
"""A component that may be of several kinds has the flags of the default's kind."""


@REGISTRY.primitive_rule
def _whole_numbers(hint: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[int] | None:
    """Read 1e6 as a whole number too."""
    if hint.type is not int:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda given: whole_number(given[0]),
        is_instance=lambda x: type(x) is int,
        str_from_instance=lambda x: [str(x)],
    )


@REGISTRY.primitive_rule
def _arguments_of_environments(hint: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[dict[str, Any]] | None:
    if hint.type != dict[str, Any]:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=".NAME VALUE",
        instance_from_str=lambda given: {
            name: literal(text) for name, _, text in (x.partition("=") for x in json.loads(given[0]))
        },
        is_instance=lambda value: isinstance(value, dict),
        str_from_instance=lambda value: [" ".join(f"{name}={x}" for name, x in value.items()) or "none"],
    )


def parse(
    cls: type[Flags], arguments: Sequence[str], *, prog: str, default: Flags | None = None, unknown_hint: str = ""
) -> Flags:
    """Build `cls` from the command line; a flag that is unknown, or has a bad value, raises UsageError.

    An unknown flag is answered with the nearest one, or with `unknown_hint`, for flags that exist but do not
    belong here. `--help` prints the help and exits.
    """
    keywords: dict[str, Any] = {} if default is None else {"default": default}
    box = io.StringIO()
    try:
        with redirect_stderr(box):
            flags, unknown = tyro.cli(
                cls,
                args=with_arguments_together(arguments),
                prog=prog,
                return_unknown_args=True,
                config=CONFIG,
                registry=REGISTRY,
                **keywords,
            )
    except SystemExit as stop:
        if stop.code:
            raise UsageError(_one_line(box.getvalue(), arguments)) from None
        raise
    if unknown:
        name = unknown[0].partition("=")[0]
        known, is_flag = _flag_names(cls, prog, **keywords), name.startswith("-")
        bare = name == arguments[0] and not is_flag and "--env" in known
        near = f"--env {name}" if bare else _alike(name, known)
        hint = unknown_hint or (f"did you mean {near}?" if near else f"{prog} --help lists the flags")
        raise UsageError(f"unknown {'flag' if is_flag else 'argument'} {name}: {hint}")
    return flags


def with_arguments_together(arguments: Sequence[str]) -> list[str]:
    """Return a command line whose --env-kwargs.NAME VALUE are one flag with a JSON list of NAME=VALUE, at its end.

    Raises UsageError where a name or a value is missing.
    """
    rest, given = [], []
    left = list(arguments)
    while left:
        argument = left.pop(0)
        name, equals, value = argument.partition("=")
        if not re.match(r"--env[-_]kwargs(\.|=|$)", argument):
            rest.append(argument)
            continue
        name = name[len("--env-kwargs.") :]
        if not name:
            raise UsageError("--env-kwargs needs a name and a value: --env-kwargs.NAME VALUE")
        if not equals and (not left or left[0].startswith("--")):
            raise UsageError(f"--env-kwargs.{name} needs a value")
        given.append(f"{name.replace('-', '_')}={value if equals else left.pop(0)}")
    return [*rest, "--env-kwargs", json.dumps(given)] if given else rest


def literal(text: str) -> Any:
    """Return the value that a text means in TOML or Python: a number, true or false, a list, a table; else the text."""
    with suppress(ValueError, RecursionError):
        table = tomllib.loads(f"x = {text}")
        if table.keys() == {"x"} and isinstance(table["x"], str | bool | int | float | list | dict):
            return table["x"]
    with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
        return ast.literal_eval(re.sub(r"\binf\b", "1e999", text))
    return text


def _flag_names(cls: type, prog: str, **keywords: Any) -> list[str]:
    help_text = io.StringIO()
    with suppress(SystemExit), redirect_stdout(help_text):
        tyro.cli(cls, args=["--help"], prog=prog, config=CONFIG, registry=REGISTRY, **keywords)
    return re.findall(r"--[a-z][\w.-]*\w", help_text.getvalue())


def _alike(name: str, known: list[str]) -> str | None:
    """Return the flag whose last part has the name, the one that is called so elsewhere, or the one most like it."""
    spelt = name.lstrip("-").replace("_", "-")
    ends = {flag: _last_part(flag) for flag in known}
    if same := [flag for flag, end in ends.items() if end == _last_part(spelt)]:
        return nearest(name, same, cutoff=0.0)
    if called := ours(spelt):
        return called
    by_end = {end: flag for flag, end in ends.items()}
    names = {flag[2:]: flag for flag in known}
    return by_end.get(nearest(_last_part(spelt), by_end) or "") or names.get(nearest(spelt, names) or "")


def _last_part(flag: str) -> str:
    return flag.lstrip("-").rpartition(".")[2]


def _one_line(box: str, arguments: Sequence[str]) -> str:
    """Say in one sentence what tyro says in a box of several lines, under a title."""
    rows = [re.sub(r"\x1b\[[0-9;]*m", "", row).strip("│ ") for row in box.splitlines()[1:]]
    body = " ".join(takewhile(_has_words, dropwhile(lambda row: not _has_words(row), rows)))
    if missing := re.match(r"Missing value for argument '(\S+)'", body):
        return f"{missing[1]} needs a value"
    if missing := re.match(r"Missing from .+?: (\S+) (.*?)\.? \(required\)", body):
        return f"{missing[1]} is missing: {missing[2]}"
    if choice := re.match(r"invalid choice '(.*)' for argument '(\S+)'\. Expected one of \((.*)\)", body):
        choices = choice[3].replace("'", "")
        return f"{choice[2]} {choice[1]}: expected one of {choices}"
    if bad := re.match(r"Error parsing (\S+):", body):
        expected = _expected(next((row for row in rows if row.startswith(f"{bad[1]} ")), ""))
        given = " ".join(all_values([bad[1].removeprefix("--")], arguments).popitem()[1])
        return f"{bad[1]} {given or repr(given)}: expected {expected}" if expected else body
    return body


def _has_words(row: str) -> bool:
    return any(map(str.isalnum, row))


def _expected(invocation: str) -> str:
    """Put a type, as in `--eval-every {None}|INT`, into words."""
    kind = "whole number" if "INT" in invocation else "number" if "FLOAT" in invocation else ""
    if not kind:
        return ""
    return f"{kind}s" if "..." in invocation else f"a {kind} or None" if "{None}" in invocation else f"a {kind}"


def values(flags: Iterable[str], arguments: Sequence[str]) -> dict[str, str]:
    """Return what the command line gives for the flags, by flag and the last time it says so; the rest is ignored."""
    return {flag: given[0] for flag, given in all_values(flags, arguments).items() if given}


def all_values(flags: Iterable[str], arguments: Sequence[str]) -> dict[str, list[str]]:
    """Return all that follows each of the flags the last time it is given."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for flag in flags:
        parser.add_argument(f"--{flag}", f"--{flag.replace('-', '_')}", nargs="*", dest=flag)
    known, _ = parser.parse_known_args(arguments)
    return {flag: given for flag, given in vars(known).items() if given is not None}


@contextmanager
def ignore_lost_reader(stream: TextIO) -> Iterator[None]:
    """Go on in silence when `stream` takes no more: whoever read it has gone, as `| head` does, or its disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in LOST:
            raise
    finally:
        try:
            print(end="", file=stream, flush=True)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def say(text: str) -> None:
    """Print a line on stderr, if anybody reads it."""
    with ignore_lost_reader(sys.stderr):
        print(text, file=sys.stderr)


LOST = (errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EBADF, errno.EDQUOT)
"""Failures of a stream that only its reader notices."""

EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.EAGAIN)
"""Failures for want of handles, threads or processes."""

NARROWEST = 20
"""Columns that a terminal is taken to have at least: in fewer, tyro finds no place for a word and never ends."""


def prepare_streams() -> None:
    """Open what was closed at the start on /dev/null, so that no file gets its number; widen a narrow terminal."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r+"))  # noqa: SIM115 - open as long as the process is
    if shutil.get_terminal_size().columns < NARROWEST:
        os.environ["COLUMNS"] = str(NARROWEST)


@contextmanager
def fail_in_one_line() -> Iterator[None]:
    """Print a user's error as one line on stderr and exit with its code, instead of a traceback."""
    prepare_streams()
    logging.basicConfig(format="rlsparse: %(message)s", level=logging.WARNING)
    logging.raiseExceptions = False  # a warning that cannot be printed is lost, and nothing else
    before = COMMAND.set(True)
    try:
        with ignore_lost_reader(sys.stdout):
            yield
    except RlsparseError as error:
        _tell(str(error), error.exit_code)
    except MemoryError as error:
        _tell(f"out of memory ({error}): use fewer environments or smaller networks", 1)
    except OSError as error:
        if error.errno not in EXHAUSTED:
            raise
        _tell(f"{error}: the limits for this process are too low (ulimit -a shows them)", 1)
    except KeyboardInterrupt:
        _tell("interrupted", 130)
    finally:
        COMMAND.reset(before)


def _tell(text: str, exit_code: int) -> NoReturn:
    say(f"rlsparse: {printable(text)}")
    sys.exit(exit_code)
