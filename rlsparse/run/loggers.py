"""What callbacks have in common that send the numbers of a run to a service for experiments."""

import logging
from abc import abstractmethod
from typing import Any

import numpy as np

from rlsparse.errors import BROKEN, UsageError, in_one_line
from rlsparse.run.callbacks import Callback, Training

log = logging.getLogger(__name__)


class Logger(Callback):
    """Sends the mean over members, and each member's own, of every number.

    One that cannot begin ends the run, in one line; one that fails later is left out with a warning. A resumed run goes
    on with the same run of the service, where the numbers since the last checkpoint are there twice.
    """

    run_id = ""
    """Of the service's run; empty before there is one."""
    url = ""
    """Where it is shown, if that is known."""
    _state = "not begun"

    @abstractmethod
    def begin(self, training: Training) -> None:
        """Begin the service's run, or go on with `run_id`; set that, and `url`."""

    @abstractmethod
    def send(self, scalars: dict[str, float], total_steps: int) -> None:
        """Send numbers by name."""

    @abstractmethod
    def finish(self, state: str) -> None:
        """End the service's run: finished, interrupted or failed."""

    def on_iteration(self, training: Training) -> None:
        """Send the numbers of the last update."""
        self._send(training, "train", dict(zip(training.seeds, _by_member(training.stats), strict=True)))

    def on_evaluation(self, training: Training, rows: list[dict[str, Any]]) -> None:
        """Send the rows of progress.csv."""
        self._send(training, "eval", {row["seed"]: row for row in rows})

    def on_probe(self, training: Training, rows: list[dict[str, Any]]) -> None:
        """Send the rows of probe.csv."""
        self._send(training, "probe", {row["seed"]: row for row in rows})

    def on_end(self, training: Training) -> None:
        """End the service's run."""
        if self._state == "begun":
            self._try(self.finish, training.state)

    def state_dict(self) -> dict[str, Any]:
        """Return which run of the service it is."""
        return {"run_id": self.run_id, "url": self.url}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.run_id, self.url = state["run_id"], state["url"]

    def _send(self, training: Training, group: str, members: dict[int, dict[str, Any]]) -> None:
        if self._state == "not begun":
            try:
                self.begin(training)
            except BROKEN as error:
                raise UsageError(f"{type(self).__name__} cannot begin: {in_one_line(error)}") from error
            self._state = "begun"
        if self._state == "begun":
            self._try(self.send, scalars(group, members), training.total_steps)

    def _try(self, call: Any, *arguments: Any) -> None:
        try:
            call(*arguments)
        except BROKEN as error:
            self._state = "failed"
            log.warning("%s fails and is left out from now on: %s", type(self).__name__, in_one_line(error))


def scalars(group: str, members: dict[int, dict[str, Any]]) -> dict[str, float]:
    """Return the numbers of members, by seed, as group/name, the mean, and group/name.seed-0 if there are several."""
    found: dict[str, float] = {}
    for name in dict.fromkeys(name for row in members.values() for name in row if name != "seed"):
        own = {seed: float(row[name]) for seed, row in members.items() if _is_finite(row.get(name))}
        if own:
            found[f"{group}/{name}"] = float(np.mean([*own.values()]))
        if len(members) > 1:
            found |= {f"{group}/{name}.seed-{seed}": x for seed, x in own.items()}
    return found


def _by_member(stats: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    return [dict(zip(stats, numbers, strict=True)) for numbers in zip(*stats.values(), strict=True)]


def _is_finite(x: Any) -> bool:
    return not isinstance(x, str | None) and bool(np.isfinite(x))
