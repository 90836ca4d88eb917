"""Checkpoints: a directory of safetensors and a manifest that vouches for every byte; never a pickle."""

import hashlib
import logging
import os
import re
import shutil
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from rlsparse.errors import RunDirectoryError
from rlsparse.learner.bounds import CountFromZero
from rlsparse.run.convert import told
from rlsparse.run.reading import check_regular, printable, read_bytes, read_text, seal, unseal
from rlsparse.run.status import FEWEST_KEPT
from rlsparse.run.storage import persist, sync_directory, write_synced

FORMAT = 1
MOST_ARRAYS = 2**33
"""Largest file of arrays that is read, in bytes."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class File:
    """What a file of arrays must be."""

    sha256: str
    size: CountFromZero


@dataclass(frozen=True)
class Manifest:
    """What vouches for the files of a checkpoint, and its plain values."""

    format: int
    files: dict[str, File]
    values: dict[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """Everything training goes on from: named groups of arrays, and plain JSON values."""

    arrays: dict[str, dict[str, np.ndarray]]
    values: dict[str, Any]

    def copied(self) -> "Checkpoint":
        """Return it with arrays of its own."""
        arrays = {group: {name: np.array(x) for name, x in own.items()} for group, own in self.arrays.items()}
        return Checkpoint(arrays, dict(self.values))


def encode_arrays(arrays: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> bytes:
    """Return arrays as a safetensors document."""
    # safetensors writes the memory as it lies, so it must lie in C order
    contiguous = {name: np.asarray(x, order="C") for name, x in arrays.items()}
    return safetensors.numpy.save(contiguous, metadata)


def kept(steps: Sequence[int], count: int, budget: int, every: int | None = None) -> set[int]:
    """Return which of the checkpoints after so many steps stay, at most `count`: the two newest, others spread evenly.

    Those are the first at or after each of `count` - 2 marks that divide the budget evenly. Beside them the first at or
    after each multiple of `every` stays. What is removed now would not be kept later, so a run ends with the same
    checkpoints however often they were thinned out.
    """
    rising = sorted(set(steps))
    passing = [at for before, at in pairwise([0, *rising]) if every and at // every > before // every]
    marks = [budget * i / (count - 1) for i in range(1, count - 1)]
    spread = [rising[min(bisect_left(rising, mark), len(rising) - 1)] for mark in marks]
    return {*rising[-FEWEST_KEPT:], *spread, *passing}


def save(
    folder: Path,
    total_steps: int,
    checkpoint: Checkpoint,
    count: int = FEWEST_KEPT,
    budget: int = 0,
    every: int | None = None,
) -> None:
    """Write folder/<total_steps>/: beside first, synced, then renamed; those that `kept` returns stay.

    Raises StorageError, leaving earlier checkpoints as they were.
    """
    files = {f"{group}.safetensors": encode_arrays(x) for group, x in checkpoint.arrays.items()}
    files["manifest.json"] = seal(_describe(files, checkpoint.values)).encode()
    persist(folder / str(total_steps), lambda: put(folder, str(total_steps), files))
    _remove_outdated(folder, total_steps, count, budget, every)


def put(folder: Path, name: str, files: dict[str, bytes]) -> None:
    """Write the files of folder/<name>/ beside it first, then rename; raises OSError."""
    if not folder.exists():
        folder.mkdir()  # but no folder above it: a run that somebody has removed does not come back in parts
        sync_directory(folder.parent)
    for leftover in folder.glob(".tmp-*"):
        shutil.rmtree(leftover)
    beside = folder / f".tmp-{name}"
    try:
        beside.mkdir()
        for file, content in files.items():
            write_synced(beside / file, content)
        sync_directory(beside)
        _put_in_place(beside, folder / name)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _put_in_place(beside: Path, target: Path) -> None:
    """Rename to `target`; a checkpoint of that name stays readable as <name>.old until it is replaced."""
    old = target.with_name(f"{target.name}.old")
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.rename(target, old)
    os.rename(beside, target)
    sync_directory(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _remove_outdated(folder: Path, total_steps: int, count: int, budget: int, every: int | None) -> None:
    """Thin out; those of more steps than the one just written were damaged and passed over."""
    found = steps_first(folder)
    stay = kept([_steps(path) for path in found if _steps(path) <= total_steps], count, budget, every)
    for path in found:
        replaced = path.suffix == ".old" and path.with_suffix("") in found
        if _steps(path) not in stay or replaced:
            shutil.rmtree(path, ignore_errors=True)


def load_latest(folder: Path, strict: bool = False) -> Checkpoint | None:
    """Read the newest whole checkpoint; a warning names those that are damaged and were passed over.

    None if there has been none yet. Raises RunDirectoryError if none is left; if `strict`, for the first that is
    damaged. Runs no code from the files.
    """
    damage = []
    for path in steps_first(folder):
        try:
            checkpoint = _load(path)
        except RunDirectoryError as error:
            if strict:
                raise
            damage.append(str(error))
            continue
        if damage:
            log.warning("%s; going on from the checkpoint before it, %s", "; ".join(damage), path)
        return checkpoint
    if damage:
        raise RunDirectoryError(f"{damage[0]}, and no whole checkpoint is left in {folder}")
    return None


def load_whole(folder: Path) -> Iterator[Checkpoint]:
    """Read the checkpoints that are whole, newest first; a run that goes on may meanwhile take them away."""
    for path in steps_first(folder):
        with suppress(RunDirectoryError):
            yield _load(path)


def steps_first(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, whole or not, that of most steps first."""
    found = [path for path in folder.glob("*") if path.name.removesuffix(".old").isdecimal()]
    return sorted(found, key=lambda path: (_steps(path), path.suffix != ".old"), reverse=True)


def newest_steps(folder: Path) -> int:
    """Return the steps of the checkpoint that has most, whole or not; 0 if there is none."""
    return max(map(_steps, steps_first(folder)), default=0)


def _steps(path: Path) -> int:
    return int(path.name.removesuffix(".old"))


def _describe(files: dict[str, bytes], values: dict[str, Any]) -> dict[str, Any]:
    described = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)} for name, content in files.items()
    }
    return {"format": FORMAT, "files": described, "values": values}


def _load(path: Path) -> Checkpoint:
    manifest = read_manifest(path / "manifest.json")
    arrays = {}
    for name, expected in manifest.files.items():
        file = path / name
        content = read_bytes(file, min(expected.size, MOST_ARRAYS))
        if len(content) != expected.size or hashlib.sha256(content).hexdigest() != expected.sha256:
            raise RunDirectoryError(f"{file} is damaged: its bytes are not those that were written")
        try:
            arrays[file.stem] = safetensors.numpy.load(content)
        except (safetensors.SafetensorError, LookupError, ValueError) as error:
            raise RunDirectoryError(f"{file} is not a safetensors file: {printable(str(error))}") from error
    return Checkpoint(arrays, manifest.values)


def read_manifest(path: Path) -> Manifest:
    """Return what vouches for a checkpoint; raises RunDirectoryError."""
    manifest = told(Manifest, unseal(read_text(path), path, FORMAT), path)
    if not all(re.fullmatch(r"[a-z]+\.safetensors", name) for name in manifest.files):
        raise RunDirectoryError(f"{path} is no manifest of ours: it names files that a checkpoint does not have")
    return manifest


def shapes(path: Path) -> dict[str, list[int]]:
    """Return the shapes of the arrays in a file, which are not read; raises RunDirectoryError."""
    try:
        check_regular(path, os.stat(path), MOST_ARRAYS)
        with safetensors.safe_open(path, "np") as file:
            return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 - no dict
    except (OSError, safetensors.SafetensorError) as error:
        raise RunDirectoryError(f"cannot read {path}: {error}") from error
