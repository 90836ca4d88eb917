"""TensorBoard events under Stable-Baselines3's tag names, one sub-run per seed; no torch needed."""

import io
import itertools
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from rlsparse.learner.arrays import to_numpy
from rlsparse.learner.records import EpochStats

if TYPE_CHECKING:
    from rlsparse.run.session import Session


_NUMBERS = itertools.count()
"""Of files of this process, which may begin several within a second; files are read in the order of their names."""


MOST_POINTS, FEWEST_POINTS = 10_000, 1_000
"""Of a training scalar of a seed; TensorBoard itself shows 1,000."""

MOST_POINTS_OF_ALL = 10**6
"""Of all seeds together, where there are many."""

LONGEST_WAIT = 2**16
"""Bytes that are not yet written."""


class TensorBoard:
    """Writes <folder>/seed-<seed>/; all is on the disk when it is closed.

    Of a long run not every iteration is written: MOST_POINTS of each seed, or fewer where there are many seeds.
    """

    def __init__(self, folder: Path, session: "Session") -> None:
        seeds, budget = session.recipe.seeds, session.recipe.total_steps
        self._writers = [_new_file(folder / f"seed-{seed}") for seed in seeds]
        self._of_seed = dict(zip(seeds, self._writers, strict=True))
        self._interval = max(1, budget // min(MOST_POINTS, max(FEWEST_POINTS, MOST_POINTS_OF_ALL // len(seeds))))
        self._before = session.total_steps
        restart = SessionLog(status=SessionLog.START)
        for writer in self._writers:
            _write(writer, Event(file_version="brain.Event:2"))
            # a resumed run writes the steps after its checkpoint again: readers drop what they have of them
            _write(writer, Event(step=session.total_steps + 1, session_log=restart))
            writer.flush()

    def close(self) -> None:
        """Write what is left."""
        for writer in self._writers:
            writer.close()

    def iteration(self, session: "Session", stats: EpochStats) -> None:
        """Write the training scalars of every member."""
        before, self._before = self._before, session.total_steps
        if self._before // self._interval == before // self._interval:
            return
        learner, collector, recipe = session.learner, session.collector, session.recipe
        log_std = to_numpy(learner.layout.log_std(learner.params))
        rates = recipe.algorithm.learning_rates(learner)
        told = session.last.metrics if session.last else {}
        own = told | collector.metrics() | learner.archive.scalars()
        for member, writer in enumerate(self._writers):
            total = int(learner.counters.total[member])
            scalars = {
                "train/approx_kl": stats.approx_kl[member],
                "train/entropy_loss": -stats.entropy[member],
                "train/learning_rate": rates[member],
                "train/policy_gradient_loss": stats.policy_loss[member],
                "train/value_loss": stats.value_loss[member],
                "train/std": np.exp(log_std[member]).mean(),
                "time/fps": session.total_steps * learner.members / session.seconds,
                "time/total_timesteps": total,
                "rollout/ep_rew_mean": _mean(collector.recent_returns[member]),
                "rollout/ep_len_mean": _mean(collector.recent_lengths[member]),
                **recipe.algorithm.scalars(stats, member),
                **{f"train/{name}": x[member] for name, x in own.items()},
            }
            self._write(writer, total, scalars)

    def evaluation(self, session: "Session", rows: list[dict[str, Any]]) -> None:
        """Write the evaluation scalars of the members that were evaluated."""
        for row in rows:
            writer = self._of_seed[row["seed"]]
            scalars = {"eval/mean_reward": row["return_mean"], "eval/mean_ep_length": row["length_mean"]}
            scalars |= {"eval/coverage": row["coverage"]} if "coverage" in row else {}
            scalars |= {f"sparse/{name}": row[name] for name in session.learner.sparsity.columns}
            self._write(writer, int(row["total_steps"]), scalars)
            writer.flush()

    def probe(self, session: "Session", rows: list[dict[str, Any]]) -> None:
        """Write the account of a probe of every member that probed."""
        for row in rows:
            writer = self._of_seed[row["seed"]]
            names = ("accepted", "probability", "best_score", "incumbent_score", "steps", "probe_steps")
            self._write(writer, int(row["total_steps"]), {f"probe/{name}": row[name] for name in names})

    def _write(self, writer: RecordWriter, step: int, scalars: dict[str, float]) -> None:
        _write(writer, _event(step, scalars))


def _new_file(folder: Path) -> RecordWriter:
    # tensorboard's own file writer has a thread, which prints what goes wrong and tells it late
    folder.mkdir(parents=True, exist_ok=True)
    name = f"events.out.tfevents.{time.time():010.0f}.{socket.gethostname()}.{os.getpid()}.{next(_NUMBERS):06}"
    open(folder / name, "xb").close()
    return RecordWriter(_Appended(folder / name))


class _Appended:
    """A file that is open only while it is written to: a run of 1,000 seeds has as many, and a process may not."""

    def __init__(self, path: Path) -> None:
        self._path, self._waiting = path, bytearray()

    def write(self, content: bytes) -> None:
        """Add to the end."""
        self._waiting += content
        if len(self._waiting) > LONGEST_WAIT:
            self.flush()

    def flush(self) -> None:
        """Bring all to the file."""
        with open(self._path, "ab") as file:
            file.write(self._waiting)
        self._waiting.clear()

    close = flush


def encoded(points: Sequence[tuple[int, float, dict[str, float]]]) -> bytes:
    """Return a file of events: of each the step, the time (s since 1970) and numbers by tag."""
    file = io.BytesIO()
    writer = RecordWriter(file)
    _write(writer, Event(file_version="brain.Event:2"), points[0][1] if points else 0.0)
    for step, at, scalars in points:
        _write(writer, _event(step, scalars), at)
    return file.getvalue()


def _event(step: int, scalars: dict[str, float]) -> Event:
    values = [Summary.Value(tag=tag, simple_value=float(x)) for tag, x in scalars.items() if np.isfinite(x)]
    return Event(step=step, summary=Summary(value=values))


def _write(writer: RecordWriter, event: Event, at: float | None = None) -> None:
    event.wall_time = time.time() if at is None else at
    writer.write(event.SerializeToString())


def _mean(recent: np.ndarray) -> float:
    return float(np.nanmean(recent)) if np.isfinite(recent).any() else float("nan")
