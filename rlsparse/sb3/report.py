"""The files that say what probing has cost and brought."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stable_baselines3.common.logger import CSVOutputFormat
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from rlsparse.errors import RlsparseError, UsageError
from rlsparse.run.directory import Run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Records:
    """progress.csv and probe.csv in a folder; without one nothing is written."""

    out: Path | None

    def open(self, model: OnPolicyAlgorithm) -> None:
        """Make the folder; raises UsageError if it has records of another run, or Stable-Baselines3 logs there."""
        if self.out is None:
            return
        progress = self.out / "progress.csv"
        for output in model.logger.output_formats:
            if isinstance(output, CSVOutputFormat) and Path(output.file.name).resolve() == progress.resolve():
                raise UsageError(f"{progress} is where Stable-Baselines3 logs to: give another folder as out=")
        if model.num_timesteps == 0 and progress.exists() and progress.stat().st_size:
            raise UsageError(f"{progress} exists already: give another folder as out=")
        self.out.mkdir(parents=True, exist_ok=True)

    def append(self, record: str, rows: list[dict[str, Any]]) -> None:
        """Add rows to a record; a failure is only warned of."""
        if self.out is None:
            return
        try:
            run = Run(self.out)  # held for the moment only: learn() may end by an exception that nobody tells us of
            try:
                run.records.load()
                run.records.append(record, rows)
            finally:
                run.release()
        except RlsparseError as error:
            log.warning("%s; training goes on", error)
