"""Read a file of which nothing is known: a regular one, not too large, of plain values; every failure is one line."""

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from stat import S_ISREG
from typing import Any

from rlsparse.errors import RunDirectoryError, UsageError
from rlsparse.run.storage import opening, patiently

MOST_BYTES = 2**26
"""Largest text or JSON file that is read."""

MOST_OF_ARRAYS = 2**30
"""Largest file of arrays that is read."""

MOST_OF_TABLE = 2**29
"""Largest table of a run that is read."""

MOST_TOML = 2**18
"""Largest TOML file that is read: the time of Python's reader grows with the square of the parts of keys."""

MOST_DOTS = 256
"""Most dots in a line of a TOML file, for the same reason."""

DEEPEST = 64
"""Most lists and tables within each other."""

LONGEST = 200
"""Most characters of a file's text that a message repeats."""

WIDEST = 256
"""Most bits of a whole number: the state of a random stream has half as many."""


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """Return what a regular file holds; raises RunDirectoryError, for more than `most` bytes and for devices too."""

    def read() -> bytes:
        check_regular(path, os.stat(path), most)  # to open a device may already do something
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | opening("O_NONBLOCK"))) as file:
            return file.read(check_regular(path, os.fstat(file.fileno()), most))

    try:
        return patiently(read)
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        raise RunDirectoryError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def check_regular(path: Path, found: os.stat_result, most: int) -> int:
    """Return the size of a file that can be read to its end; raises RunDirectoryError for anything else."""
    if not S_ISREG(found.st_mode):
        raise RunDirectoryError(f"cannot read {path}: it is not a regular file")
    if found.st_size > most:
        raise RunDirectoryError(f"cannot read {path}: it has {found.st_size:,} bytes, expected at most {most:,}")
    return found.st_size


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """Return what a text file holds; raises RunDirectoryError."""
    try:
        return read_bytes(path, most).decode()
    except UnicodeDecodeError as error:
        raise RunDirectoryError(f"{path}: not a text file: {error}") from error


def read_toml(path: Path) -> dict[str, Any]:
    """Return a TOML file as plain values; raises UsageError."""
    try:
        text = read_text(path, MOST_TOML)
    except RunDirectoryError as error:
        raise UsageError(str(error)) from error
    return parse_toml(text, str(path))


def parse_toml(text: str, source: str) -> dict[str, Any]:
    """Return a TOML document as plain values; raises UsageError naming `source`."""
    try:
        if any(line.count(".") > MOST_DOTS for line in text.splitlines()):
            raise ValueError(f"a line has more than {MOST_DOTS} dots")
        return _modest(tomllib.loads, text)
    except ValueError as error:
        raise UsageError(f"{source}: not a TOML file: {error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object, texts as `printable`, without its seal, which is checked if there is one.

    Raises RunDirectoryError for anything else, and for what is not as it was written.
    """
    return _printable(unseal(read_text(path).removesuffix("\n"), path))


def parse_json(text: str | bytes) -> dict[str, Any]:
    """Return the JSON object in a text; raises ValueError for anything else, and for a key that is there twice."""
    body = _modest(partial(json.loads, parse_constant=_refuse_constant, object_pairs_hook=_unique), text)
    if not isinstance(body, dict):
        raise ValueError("it does not hold a JSON object")
    return body


def seal(body: dict[str, Any]) -> str:
    """Return an object as a JSON file whose first key vouches for all that follows."""
    return json.dumps({"sha256": hashlib.sha256(json.dumps(body).encode()).hexdigest(), **body}, indent=1)


def unseal(text: str, path: Path, form: int | None = None) -> dict[str, Any]:
    """Return the object that was sealed; raises RunDirectoryError if the text is not what `seal` made of it.

    Where it must be of the format `form`, one without a seal is refused too; else it was made by hand, or by an earlier
    version, and is taken as it is.
    """
    try:
        body = parse_json(text)
    except ValueError as error:
        raise RunDirectoryError(f"{path} is damaged: {error}") from error
    if form is not None and body.get("format", form) != form:
        raise RunDirectoryError(f"{path} has format {shorten(repr(body['format']))}; this version reads format {form}")
    # where a byte of the word sha256 has changed, what looks like a digest is left
    sealed = any(re.fullmatch("[0-9a-f]{64}", str(first)) for first in (*body.values(),)[:1])
    if form is not None or sealed or "sha256" in body:
        body.pop("sha256", None)
        if text != seal(body):
            raise RunDirectoryError(f"{path} is damaged: its bytes are not those that were written")
    return body


def printable(text: str) -> str:
    """Return a text with blanks for what moves the cursor, changes colours, or else is no visible character."""
    return text if text.isprintable() else "".join(x if x.isprintable() else " " for x in text)


def shorten(text: str) -> str:
    """Return at most so much of a text as goes into a line."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _printable(value: Any) -> Any:
    if isinstance(value, dict):
        return {printable(key): _printable(x) for key, x in value.items()}
    if isinstance(value, list):
        return [_printable(x) for x in value]
    return printable(value) if isinstance(value, str) else value


def _modest(parse: Callable[[Any], Any], text: str | bytes) -> Any:
    """Return what a text says; raises ValueError if that lies deep in lists and tables, or is a huge number."""
    try:
        _check_modest(value := parse(text))
    except RecursionError as error:
        raise ValueError(f"it nests deeper than {DEEPEST} levels") from error
    return value


def _check_modest(value: Any, depth: int = 0) -> None:
    if depth > DEEPEST:
        raise RecursionError
    if isinstance(value, int) and value.bit_length() > WIDEST:
        raise ValueError(f"it holds a whole number of {value.bit_length():,} bits, expected at most {WIDEST}")
    for x in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_modest(x, depth + 1)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(table := dict(pairs)) < len(pairs):
        raise ValueError("a key is there twice")
    return table


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")
