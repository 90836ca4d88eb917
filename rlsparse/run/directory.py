"""The run directory: what a run was, how it went, and all that is needed to go on with it."""

import contextlib
import csv
import hashlib
import io
import logging
import os
import platform
import re
import secrets
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from threadpoolctl import threadpool_info

from rlsparse.errors import RunDirectoryError, StorageError, UsageError
from rlsparse.learner.bounds import Expected, Like
from rlsparse.run import digests, environment_files
from rlsparse.run.convert import told
from rlsparse.run.device import gpu_name
from rlsparse.run.lock import Lock
from rlsparse.run.reading import MOST_OF_TABLE, read_bytes, read_json, read_toml, seal, shorten
from rlsparse.run.recipe import Recipe, from_dict, to_toml
from rlsparse.run.record_files import RecordFiles
from rlsparse.run.saved import check_newest
from rlsparse.run.status import Settings, Status
from rlsparse.run.storage import make_folder, remove_leftovers, write_atomic

PACKAGES = ("rlsparse", "numpy", "torch", "gymnasium", "mujoco", "safetensors")
GPU_PACKAGES = ("mujoco-warp", "warp-lang")
"""What simulates beside MuJoCo where the simulator is warp."""

SPARSE_PACKAGES = ("numba",)
"""What makes updates of sparse networks fast, where it is installed."""

PROMISED = ("progress.csv", "policy.safetensors", "curve.png", "summary.json")
"""What a finished run holds."""

BEFORE_RECIPE = {".lock", "versions.json", "status.json"}
"""What lies in a folder that is not yet a run: recipe.toml comes last."""

log = logging.getLogger(__name__)

Row = TypeVar("Row")


class Run:
    """One run directory, held by one process at a time; as a context it records what ends it, and lets go."""

    def __init__(self, path: Path) -> None:
        self.given = path
        """As the user named it, to be told."""
        self.path = path.absolute()
        """For files; environments may change the working directory."""
        self.state = "running"
        """As it was last told, or found."""
        self.settings = Settings()
        self._lock = Lock(path)
        self.records = RecordFiles(self.path)
        self._total_steps = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, Exception):
            self.fail(str(error) or type(error).__name__)
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
        self.state, self._total_steps = state, total_steps
        status = {
            "state": state,
            "total_steps": total_steps,
            "reason": reason,
            **{f.name: getattr(self.settings, f.name) for f in fields(Settings)},
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "written": datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        write_atomic(self.path / "status.json", seal(status) + "\n")

    @property
    def complete(self) -> bool:
        """Whether it is finished, and all that a finished run promises is there."""
        return self.state == "finished" and all((self.path / name).is_file() for name in PROMISED)

    def fail(self, reason: str) -> None:
        """Say that the run ends here, and why."""
        with contextlib.suppress(StorageError):
            self.write_status("failed", self._total_steps, reason)

    @contextlib.contextmanager
    def released_on_error(self) -> Iterator[None]:
        """Let go of the directory, and tell nothing there, if this cannot be done."""
        try:
            yield
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let other processes use the directory."""
        self._lock.release()


def create(
    recipe: Recipe,
    agent: str,
    out: Path,
    run_dir: Path | None,
    device: str = "cpu",
    settings: Settings | None = None,
    unfitted: Mapping[str, Any] | None = None,
) -> Run:
    """Make a new run directory, exactly at `run_dir` or out/<env>/<agent>/<timestamp>-<4 hex>.

    `device` is where its networks live; `reopen` tells it, and the settings. `unfitted` is for runs that are like it.
    Raises UsageError if it exists and is not empty, RunDirectoryError if it cannot be made.
    """
    from rlsparse.sim.user_classes import shown_name

    if run_dir is None:
        stamp = f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        run_dir = out / shown_name(recipe.env).replace("/", "-") / agent / stamp
    try:
        remove_leftovers(run_dir)
        if run_dir.exists() and (not run_dir.is_dir() or any(x.name not in BEFORE_RECIPE for x in run_dir.iterdir())):
            raise UsageError(
                f"{run_dir} exists already: name a new --run-dir, or go on with it by "
                f"--resume {shlex.quote(str(run_dir))}"
            )
        make_folder(run_dir, "make the run directory")
    except (OSError, StorageError) as error:
        raise RunDirectoryError(str(error)) from error
    run = Run(run_dir)
    text = to_toml(recipe)
    place = {"device": device, "device_name": gpu_name(device), "simulator": recipe.simulator}
    begun = {"agent": agent, **place, **_versions(recipe), "recipe_sha256": hashlib.sha256(text.encode()).hexdigest()}
    write_atomic(run_dir / "versions.json", seal({**begun, "unfitted": unfitted or {}}) + "\n")
    run.settings = settings or run.settings
    run.write_status("running", 0)
    write_atomic(run_dir / "recipe.toml", text)
    return run


@dataclass(frozen=True)
class Begun(environment_files.Files):
    """With what a run began, in so far as it matters to go on with it."""

    agent: str = "unknown"
    device: Annotated[str, Like(r"cpu(:0)?|cuda(:\d+)?"), Expected("cpu, cuda or cuda:N")] = "cpu"
    packages: dict[str, str] = field(default_factory=dict)
    cpu: str = ""
    blas: str = ""


def reopen(path: Path) -> tuple[Run, Recipe, str, str]:
    """Open a run directory to go on with it; returns it, its recipe, its agent's name and the device it began on.

    Raises RunDirectoryError if it is not a run, is in use, or holds a link, through which it would be written.
    """
    recipe = read_recipe(path)
    _refuse_links(path)
    run = Run(path)
    try:
        file = path / "status.json"
        status = told(Status, read_json(file) if file.exists() else {}, file)
        run.state, run.settings = status.state, status
        begun = _begun(path)
        check_newest(path, recipe)
    except RunDirectoryError:
        run.release()
        raise
    _warn_of_other_versions(path, begun, recipe)
    return run, recipe, begun.agent, begun.device


def read_device(path: Path) -> str:
    """Return the device on which the run in a directory began; raises RunDirectoryError."""
    return _begun(path).device


def _begun(path: Path) -> Begun:
    return told(Begun, read_json(path / "versions.json"), path / "versions.json")


def _refuse_links(path: Path) -> None:
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            if (entry := Path(folder, name)).is_symlink():
                raise RunDirectoryError(f"{entry} is a link, and a run is not written through links: remove it")


def _warn_of_other_versions(path: Path, begun: Begun, recipe: Recipe) -> None:
    here, then = _packages(recipe) | _arithmetic(), begun.packages | {"cpu": begun.cpu, "blas": begun.blas}
    both = [(name, then.get(name) or now, now) for name, now in here.items()]
    changed = [f"{name} {shorten(before)} then, {now} now" for name, before, now in both if before != now]
    files = environment_files.changed(begun.files, recipe.environment)
    changed += [f"{name} has other contents now" for name in files]
    if changed:
        log.warning("%s may go on differently than without the stop: %s", path, "; ".join(changed))


def read_recipe(path: Path) -> Recipe:
    """Return the recipe of a run directory; raises RunDirectoryError if there is none or it is damaged."""
    file = path / "recipe.toml"
    if not os.path.isfile(file):
        raise RunDirectoryError(f"{path} is not a run directory: it holds no recipe.toml")
    try:
        return from_dict(read_toml(file), str(file))
    except UsageError as error:
        raise RunDirectoryError(str(error)) from error


def read_progress(path: Path, columns: Collection[str] = ()) -> list[dict[str, float]]:
    """Return the rows of a progress.csv as numbers, without their digests; a last line that was cut is left out.

    Of a long one it is quicker to ask for some `columns`. Raises RunDirectoryError if it cannot be read, or any other
    line is damaged.
    """
    if columns:
        return _rows(path, lambda row: {key: float(row[key]) for key in columns})
    return _rows(path, lambda row: {key: float(x) for key, x in row.items() if key != digests.COLUMN})


def read_probes(path: Path) -> list[tuple[int, bool]]:
    """Return seed and acceptance of every probe in a probe.csv; none where there is no such file.

    Raises RunDirectoryError if it cannot be read or is damaged.
    """
    return _rows(path, lambda row: (int(row["seed"]), bool(int(row["accepted"])))) if path.exists() else []


def read_table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table as texts; a last line that was cut is left out. Raises RunDirectoryError."""
    return _rows(path, dict)


def _rows(path: Path, parse: Callable[[dict[str, str]], Row]) -> list[Row]:
    """Return what the rows of a record say; a last line that was cut is left out."""
    content = read_bytes(path, MOST_OF_TABLE)
    whole = content[: content.rfind(b"\n") + 1]
    try:
        if flaw := digests.first_flaw(_lines(whole)):
            raise ValueError(f"line {flaw} is not as it was written")
        return [parse(row) for row in csv.DictReader(_lines(whole))]
    except (ValueError, TypeError, KeyError, csv.Error) as error:
        raise RunDirectoryError(f"{path} is damaged: {error}") from error


def _lines(content: bytes) -> Iterator[str]:
    """Yield lines without their ends, one by one: all of them at once take twice the memory."""
    return (line[:-1] for line in io.TextIOWrapper(io.BytesIO(content), "utf-8", newline="\n"))


def _versions(recipe: Recipe) -> dict[str, Any]:
    from rlsparse.sim.vector import usable_cores  # whose room brings Gymnasium

    return {
        "packages": _packages(recipe),
        "files": environment_files.digests(recipe.environment),
        **_arithmetic(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": usable_cores(),
        "commit": _commit(Path(__file__).resolve().parents[2]),
        "command": shlex.join(sys.argv),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _packages(recipe: Recipe) -> dict[str, str]:
    packages = {} if recipe.sparse is None else dict.fromkeys(SPARSE_PACKAGES, "none")
    for name in (*PACKAGES, *(GPU_PACKAGES if recipe.simulator == "warp" else ()), *packages):
        with contextlib.suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    return packages


def _arithmetic() -> dict[str, str]:
    """What the last bits of sums depend on: the processor's model, and the kernels of the libraries for matrices."""
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        cpu = found[1] if found else cpu
    kernels = {f"{x['internal_api']} {x['architecture']}" for x in threadpool_info() if "architecture" in x}
    return {"cpu": cpu, "blas": ", ".join(sorted(kernels))}


def _commit(clone: Path) -> str | None:
    """Return the commit of our own clone; installed elsewhere, there is none, whatever repository lies around it."""
    if not (clone / ".git").exists():
        return None
    command = ["git", "-C", str(clone), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
