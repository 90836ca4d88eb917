"""TensorBoard events under Stable-Baselines3's tag names, one sub-run per seed; no torch needed."""

import time
from pathlib import Path
from typing import Any, Self

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from rlsparse.arrays import to_numpy
from rlsparse.data import EpochStats
from rlsparse.loop import Session


class TensorBoard:
    """Writes <folder>/seed-<seed>/ as a context: all is on the disk when it is left."""

    def __init__(self, folder: Path, session: Session) -> None:
        self._writers = [EventFileWriter(str(folder / f"seed-{seed}")) for seed in session.recipe.seeds]
        restart = SessionLog(status=SessionLog.START)
        for writer in self._writers:
            # a resumed run writes the steps after its checkpoint again: readers drop what they have of them
            writer.add_event(Event(wall_time=time.time(), step=session.total_steps + 1, session_log=restart))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for writer in self._writers:
            writer.close()

    def iteration(self, session: Session, stats: EpochStats) -> None:
        """Write the training scalars of every member."""
        learner, collector, recipe = session.learner, session.collector, session.recipe
        log_std = to_numpy(learner.layout.log_std(learner.params))
        decay = 1.0 - learner.progress if recipe.algorithm.learning_rate_decay else 1.0
        for member, writer in enumerate(self._writers):
            scalars = {
                "train/approx_kl": stats.approx_kl[member],
                "train/clip_fraction": stats.clip_fraction[member],
                "train/clip_range": recipe.algorithm.clip_range,
                "train/entropy_loss": -stats.entropy[member],
                "train/learning_rate": recipe.algorithm.learning_rate * decay,
                "train/policy_gradient_loss": stats.policy_loss[member],
                "train/value_loss": stats.value_loss[member],
                "train/std": np.exp(log_std[member]).mean(),
                "time/fps": session.total_steps * learner.members / session.seconds,
                "time/total_timesteps": session.total_steps,
                "rollout/ep_rew_mean": _mean(collector.recent_returns[member]),
                "rollout/ep_len_mean": _mean(collector.recent_lengths[member]),
            }
            self._write(writer, session.total_steps, scalars)

    def evaluation(self, session: Session, rows: list[dict[str, Any]]) -> None:
        """Write the evaluation scalars of every member."""
        for writer, row in zip(self._writers, rows, strict=True):
            scalars = {"eval/mean_reward": row["return_mean"], "eval/mean_ep_length": row["length_mean"]}
            self._write(writer, session.total_steps, scalars)
            writer.flush()

    def _write(self, writer: EventFileWriter, step: int, scalars: dict[str, float]) -> None:
        values = [Summary.Value(tag=tag, simple_value=float(x)) for tag, x in scalars.items() if np.isfinite(x)]
        writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))


def _mean(recent: np.ndarray) -> float:
    return float(np.nanmean(recent)) if np.isfinite(recent).any() else float("nan")
