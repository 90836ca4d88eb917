"""Numbers out of files that may have been cut or damaged: CSV tables and NumPy archives. Every log is read here."""

import csv
import io
import math
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from rlsparse.compare.record import UnreadableLog
from rlsparse.run.reading import read_bytes

LARGEST = 2**26
"""Larger files, in bytes, are not read."""

LARGEST_ARCHIVE = 2**24
"""Bytes of an npz file; what its arrays unpack to may be `LARGEST` together."""

MOST_PACKED = 100
"""An array that was packed to a smaller share than one in so many was made to fill the memory."""

SMALL_ARRAY = 2**14
"""Bytes; what is packed to fewer is not large when it is unpacked as far as that."""

MOST_LINES = 2**21

PART = 2**16
"""Lines of a long table that are parsed at once."""

LONGEST_REASON = 200

LARGEST_NUMBER = 1e70
"""Fourth powers of larger numbers, which tests need, are not finite, so neither are these."""


@dataclass(frozen=True)
class Table:
    """Named columns of numbers; empty cells are NaN."""

    columns: dict[str, np.ndarray]
    damaged: tuple[int, ...]
    """Lines that were left out, counted from 1."""

    def require(self, path: Path, *names: str) -> tuple[np.ndarray, ...]:
        """Return columns; raises UnreadableLog for one that is not there."""
        for name in names:
            if name not in self.columns:
                raise UnreadableLog(f"{path} has no column {name}")
        return tuple(self.columns[name] for name in names)


def read_lines(path: Path) -> list[str]:
    """Return the lines that end in a line feed: what follows the last one may be half a number."""
    return list(lines_of(read_whole_lines(path, LARGEST)))


def read_whole_lines(path: Path, largest: int) -> bytes:
    """Return what a file holds up to its last line feed; raises UnreadableLog for too many lines."""
    content = read_bytes(path, largest)
    if content.count(b"\n") > MOST_LINES:
        raise UnreadableLog(f"{path} has more than {MOST_LINES:,} lines, too many for a log")
    return content[: content.rfind(b"\n") + 1]


def lines_of(content: bytes) -> Iterator[str]:
    """Yield lines without their ends, one by one: all at once take several times the memory."""
    text = io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", "replace", newline="\n")
    return (line.rstrip("\r\n") for line in text)


def bounded(x: np.ndarray) -> np.ndarray:
    """Return numbers as floats, NaN where they are too large to be reckoned with."""
    x = np.asarray(x, float)
    return np.where(np.abs(x) < LARGEST_NUMBER, x, np.nan)


def parse_table(lines: list[str], path: Path, wanted: Iterable[str], first_line: int = 1) -> Table:
    """Read those of the `wanted` columns that the header names; rows without their numbers are left out, and named.

    Raises UnreadableLog if there is no header, or rows but not one whole one.
    """
    names: list[str] = []
    with suppress(csv.Error):
        names = _cells(lines[0]) if lines else []
    if not any(names):
        raise UnreadableLog(f"{path} has no header line")
    if len(set(names)) < len(names):
        raise UnreadableLog(f"{path} names a column twice")
    rows = [(i, line) for i, line in enumerate(lines[1:], first_line + 1) if line]
    chosen = [i for i, name in enumerate(names) if name in set(wanted)]
    values, damaged = _numbers(rows, len(names), chosen)
    if rows and chosen and not len(values):
        raise UnreadableLog(f"{path} holds no whole row of {len(names)} cells")
    return Table({names[i]: bounded(column) for i, column in zip(chosen, values.T, strict=True)}, damaged)


def parse_long_table(lines: Iterator[str], path: Path, wanted: Iterable[str]) -> Table:
    """As `parse_table`, of so many lines that they are better read in parts."""
    header, wanted = next(lines, ""), set(wanted)
    parts, first = list[Table](), 1
    while (block := list(islice(lines, PART))) or not parts:
        parts.append(parse_table([header, *block], path, wanted, first))
        first += len(block)
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
    return Table(columns, tuple(line for part in parts for line in part.damaged))


def _cells(line: str) -> list[str]:
    cells = line.split(",") if '"' not in line else next(csv.reader([line]), [])
    return [cell.strip() for cell in cells]


def _numbers(rows: list[tuple[int, str]], width: int, chosen: list[int]) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return the chosen cells [rows, chosen], and the lines that are damaged."""
    if rows and chosen and all(line.count(",") == width - 1 and '"' not in line for _, line in rows):
        with suppress(ValueError):  # an empty or a damaged cell
            values = np.loadtxt([line for _, line in rows], delimiter=",", comments=None, usecols=chosen, ndmin=2)
            if len(values) == len(rows):
                return values, ()
    good, damaged = [], []
    for i, line in rows if chosen else []:
        try:
            cells = _cells(line)
            if len(cells) != width:
                raise ValueError(line)
            good.append([_number(cells[j]) for j in chosen])
        except (ValueError, csv.Error):
            damaged.append(i)
    return np.array(good, float).reshape(len(good), len(chosen)), tuple(damaged)


def _number(cell: str) -> float:
    if "_" in cell:  # which float() would skip
        raise ValueError(cell)
    return float(cell) if cell else np.nan


def read_arrays(path: Path, *names: str) -> list[np.ndarray]:
    """Read arrays of plain numbers out of an npz file; nothing is unpickled. Raises UnreadableLog.

    What is too large, or was packed too small, is refused before it is unpacked.
    """
    content = read_bytes(path, LARGEST_ARCHIVE)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [archive.getinfo(f"{name}.npy") for name in names]
            if sum(x.file_size for x in members) > LARGEST or any(map(_was_packed_to_burst, members)):
                raise UnreadableLog(f"{path} holds an array that is too large for a log")
            # only a read of so many bytes unpacks no more
            return [_array(io.BytesIO(archive.open(member).read(member.file_size))) for member in members]
    except UnreadableLog:
        raise
    except Exception as error:  # zipfile's, zlib's and NumPy's own, of many types
        raise UnreadableLog(f"cannot read {path}: {str(error)[:LONGEST_REASON]}") from error


def _was_packed_to_burst(member: zipfile.ZipInfo) -> bool:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others unpack all at once
        return True
    return member.file_size > MOST_PACKED * max(member.compress_size, SMALL_ARRAY)


def _array(file: io.BytesIO) -> np.ndarray:
    """One array of plain numbers, whose header says as many as there are."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.kind not in "iuf" or dtype.itemsize * math.prod(shape) != len(file.getbuffer()) - file.tell():
        raise ValueError("an array holds something else than the numbers that its header says")
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)
