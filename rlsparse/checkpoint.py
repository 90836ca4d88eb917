"""Checkpoints: a directory of safetensors and a manifest that vouches for every byte; never a pickle."""

import hashlib
import json
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from rlsparse.errors import RunDirectoryError
from rlsparse.storage import storage_errors, sync_directory, write_synced

FORMAT = 1
KEPT = 2
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """Everything training goes on from: named groups of arrays, and plain JSON values."""

    arrays: dict[str, dict[str, np.ndarray]]
    values: dict[str, Any]


def encode_arrays(arrays: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> bytes:
    """Return arrays as a safetensors document."""
    # safetensors writes the memory as it lies, so it must lie in C order
    contiguous = {name: np.ascontiguousarray(x) for name, x in arrays.items()}
    return safetensors.numpy.save(contiguous, metadata)


def save(folder: Path, total_steps: int, checkpoint: Checkpoint) -> None:
    """Write folder/<total_steps>/: beside first, synced, then renamed; the two newest are kept.

    Raises StorageError, leaving earlier checkpoints as they were.
    """
    target, beside = folder / str(total_steps), folder / f".tmp-{total_steps}"
    old = folder / f"{total_steps}.old"
    with storage_errors(target):
        folder.mkdir(exist_ok=True)
        for leftover in folder.glob(".tmp-*"):
            shutil.rmtree(leftover)
        beside.mkdir()
        files = {f"{group}.safetensors": encode_arrays(x) for group, x in checkpoint.arrays.items()}
        for name, content in files.items():
            write_synced(beside / name, content)
        write_synced(beside / "manifest.json", _manifest(files, checkpoint.values))
        sync_directory(beside)
        if target.exists():
            os.rename(target, old)
        os.rename(beside, target)
        sync_directory(folder)
        shutil.rmtree(old, ignore_errors=True)
        for outdated in _newest_first(folder)[KEPT:]:
            shutil.rmtree(outdated)


def load_latest(folder: Path) -> Checkpoint:
    """Read the newest whole checkpoint; damaged ones are named in a warning and passed over.

    Raises RunDirectoryError if none is left.
    """
    candidates = _newest_first(folder)
    damage = []
    for path in candidates:
        try:
            checkpoint = _load(path)
        except RunDirectoryError as error:
            damage.append(str(error))
            log.warning("%s; trying the checkpoint before it", error)
            continue
        return checkpoint
    if damage:
        raise RunDirectoryError(f"{damage[0]}, and no whole checkpoint is left in {folder}")
    raise RunDirectoryError(f"{folder} holds no checkpoint: the run stopped before its first one; start it anew")


def _newest_first(folder: Path) -> list[Path]:
    def age(path: Path) -> tuple[int, bool]:
        return int(path.name.removesuffix(".old")), not path.name.endswith(".old")

    found = [path for path in folder.glob("*") if path.name.removesuffix(".old").isdecimal()]
    return sorted(found, key=age, reverse=True)


def _manifest(files: dict[str, bytes], values: dict[str, Any]) -> bytes:
    described = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)} for name, content in files.items()
    }
    body = {"format": FORMAT, "files": described, "values": values}
    return json.dumps({"sha256": _digest(body), **body}, indent=1).encode()


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _load(path: Path) -> Checkpoint:
    manifest = _read_manifest(path / "manifest.json")
    arrays = {}
    for name, expected in manifest["files"].items():
        file = path / name
        try:
            content = file.read_bytes()
        except OSError as error:
            raise RunDirectoryError(f"cannot read {file}: {error.strerror}") from error
        if len(content) != expected["size"] or hashlib.sha256(content).hexdigest() != expected["sha256"]:
            raise RunDirectoryError(f"{file} is damaged: its bytes are not those that were written")
        arrays[name.removesuffix(".safetensors")] = safetensors.numpy.load(content)
    return Checkpoint(arrays, manifest["values"])


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_bytes())
        digest = manifest.pop("sha256")
        whole = digest == _digest(manifest)
    except OSError as error:
        raise RunDirectoryError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, AttributeError, TypeError):
        whole = False
    if not whole:
        raise RunDirectoryError(f"{path} is damaged: its bytes are not those that were written")
    if manifest["format"] != FORMAT:
        raise RunDirectoryError(f"{path} has format {manifest['format']}; this version reads format {FORMAT}")
    return manifest
