"""Curves that other libraries wrote: Stable-Baselines3's files, and TensorBoard events of any program."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rlsparse.compare.record import EVALUATION, PROBES_COUNTED, TRAINING, Axis, Curve, Log, UnreadableLog, rising
from rlsparse.compare.table import parse_table, read_arrays, read_lines

TRAINING_WINDOW = 100
"""Episodes that training returns are means of."""

EVALUATION_TAGS = ("eval/mean_reward",)
PER_EPISODE = "charts/episodic_return"
TRAINING_TAGS = ("rollout/ep_rew_mean", PER_EPISODE)

PROGRESS_COLUMNS = {
    "steps": "steps/total",
    "train-steps": "time/total_timesteps",
    "updates": "time/iterations",
    "seconds": "time/time_elapsed",
    EVALUATION: "eval/mean_reward",
    TRAINING: "rollout/ep_rew_mean",
}

Axes = dict[Axis, np.ndarray]


def foreign_logs(files: list[Path], wanted: str) -> Iterator[Log]:
    """Yield what the files of one run hold, best first; logs name neither agent nor environment nor seed."""
    if wanted in ("auto", "evaluation"):
        yield from (read_evaluations(file) for file in files if file.suffix == ".npz")
        yield from _progress_logs(files, EVALUATION)
        yield from event_logs(files, EVALUATION_TAGS, EVALUATION)
    if wanted in ("auto", "training"):
        monitors = [file for file in files if is_monitor(file)]
        yield from [read_monitors(monitors)] if monitors else []
        yield from _progress_logs(files, TRAINING)
        yield from event_logs(files, TRAINING_TAGS, TRAINING)
    if wanted not in ("auto", "evaluation", "training"):
        yield from event_logs(files, (wanted,), f"TensorBoard tag {wanted}")


def _log(path: Path, kind: str, measure: str, axes: Axes, returns: np.ndarray, **known: Any) -> Log:
    """A log of one curve in the order of its steps, without the points that are not finite."""
    finite = np.flatnonzero(np.isfinite(returns))
    _, rows = rising(axes["steps"][finite], finite)
    axes = {name: values[rows] for name, values in axes.items()}
    spent = {"train": int(axes["train-steps"][-1])} if "train-steps" in axes and len(rows) else {}
    return Log(path, kind, "", None, measure, (Curve(None, axes, returns[rows], spent),), **known)


def is_monitor(path: Path) -> bool:
    """Whether a file is named like those of Stable-Baselines3's Monitor."""
    return path.name.endswith("monitor.csv")


def read_monitors(paths: list[Path]) -> Log:
    """Read the monitor files of one run, one per environment, as one curve of training returns.

    A point is the mean return of the last 100 episodes at the end of each. Steps are those of finished episodes, in
    the order in which they ended over all environments.
    """
    episodes, begun, remarks = [], [], []
    for path in paths:
        about, lines = _monitor_lines(path)
        table = parse_table(lines, path, ("r", "l", "t"), first_line=1 if about is None else 2)
        rows = np.stack(table.require(path, "r", "l", "t"))
        good = np.isfinite(rows).all(0) & (rows[1] > 0)
        reward, length, ended = rows[:, good]
        # the clock goes on where a resumed run set it back to zero
        back = np.diff(ended, prepend=ended[:1])
        ended = _start(about) + (ended + np.cumsum(np.where(back < 0, -back, 0.0)))
        episodes.append((reward, length, ended))
        begun += ended[:1].tolist()
        left_out = len(table.damaged) + int(np.sum(~good))
        if left_out:
            remarks.append(f"{path}: {left_out} damaged line{'s' * (left_out > 1)} left out")
    reward, length, ended = (np.concatenate(x) for x in zip(*episodes, strict=True))
    order = np.argsort(ended, kind="stable")
    steps = np.cumsum(length[order])
    axes: Axes = {"steps": steps, "train-steps": steps, "seconds": ended[order] - min(begun, default=0.0)}
    return _log(paths[0], "SB3 monitor.csv", TRAINING, axes, rolling_mean(reward[order]), remarks=tuple(remarks))


def monitored_environment(path: Path) -> str | None:
    """Return the environment's id in the first line of a monitor file, or None if it is not there."""
    env = (_monitor_lines(path)[0] or {}).get("env_id")
    return env if isinstance(env, str) and env not in ("", "None") else None


def _monitor_lines(path: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the JSON object of the first line, if it is one, and the lines of the table."""
    lines = read_lines(path)
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


def rolling_mean(x: np.ndarray) -> np.ndarray:
    """Mean of the last 100 values, of as many as there are at first."""
    total = np.concatenate([[0.0], np.cumsum(x)])
    n = np.arange(1, len(x) + 1)
    first = np.maximum(0, n - TRAINING_WINDOW)
    return (total[n] - total[first]) / (n - first)


def _progress_logs(files: list[Path], measure: str) -> Iterator[Log]:
    """Read the evaluation or training returns of every progress.csv of Stable-Baselines3 that has them."""
    for path in files:
        if path.suffix != ".csv" or is_monitor(path):
            continue
        table = parse_table(read_lines(path), path, PROGRESS_COLUMNS.values())
        columns: Any = {name: table.columns[x] for name, x in PROGRESS_COLUMNS.items() if x in table.columns}
        counted = "steps" in columns
        if measure not in columns or not (counted or "train-steps" in columns):
            continue
        columns.setdefault("steps", columns.get("train-steps"))
        returns = columns[measure]
        axes = {name: values for name, values in columns.items() if name not in (EVALUATION, TRAINING)}
        remarks = (f"{path}: line {table.damaged[0]} is damaged and left out",) if table.damaged else ()
        known = {"accounting": PROBES_COUNTED} if counted else {}
        yield _log(path, "SB3 progress.csv", measure, axes, returns, remarks=remarks, **known)


def read_evaluations(path: Path) -> Log:
    """Read EvalCallback's evaluations.npz: the mean return of the episodes of each evaluation."""
    steps, results = read_arrays(path, "timesteps", "results")
    if steps.ndim != 1 or results.ndim != 2 or len(steps) != len(results) or 0 in results.shape:
        raise UnreadableLog(
            f"{path} has {steps.shape} timesteps and {results.shape} results, not [n] and [n, episodes]"
        )
    axes: Axes = {"steps": steps.astype(float), "train-steps": steps.astype(float)}
    returns = results.astype(float).mean(1)
    return _log(path, "SB3 evaluations.npz", EVALUATION, axes, returns, episodes=(results.shape[1],))


def event_logs(files: list[Path], tags: tuple[str, ...], measure: str) -> Iterator[Log]:
    """Read each of `tags` that TensorBoard's event files, oldest first, hold.

    An event file that was cut counts as far as it goes. Raises UnreadableLog if tensorboard is not installed or a file
    is damaged.
    """
    events = [file for file in files if file.name.startswith("events.out.tfevents.")]
    points = _scalars(events, tags) if events else {}
    for tag in (tag for tag in tags if tag in points):
        step, wall, value = np.array(points[tag], float).T
        # a resumed run writes the steps after its checkpoint again: the last word on each step counts
        keep = (step <= np.minimum.accumulate(step[::-1])[::-1]) & np.isfinite(value)
        step, wall, value = step[keep], wall[keep], value[keep]
        axes: Axes = {"steps": step, "train-steps": step, "seconds": wall - wall[:1].sum()}
        yield _log(events[0], f"TensorBoard {tag}", measure, axes, rolling_mean(value) if tag == PER_EPISODE else value)


def _scalars(files: list[Path], tags: tuple[str, ...]) -> dict[str, list[tuple[int, float, float]]]:
    """Return step, wall time and value of every point of the tags."""
    try:
        from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
        from tensorboard.util.tensor_util import make_ndarray
    except ImportError as error:
        raise UnreadableLog(f"{files[0]} holds TensorBoard events: pip install 'rlsparse[tb]' to read them") from error
    points: dict[str, list[tuple[int, float, float]]] = {}
    for path in files:
        try:
            for event in LegacyEventFileLoader(str(path)).Load():
                for value in event.summary.value:
                    kind = value.WhichOneof("value") if value.tag in tags else None
                    if kind == "simple_value":
                        number = value.simple_value
                    elif kind == "tensor" and not value.tensor.tensor_shape.dim:
                        number = float(make_ndarray(value.tensor))
                    else:
                        continue
                    points.setdefault(value.tag, []).append((event.step, event.wall_time, number))
        except Exception as error:  # protobuf's and tensorboard's own, of many types
            raise UnreadableLog(f"cannot read {path}: {error}") from error
    return points
