"""Numbers out of files that may have been cut or damaged: CSV tables and NumPy archives. Every log is read here."""

import csv
import zipfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG

import numpy as np

from rlsparse.compare.record import UnreadableLog

LARGEST = 2**30
"""Larger files and arrays, in bytes, are not read."""


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


def read_bytes(path: Path) -> bytes:
    """Return a file's content; raises UnreadableLog."""
    try:
        status = path.stat()
        if not (S_ISREG(status.st_mode) or S_ISDIR(status.st_mode)):
            raise UnreadableLog(f"{path} is no file that could be read to its end")
        if status.st_size > LARGEST:
            raise UnreadableLog(f"{path} is larger than {LARGEST:,} bytes, too large for a log")
        return path.read_bytes()
    except OSError as error:
        raise UnreadableLog(f"cannot read {path}: {error.strerror or error}") from error


def read_lines(path: Path) -> list[str]:
    """Return the lines that end in a line feed: what follows the last one may be half a number."""
    return [line.rstrip("\r") for line in read_bytes(path).decode("utf-8", "replace").split("\n")[:-1]]


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
    return Table({names[i]: column for i, column in zip(chosen, values.T, strict=True)}, damaged)


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
    """Read arrays of plain numbers out of an npz file; nothing is unpickled. Raises UnreadableLog."""
    try:
        with zipfile.ZipFile(path) as archive:
            if any(member.file_size > LARGEST for member in archive.infolist()):
                raise UnreadableLog(f"{path} holds an array that is too large for a log")
        with np.load(path, allow_pickle=False) as saved:
            arrays = [np.asarray(saved[name]) for name in names]
    except Exception as error:  # zipfile's, zlib's and NumPy's own, of many types
        raise UnreadableLog(f"cannot read {path}: {error}") from error
    if any(array.dtype.kind not in "iuf" for array in arrays):
        raise UnreadableLog(f"{path} holds something else than numbers")
    return arrays
