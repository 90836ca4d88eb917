"""What the training loop tells an explorer and asks of it; the answers here are those of a run that does not probe."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from rlsparse.explore.choice import Choice
from rlsparse.learner.records import Advantages, Rollout

Estimate: TypeAlias = Callable[[Rollout], Advantages]
"""The run's advantage estimator."""


class NoProbing:
    """The explorer of a run that does not probe: nothing is due, nothing is judged, and it costs nothing."""

    run_episodes: Any = None
    """What runs the episodes of probes, made as ProbeEpisodes is."""

    def acting(self) -> np.ndarray | None:
        """Return the actors that take the next rollout's steps, [S, N, P]; None: the members' own."""
        return None

    def judge(self, rollout: Rollout, estimate: Estimate, acting: np.ndarray | None) -> Choice | None:
        """Judge candidates by a rollout that no gradient has seen yet; None where there is nothing to judge."""
        return None

    def after_epoch(self) -> None:
        """An epoch of the update is over."""

    def after_iteration(self, skipped_epochs: int = 0) -> None:
        """An iteration is over, and its update left out so many epochs."""

    def due(self) -> np.ndarray:
        """Return the members that probe by episodes now, [n] indices: whose turn it is, and who can pay for it."""
        return np.zeros(0, np.int64)

    def ended(self) -> np.ndarray:
        """Which members have made their last probe and learn no more, [S] bool, or [1] for all."""
        return np.zeros(1, bool)

    @property
    def cycles(self) -> np.ndarray:
        """Probes that each member has made, [S] int64, or [1] for all."""
        return np.zeros(1, np.int64)

    def probe(self, members: np.ndarray, stop: Callable[[], bool]) -> Choice:
        """Probe around the members (indices) by episodes; only those that are due are probed."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return all that probing goes on from."""
        return {}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Put back what `state_dict` gave."""
