"""Curves out of Stable-Baselines3's files: monitor.csv, progress.csv and evaluations.npz. No package is needed."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from rlsparse.compare.delimited import parse_table, read_bytes, whole_lines
from rlsparse.compare.record import TRAINING_WINDOW, Axis, UnreadableLog, rising

MOST_NUMBERS = 10**8
"""An array that claims to be larger is not read."""

Points = tuple[dict[Axis, np.ndarray], np.ndarray]
"""What had been spent at each point, and the returns."""


def read_monitors(paths: list[Path]) -> tuple[Points, list[str]]:
    """Read the monitor files of one run, one per environment, as one curve of training returns.

    Returns the curve (mean return of the last 100 episodes, at the end of each) and remarks. Steps are those of
    finished episodes, in the order in which they ended over all environments.
    """
    rewards, lengths, ended, remarks = [], [], [], []
    for path in paths:
        about, lines = _monitor_lines(path)
        table = parse_table(lines, path, ("r", "l", "t"), first_line=2 if about is not None else 1)
        r, length, t = table.require(path, "r", "l", "t")
        good = np.isfinite(r) & np.isfinite(length) & np.isfinite(t) & (length > 0)
        rewards.append(r[good])
        lengths.append(length[good])
        ended.append(_start(about) + _monotone(t[good]))
        left_out = len(table.damaged) + int(np.sum(~good))
        if left_out:
            remarks.append(f"{path}: {left_out} damaged line{'s' * (left_out > 1)} left out")
    at = np.concatenate(ended)
    order = np.argsort(at, kind="stable")
    steps = np.cumsum(np.concatenate(lengths)[order])
    seconds = at[order] - min((x[0] for x in ended if len(x)), default=0.0)
    axes: dict[Axis, np.ndarray] = {"steps": steps, "train-steps": steps, "seconds": seconds}
    return (axes, rolling_mean(np.concatenate(rewards)[order])), remarks


def monitored_environment(path: Path) -> str | None:
    """Return the environment's id in the first line of a monitor file, or None if it is not there."""
    env = (_monitor_lines(path)[0] or {}).get("env_id")
    return env if isinstance(env, str) and env not in ("", "None") else None


def _monitor_lines(path: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the JSON object of the first line, if it is one, and the lines of the table."""
    lines = whole_lines(read_bytes(path))
    if not lines:
        raise UnreadableLog(f"{path} is empty, or its first line was cut")
    if not lines[0].startswith("#"):
        return None, lines
    try:
        about = json.loads(lines[0][1:])
    except (ValueError, RecursionError) as error:
        raise UnreadableLog(f"{path} does not begin with '#' and a JSON object") from error
    return about if isinstance(about, dict) else {}, lines[1:]


def _start(about: dict[str, Any] | None) -> float:
    start = (about or {}).get("t_start")
    return float(start) if isinstance(start, int | float) and abs(start) < 1e12 else 0.0


def _monotone(t: np.ndarray) -> np.ndarray:
    """Let the clock go on where a resumed run set it back to zero."""
    back = np.diff(t, prepend=t[:1])
    return t + np.cumsum(np.where(back < 0, -back, 0.0))


def rolling_mean(x: np.ndarray) -> np.ndarray:
    """Mean of the last 100 values, of as many as there are at first."""
    total = np.concatenate([[0.0], np.cumsum(x)])
    n = np.arange(1, len(x) + 1)
    first = np.maximum(0, n - TRAINING_WINDOW)
    return (total[n] - total[first]) / (n - first)


PROGRESS_COLUMNS = {
    "steps": "steps/total",
    "train-steps": "time/total_timesteps",
    "updates": "time/iterations",
    "seconds": "time/time_elapsed",
    "evaluation": "eval/mean_reward",
    "training": "rollout/ep_rew_mean",
}


def read_progress(path: Path, returns: str) -> tuple[Points, bool, tuple[int, ...]] | None:
    """Read the "evaluation" or "training" returns of Stable-Baselines3's progress.csv; None if it has none.

    Returns the curve, whether probe steps are counted in it, and the lines that were damaged.
    """
    table = parse_table(whole_lines(read_bytes(path)), path, PROGRESS_COLUMNS.values())
    columns = {name: table.columns[column] for name, column in PROGRESS_COLUMNS.items() if column in table.columns}
    if returns not in columns or not {"steps", "train-steps"} & set(columns):
        return None
    counted = "steps" in columns
    columns.setdefault("steps", columns.get("train-steps", np.array([])))
    rows = np.flatnonzero(np.isfinite(columns[returns]) & np.isfinite(columns["steps"]))
    axes: dict[Axis, np.ndarray] = {
        name: columns[name][rows] for name in ("steps", "train-steps", "updates", "seconds") if name in columns
    }
    return (axes, columns[returns][rows]), counted, table.damaged


def read_evaluations(path: Path) -> tuple[Points, int]:
    """Read EvalCallback's evaluations.npz; returns the curve and the episodes behind each point."""
    steps, results = _arrays(path, "timesteps", "results")
    if steps.ndim != 1 or results.ndim != 2 or len(steps) != len(results) or 0 in results.shape:
        raise UnreadableLog(
            f"{path} has {steps.shape} timesteps and {results.shape} results, not [n] and [n, episodes]"
        )
    x, rows = rising(steps.astype(float), np.arange(len(steps)))
    return ({"steps": x, "train-steps": x}, results[rows].astype(float).mean(1)), results.shape[1]


def _arrays(path: Path, *names: str) -> list[np.ndarray]:
    """Read arrays of plain numbers out of an npz file; never pickles, and nothing larger than its file may hold."""
    arrays = []
    try:
        with zipfile.ZipFile(path) as archive:
            for name in names:
                if f"{name}.npy" not in archive.namelist():
                    raise UnreadableLog(f"{path} holds no array {name}")
                if archive.getinfo(f"{name}.npy").file_size > 8 * MOST_NUMBERS:
                    raise UnreadableLog(f"{path}: {name} is too large for a log")
                with archive.open(f"{name}.npy") as member:
                    arrays.append(_array(member, path))
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, MemoryError) as error:
        raise UnreadableLog(f"cannot read {path}: {error}") from error
    return arrays


def _array(file: Any, path: Path) -> np.ndarray:
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran_order, dtype = read_header(file)
    count = 1
    for size in shape:
        count *= size
    if dtype.kind not in "iuf" or not 0 <= count <= MOST_NUMBERS:
        raise UnreadableLog(f"{path} holds something else than numbers")
    content = file.read()
    if len(content) != count * dtype.itemsize:
        raise UnreadableLog(f"{path} was cut")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran_order else "C")
