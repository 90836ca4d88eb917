"""What a training has left, in Python: returns, curves and policies of a run directory."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rlsparse.errors import RunDirectoryError
from rlsparse.run.directory import read_progress
from rlsparse.run.reading import read_json
from rlsparse.run.recipe import Recipe
from rlsparse.run.records import last_returns
from rlsparse.trained.loaded import Policy, load


@dataclass(frozen=True, repr=False)
class TrainedRun:
    """A run that has ended, or was stopped; all that it tells is read from its directory.

    It stands for its path, as in `rlsparse.compare(run, other)` and `rlsparse.train(resume=run)`.
    """

    path: Path
    recipe: Recipe
    agent: str
    state: str
    """finished, or interrupted: then `rlsparse.train(resume=run.path)` goes on with it."""

    @property
    def progress(self) -> list[dict[str, float]]:
        """The rows of progress.csv: one for each evaluation of each seed."""
        return read_progress(self.path / "progress.csv")

    @property
    def returns(self) -> np.ndarray:
        """Return of each seed's last evaluation, [S]."""
        return last_returns(self.progress, self.recipe.seeds)

    @property
    def summary(self) -> dict[str, Any]:
        """What summary.json says: final returns, their mean and its 95 % interval. Raises if it is not finished."""
        if self.state != "finished":
            raise RunDirectoryError(f"{self.path} is {self.state}: a run that is finished has a summary")
        return read_json(self.path / "summary.json")

    def policy(self, member: int = 0, *, density: float | None = None, best: bool = False) -> Policy:
        """Return the policy of one member, counted from 0; `density` chooses among those that --sparse ast trains.

        With `best` it is that of the member's best evaluation, whose return is a maximum and no score.
        """
        return load(self.path, self.recipe.env, member, wrappers=self.recipe.wrappers, density=density, best=best)

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        seeds = f"{self.recipe.num_seeds} seed{'s' * (self.recipe.num_seeds > 1)}"
        return f"{type(self).__name__}({str(self.path)!r}: {self.agent} on {self.recipe.env}, {seeds}, {self.state})"
