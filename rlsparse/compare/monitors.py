"""Monitor files of Stable-Baselines3, one per environment: which of them are of one training, and its curve."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rlsparse.compare.record import TRAINING, Axes, Log, UnreadableLog, log_of_one_curve, some
from rlsparse.compare.table import parse_table, read_lines

LONGEST_NAME = 200
"""Characters of an environment's id."""

TRAINING_WINDOW = 100
"""Episodes that training returns are means of."""

OF_EVALUATION = re.compile(r"(?:^|[\W_])(?:eval|test)", re.IGNORECASE)
FOLDER_OF_EVALUATION = re.compile(r"(?:.*[\W_])?eval(?:uations?|s)?", re.IGNORECASE)
"""Names of monitor files, and of their folders, that say that nothing was learnt from these episodes."""

NUMBERED = re.compile(r"[\d\W_]+")
SEEDED = re.compile(r"(?:^|[\W_])s(?:eed)?[\W_]?\d", re.IGNORECASE)
"""Numbers in a file's name tell environments of one training apart, unless they are its seed."""

GLUED_HEADER = re.compile(r"(r,l,t)([-+.\d].*)")
"""A header whose line feed was lost before the first episode."""


@dataclass(frozen=True)
class Monitor:
    """The episodes of one environment, arrays [E]."""

    path: Path
    env: str | None
    start: float | None
    """When it was begun, on the world's clock."""
    reward: np.ndarray
    length: np.ndarray
    ended: np.ndarray
    """Seconds after the start."""
    remark: str

    @property
    def span(self) -> tuple[float, float]:
        """From the start to the end of the last episode."""
        start = self.start or 0.0
        return start, start + float(self.ended.max(initial=0.0))


def is_monitor(path: Path) -> bool:
    """Whether a file is named like those of Stable-Baselines3's Monitor."""
    return path.name.endswith("monitor.csv")


def is_of_evaluation(path: Path) -> bool:
    """Whether a monitor file is of evaluation, by its name or its folder's."""
    name, folder = path.name.removesuffix("monitor.csv"), path.absolute().parent.name
    return bool(OF_EVALUATION.search(name) or FOLDER_OF_EVALUATION.fullmatch(folder))


def read_monitors(paths: Sequence[Path], join: bool = False) -> list[Log]:
    """Read the monitor files of one folder: a curve of training returns for each training among them.

    The files of one training have the same environment, names that differ in numbers alone, and times that overlap,
    unless those of one after the other are to be joined. Files of evaluation are left out. Raises UnreadableLog.
    """
    evaluation = [path for path in paths if is_of_evaluation(path)]
    monitors = [_read(path) for path in paths if not is_of_evaluation(path)]
    if not monitors:
        raise UnreadableLog(f"{evaluation[0]} is of evaluation by its name, and says nothing of steps of training")
    trainings = list(_trainings([x for x in monitors if len(x.reward)] or monitors, join))
    remarks = [f"left out: {some(evaluation)}, of evaluation by name, not of training"] if evaluation else []
    if len(trainings) > 1:
        files = some([those[0].path for those in trainings])
        remarks.append(
            f"{files} are not environments of one training, by name, environment or time: each is a run of its own "
            "(--join makes one run of those one after the other)"
        )
    return [_curve(those, remarks if those is trainings[0] else []) for those in trainings]


def _trainings(monitors: Sequence[Monitor], join: bool) -> Iterator[list[Monitor]]:
    known = {x.env for x in monitors if x.env}
    only = known.pop() if len(known) == 1 else None
    alike: dict[tuple[str, str | None], list[Monitor]] = {}
    for x in monitors:
        stem = x.path.name.removesuffix("monitor.csv")
        name = stem if SEEDED.search(stem) else NUMBERED.sub("", stem).casefold()
        alike.setdefault((name, x.env or only), []).append(x)
    for those in alike.values():
        yield from [those] if join or any(x.start is None for x in those) else _at_the_same_time(those)


def _at_the_same_time(monitors: Sequence[Monitor]) -> list[list[Monitor]]:
    """Part monitors where one ends before the next begins."""
    parts: list[list[Monitor]] = []
    end = -np.inf
    for x in sorted(monitors, key=lambda x: x.span):
        if x.span[0] >= end:
            parts.append([])
        parts[-1].append(x)
        end = max(end, x.span[1])
    return parts


def _curve(monitors: Sequence[Monitor], remarks: Sequence[str]) -> Log:
    """Put the episodes of all environments in the order in which they ended.

    A point is the mean return of the last 100 episodes at the end of each. Steps are those of finished episodes.
    """
    ended = np.concatenate([(x.start or 0.0) + x.ended for x in monitors])
    order = np.argsort(ended, kind="stable")
    reward, length = (np.concatenate(x)[order] for x in zip(*((x.reward, x.length) for x in monitors), strict=True))
    steps, begun = np.cumsum(length), ended[order]
    axes: Axes = {"steps": steps, "train-steps": steps, "seconds": begun - begun[:1].sum()}
    spans = [x.span for x in monitors if x.start is not None]
    return log_of_one_curve(
        monitors[0].path,
        "SB3 monitor.csv",
        TRAINING,
        axes,
        rolling_mean(reward),
        env=next((x.env for x in monitors if x.env), None),
        span=(min(start for start, _ in spans), max(end for _, end in spans)) if spans else None,
        remarks=(*remarks, *(x.remark for x in monitors if x.remark)),
    )


def _read(path: Path) -> Monitor:
    about, lines = _lines(path)
    table = parse_table(lines, path, ("r", "l", "t"), first_line=1 if about is None else 2)
    rows = np.stack(table.require(path, "r", "l", "t"))
    good = np.isfinite(rows).all(0) & (rows[1] > 0)
    reward, length, ended = rows[:, good]
    # the clock goes on where a resumed run set it back to zero
    back = np.diff(ended, prepend=ended[:1])
    left_out = len(table.damaged) + int(np.sum(~good))
    start = (about or {}).get("t_start")
    return Monitor(
        path,
        environment_of(about),
        float(start) if isinstance(start, int | float) and abs(start) < 1e12 else None,
        reward,
        length,
        ended + np.cumsum(np.where(back < 0, -back, 0.0)),
        f"{path}: {left_out} damaged line{'s' * (left_out > 1)} left out" if left_out else "",
    )


def environment_of(about: dict[str, Any] | None) -> str | None:
    """Return the environment's id in the object at the head of a monitor file, or None if it is not there."""
    env = (about or {}).get("env_id")
    return env if isinstance(env, str) and env not in ("", "None") and len(env) <= LONGEST_NAME else None


def monitored_environment(path: Path) -> str | None:
    """Return the environment's id in a monitor file, or None if it does not say."""
    return environment_of(_lines(path)[0])


def _lines(path: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the JSON object of the first line, if it is one, and the lines of the table."""
    lines = read_lines(path)
    if not lines:
        raise UnreadableLog(f"{path} is empty, or its first line was cut")
    about = None
    if lines[0].startswith("#"):
        try:
            about = json.loads(lines.pop(0)[1:])
        except (ValueError, RecursionError) as error:
            raise UnreadableLog(f"{path} does not begin with '#' and a JSON object") from error
        about = about if isinstance(about, dict) else {}
    if lines and (glued := GLUED_HEADER.fullmatch(lines[0])):
        lines[:1] = glued.groups()
    return about, lines


def rolling_mean(x: np.ndarray) -> np.ndarray:
    """Mean of the last 100 values, of as many as there are at first."""
    total = np.concatenate([[0.0], np.cumsum(x)])
    n = np.arange(1, len(x) + 1)
    first = np.maximum(0, n - TRAINING_WINDOW)
    return (total[n] - total[first]) / (n - first)
