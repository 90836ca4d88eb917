"""Curves out of TensorBoard's event files: Stable-Baselines3's and CleanRL's tags, or any tag by name."""

from pathlib import Path

import numpy as np

from rlsparse.compare.foreign_logs import Points, rolling_mean
from rlsparse.compare.record import Axis, UnreadableLog

EVALUATION_TAGS = ("eval/mean_reward",)
TRAINING_TAGS = ("rollout/ep_rew_mean", "charts/episodic_return")
PER_EPISODE = "charts/episodic_return"


def read_events(files: list[Path], tags: tuple[str, ...]) -> tuple[str, Points] | None:
    """Read the first of `tags` that event files, oldest first, hold; None if they hold none of them.

    Returns the tag and its curve; an event file that was cut counts as far as it goes. Raises UnreadableLog if
    tensorboard is not installed or a file is damaged.
    """
    points = _scalars(files, tags)
    for tag in tags:
        if tag not in points:
            continue
        step, wall, value = np.array(points[tag], float).T
        keep = _not_written_again(step) & np.isfinite(value)
        step, wall, value = step[keep], wall[keep], value[keep]
        if tag == PER_EPISODE:
            value = rolling_mean(value)
        axes: dict[Axis, np.ndarray] = {"steps": step, "train-steps": step, "seconds": wall - wall[:1].sum()}
        return tag, (axes, value)
    return None


def _scalars(files: list[Path], tags: tuple[str, ...]) -> dict[str, list[tuple[int, float, float]]]:
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
                    if value.tag not in tags:
                        continue
                    kind = value.WhichOneof("value")
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


def _not_written_again(step: np.ndarray) -> np.ndarray:
    """Which points are the last word on their step: a resumed run writes the steps after its checkpoint again."""
    later = np.minimum.accumulate(step[::-1])[::-1]
    return step <= later
