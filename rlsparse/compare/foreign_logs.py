"""Curves that other libraries wrote: Stable-Baselines3's files, and TensorBoard events of any program."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rlsparse.compare.monitors import is_monitor, read_monitors, rolling_mean
from rlsparse.compare.record import EVALUATION, PROBES_COUNTED, TRAINING, Axes, Log, UnreadableLog, log_of_one_curve
from rlsparse.compare.table import bounded, parse_table, read_arrays, read_lines
from rlsparse.run.reading import check_regular

EVALUATION_TAGS = ("eval/mean_reward",)
PER_EPISODE = "charts/episodic_return"
TRAINING_TAGS = ("rollout/ep_rew_mean", PER_EPISODE)

LARGEST_EVENTS = 2**28
"""Bytes of an event file."""

PROGRESS_COLUMNS = {
    "steps": "steps/total",
    "train-steps": "time/total_timesteps",
    "updates": "time/iterations",
    "seconds": "time/time_elapsed",
    EVALUATION: "eval/mean_reward",
    TRAINING: "rollout/ep_rew_mean",
}


Reader = Callable[[], Iterable[Log]]
"""Reads one file, or those that belong together, of a run; raises UnreadableLog."""


def readers(files: list[Path], wanted: str, join: bool) -> Iterator[Reader]:
    """Yield what reads the files of one run, the best first; logs name neither agent nor seed."""
    if wanted in ("auto", "evaluation"):
        yield from (partial(map, read_evaluations, [file]) for file in files if file.suffix == ".npz")
        yield partial(_progress_logs, files, EVALUATION)
        yield partial(event_logs, files, EVALUATION_TAGS, EVALUATION)
    if wanted in ("auto", "training"):
        monitors = [file for file in files if is_monitor(file)]
        yield from [partial(read_monitors, monitors, join)] if monitors else []
        yield partial(_progress_logs, files, TRAINING)
        yield partial(event_logs, files, TRAINING_TAGS, TRAINING)
    if wanted not in ("auto", "evaluation", "training"):
        yield partial(event_logs, files, (wanted,), f"TensorBoard tag {wanted}")


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
        yield log_of_one_curve(path, "SB3 progress.csv", measure, axes, returns, remarks=remarks, **known)


def read_evaluations(path: Path) -> Log:
    """Read EvalCallback's evaluations.npz: the mean return of the episodes of each evaluation."""
    steps, results = read_arrays(path, "timesteps", "results")
    while results.ndim > 2 and results.shape[-1] == 1:  # as some reward wrappers leave it
        results = results[..., 0]
    if steps.ndim != 1 or results.ndim != 2 or len(steps) != len(results) or 0 in results.shape:
        raise UnreadableLog(
            f"{path} has {steps.shape} timesteps and {results.shape} results, not [n] and [n, episodes]"
        )
    at = bounded(steps)
    axes: Axes = {"steps": at, "train-steps": at}
    returns, episodes = bounded(results).mean(1), (results.shape[1],)
    return log_of_one_curve(path, "SB3 evaluations.npz", EVALUATION, axes, returns, episodes=episodes)


def event_logs(files: list[Path], tags: tuple[str, ...], measure: str) -> Iterator[Log]:
    """Yield the first of `tags` that TensorBoard's event files, oldest first, hold points of.

    An event file that was cut counts as far as it goes. Raises UnreadableLog if tensorboard is not installed or a file
    is damaged.
    """
    events = [file for file in files if file.name.startswith("events.out.tfevents.")]
    points = _scalars(events, tags) if events else {}
    for tag in [tag for tag in tags if tag in points][:1]:
        step, wall, value = bounded(np.array(points[tag]).T)
        # a resumed run writes the steps after its checkpoint again: the last word on each step counts
        keep = (step <= np.minimum.accumulate(step[::-1])[::-1]) & np.isfinite(value)
        step, wall, value = step[keep], wall[keep], value[keep]
        axes: Axes = {"steps": step, "train-steps": step, "seconds": wall - wall[:1].sum()}
        span = (float(wall.min()), float(wall.max())) if len(wall) else None
        value = rolling_mean(value) if tag == PER_EPISODE else value
        yield log_of_one_curve(events[0], f"TensorBoard {tag}", measure, axes, value, span=span)


def _scalars(files: list[Path], tags: tuple[str, ...]) -> dict[str, list[tuple[int, float, float]]]:
    """Return step, wall time and value of every point of the tags."""
    try:
        from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
        from tensorboard.util.tensor_util import make_ndarray
    except Exception as error:  # a broken installation raises what it likes
        raise UnreadableLog(f"{files[0]} needs tensorboard ({error}): pip install 'rlsparse[tb]'") from error
    points: dict[str, list[tuple[int, float, float]]] = {}
    for path in files:
        check_regular(path, path.stat(), LARGEST_EVENTS)
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
