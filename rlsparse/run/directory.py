"""The run directory: what a run was, how it went, and all that is needed to go on with it."""

import contextlib
import csv
import fcntl
import io
import json
import logging
import os
import platform
import secrets
import shlex
import socket
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Self

from rlsparse.errors import RunDirectoryError, StorageError, UsageError
from rlsparse.run.checkpoint import FEWEST_KEPT
from rlsparse.run.device import name_of
from rlsparse.run.recipe import Recipe, from_toml, to_toml
from rlsparse.run.storage import storage_errors, write_atomic

RECORDS = ("progress.csv", "probe.csv", "density.csv")
"""Tables that grow as the run goes: evaluations, and where there are any, probes and networks of several densities."""

PACKAGES = ("rlsparse", "numpy", "torch", "gymnasium", "mujoco", "safetensors")
GPU_PACKAGES = ("mujoco-warp", "warp-lang")
"""What simulates beside MuJoCo where the simulator is warp."""

SPARSE_PACKAGES = ("numba",)
"""What makes updates of sparse networks fast, where it is installed."""

log = logging.getLogger(__name__)


class Run:
    """One run directory, held by one process at a time; as a context it records what ends it, and lets go."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keep_checkpoints = FEWEST_KEPT
        """How many stay; written with the status, so that a resumed run keeps as many."""
        self._lock = _lock(path)
        self._total_steps = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, Exception):
            with contextlib.suppress(StorageError):
                self.write_status("failed", self._total_steps, str(error))
        self.release()

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints lie."""
        return self.path / "checkpoint"

    @property
    def progress(self) -> Path:
        """The CSV of evaluations."""
        return self.path / "progress.csv"

    def write_status(self, state: str, total_steps: int, reason: str = "") -> None:
        """Say how the run stands: running, finished, interrupted or failed."""
        self._total_steps = total_steps
        status = {
            "state": state,
            "total_steps": total_steps,
            "reason": reason,
            "keep_checkpoints": self.keep_checkpoints,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "written": datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        write_atomic(self.path / "status.json", json.dumps(status, indent=1) + "\n")

    def append(self, record: str, rows: Sequence[dict[str, Any]]) -> None:
        """Append rows to one of RECORDS, header first, in one write of whole lines."""
        path, text = self.path / record, io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        if not path.exists() or not path.stat().st_size:
            writer.writeheader()
        writer.writerows(rows)
        with storage_errors(path), open(path, "ab") as file:
            file.write(text.getvalue().encode())
            file.flush()
            os.fsync(file.fileno())

    def records(self) -> dict[str, str]:
        """Return the RECORDS as they stand, for `restore_records`."""
        return {name: (self.path / name).read_text() if (self.path / name).exists() else "" for name in RECORDS}

    def restore_records(self, texts: dict[str, str]) -> None:
        """Put the RECORDS back as they were, whatever became of them; the resumed run writes later rows again."""
        for name, text in texts.items():
            if text:
                write_atomic(self.path / name, text)
            else:
                (self.path / name).unlink(missing_ok=True)

    def release(self) -> None:
        """Let other processes use the directory."""
        self._lock.close()


def create(
    recipe: Recipe,
    agent: str,
    out: Path,
    run_dir: Path | None,
    device: str = "cpu",
    keep_checkpoints: int = FEWEST_KEPT,
) -> Run:
    """Make a new run directory, exactly at `run_dir` or out/<env>/<agent>/<timestamp>-<4 hex>.

    `device` is where its networks live, and `keep_checkpoints` how many are kept; `reopen` tells both.
    Raises UsageError if it exists and is not empty, RunDirectoryError if it cannot be made.
    """
    if run_dir is None:
        stamp = f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        run_dir = out / recipe.env.replace("/", "-") / agent / stamp
    try:
        if run_dir.exists() and (not run_dir.is_dir() or any(run_dir.iterdir())):
            raise UsageError(
                f"{run_dir} exists already: name a new --run-dir, or go on with it by "
                f"--resume {shlex.quote(str(run_dir))}"
            )
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunDirectoryError(f"cannot make the run directory {run_dir}: {error.strerror}") from error
    run = Run(run_dir)
    write_atomic(run_dir / "recipe.toml", to_toml(recipe))
    place = {"device": device, "device_name": name_of(device), "simulator": recipe.simulator}
    begun = {"agent": agent, **place, **_versions(recipe)}
    write_atomic(run_dir / "versions.json", json.dumps(begun, indent=1) + "\n")
    run.keep_checkpoints = keep_checkpoints
    run.write_status("running", 0)
    return run


def reopen(path: Path) -> tuple[Run, Recipe, str, str]:
    """Open a run directory to go on with it; returns it, its recipe, its agent's name and the device it began on.

    Raises RunDirectoryError if it is not a run, is in use, or is finished.
    """
    recipe = read_recipe(path)
    run = Run(path)
    try:
        status = read_json(path / "status.json") if (path / "status.json").exists() else {}
        if status.get("state") == "finished":
            steps = status.get("total_steps")
            raise RunDirectoryError(f"{path} is finished, at {steps} steps: nothing is left to resume")
        run.keep_checkpoints = status.get("keep_checkpoints", FEWEST_KEPT)
        begun = read_json(path / "versions.json")
    except RunDirectoryError:
        run.release()
        raise
    _warn_of_other_versions(path, begun.get("packages", {}), recipe)
    return run, recipe, begun.get("agent", "unknown"), begun.get("device", "cpu")


def _warn_of_other_versions(path: Path, begun: dict[str, str], recipe: Recipe) -> None:
    here = _packages(recipe).items()
    changed = [f"{name} {begun[name]} then, {now} now" for name, now in here if begun.get(name, now) != now]
    if changed:
        log.warning("%s may go on differently than without the stop: %s", path, "; ".join(changed))


def read_recipe(path: Path) -> Recipe:
    """Return the recipe of a run directory; raises RunDirectoryError if there is none or it is damaged."""
    file = path / "recipe.toml"
    if not file.is_file():
        raise RunDirectoryError(f"{path} is not a run directory: it holds no recipe.toml")
    try:
        return from_toml(file.read_text(), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise RunDirectoryError(f"cannot read {file}: {error}") from error
    except UsageError as error:
        raise RunDirectoryError(str(error)) from error


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object from a run directory; raises RunDirectoryError if it is not one."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise RunDirectoryError(f"cannot read {path}: {error}") from error
    if not isinstance(content, dict):
        raise RunDirectoryError(f"{path} does not hold a JSON object")
    return content


def read_progress(path: Path) -> list[dict[str, float]]:
    """Return the rows of a progress.csv as numbers; a last line that was cut is left out.

    Raises RunDirectoryError if it cannot be read, or any other line is damaged.
    """
    try:
        return [{key: float(x) for key, x in row.items()} for row in _rows(path)]
    except OSError as error:
        raise RunDirectoryError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, TypeError, csv.Error) as error:
        raise RunDirectoryError(f"{path} is damaged: {error}") from error


def read_probes(path: Path) -> list[tuple[int, bool]]:
    """Return seed and acceptance of every probe in a probe.csv; none where there is no such file.

    Raises RunDirectoryError if it cannot be read or is damaged.
    """
    try:
        return [(int(row["seed"]), bool(int(row["accepted"]))) for row in _rows(path)] if path.exists() else []
    except OSError as error:
        raise RunDirectoryError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, csv.Error) as error:
        raise RunDirectoryError(f"{path} is damaged: {error}") from error


def _rows(path: Path) -> csv.DictReader:
    """Return the rows of a record as texts; a last line that was cut is left out."""
    return csv.DictReader(io.StringIO(path.read_text().rpartition("\n")[0]))


def _lock(path: Path) -> io.TextIOWrapper:
    try:
        lock = open(path / ".lock", "a+")  # noqa: SIM115 - open as long as the run is
    except OSError as error:
        raise RunDirectoryError(f"cannot write in the run directory {path}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock.truncate(0)
        print(f"process {os.getpid()} on {socket.gethostname()}", file=lock, flush=True)
    except BlockingIOError as error:
        lock.seek(0)
        holder = lock.readline().strip() or "another process"
        lock.close()
        raise RunDirectoryError(f"{path} is in use by {holder}: wait for it or stop it") from error
    except OSError as error:
        lock.close()
        raise RunDirectoryError(f"cannot lock the run directory {path}: {error.strerror}") from error
    return lock


def _versions(recipe: Recipe) -> dict[str, Any]:
    return {
        "packages": _packages(recipe),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": len(os.sched_getaffinity(0)),
        "commit": _commit(),
        "command": shlex.join(sys.argv),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _packages(recipe: Recipe) -> dict[str, str]:
    packages = {} if recipe.sparse is None else dict.fromkeys(SPARSE_PACKAGES, "none")
    for name in (*PACKAGES, *(GPU_PACKAGES if recipe.simulator == "warp" else ()), *packages):
        with contextlib.suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    return packages


def _commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
