"""When anchors are taken, who probes, and what a probe may cost: arithmetic on steps, without a learner.

Our training loop, the callback for Stable-Baselines3 and the forecast of `--dry-run` all ask this one schedule. Axes:
S members.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rlsparse.explore.explorler import ExploRLer
from rlsparse.learner.records import Counters


@dataclass(frozen=True)
class Schedule:
    """Where the probing of S members stands. What happens gives a new schedule; this one stays as it is."""

    config: ExploRLer
    total_steps: int
    """Budget of each member, train + probe steps."""
    horizon: int
    """Most steps of an episode."""
    cycles: np.ndarray
    """Probes that each member has made, [S] int64."""
    last_probe: np.ndarray
    """Iterations that were over at each member's last probe, [S] int64."""
    longest: np.ndarray
    """Length that the next probe expects of its episodes, [S] int64."""
    idle: np.ndarray
    """Whose last probe took no step, [S] bool."""
    iterations: int = 0
    """Iterations that are over."""
    anchored_at: int = 0
    """Training steps at the last anchor, where iterations are anchors."""
    kept_for_training: int = 0
    """Steps at the end of the budget that no probe may take."""

    @classmethod
    def begin(
        cls, config: ExploRLer, total_steps: int, horizon: int, members: int, kept_for_training: int = 0
    ) -> "Schedule":
        """Return the schedule before the first iteration of so many members."""
        zero, idle = np.zeros(members, np.int64), np.zeros(members, bool)
        return cls(config, total_steps, horizon, zero, zero, zero + horizon, idle, kept_for_training=kept_for_training)

    def of_members(self) -> dict[str, Any]:
        """Return what differs from member to member, by name, [S] each."""
        return {name: getattr(self, name) for name in ("cycles", "last_probe", "longest", "idle")}

    def takes_anchor(self, train_steps: int) -> bool:
        """Whether an anchor is taken after an iteration that ends at so many training steps."""
        between = self.config.anchor_span * self.total_steps / self.config.num_anchors
        return self.config.anchors == "iterations" and train_steps - self.anchored_at >= between

    def after_iteration(self, train_steps: int) -> "Schedule":
        """Count an iteration that ended at so many training steps."""
        anchored_at = train_steps if self.takes_anchor(train_steps) else self.anchored_at
        return replace(self, iterations=self.iterations + 1, anchored_at=anchored_at)

    def ready(self, steps: Counters, anchors: int) -> np.ndarray:
        """Whose turn it is, if a probe costs nothing, [S] bool; there are so many `anchors`."""
        begun = steps.total >= self.config.start * self.total_steps
        waited = self.config.finish | (self.iterations - self.last_probe >= self.config.every)
        unfinished = steps.total < self.total_steps
        return begun & waited & unfinished & (anchors == self.config.num_anchors)

    def left(self, steps: Counters) -> np.ndarray:
        """Steps of each member's budget that a probe may still take, [S] int64."""
        return np.maximum(self.total_steps - steps.total - self.kept_for_training, 0)

    def allowance(self, steps: Counters) -> np.ndarray:
        """Steps that each member may spend on probing now, [S] int64."""
        share, left = self.config.budget_fraction, self.left(steps)
        for_each_step = share / np.maximum(1.0 - share, 1e-200)  # of training; without limit if the share is 1
        return np.clip(np.floor(for_each_step * steps.train) - steps.probe, 0, left).astype(np.int64)

    def cost(self) -> np.ndarray:
        """Steps that each member's next probe is expected to need, [S] int64."""
        return self.config.episodes_per_probe() * np.minimum(self.longest, self.horizon)

    def due(self, steps: Counters, anchors: int) -> np.ndarray:
        """Who probes by episodes now: whose turn it is, and who can pay for it, [S] bool."""
        if not self.config.probe.spends:
            return np.zeros(len(self.cycles), bool)
        repeats = self.config.finish & self.idle  # a probe that took no step would be due again for ever
        return self.ready(steps, anchors) & (self.allowance(steps) >= self.cost()) & ~repeats

    def ended(self, steps: Counters, anchors: int) -> np.ndarray:
        """Who has made its last probe and learns no more, [S] bool; who has made none goes on learning."""
        return self.config.finish & (self.cycles > 0) & ~self.due(steps, anchors)

    def after_probe(self, members: np.ndarray) -> "Schedule":
        """Count a probe of these members (indices)."""
        cycles, last_probe = self.cycles.copy(), self.last_probe.copy()
        cycles[members] += 1
        last_probe[members] = self.iterations
        return replace(self, cycles=cycles, last_probe=last_probe)

    def after_episodes(
        self, members: np.ndarray, steps: np.ndarray, longest: np.ndarray, exhausted: np.ndarray
    ) -> "Schedule":
        """Count a probe of these n members by episodes, and expect the next one's to be as long.

        `steps` [n] are what it took, `longest` [n] is its longest episode, 0 if that is not known. If the allowance was
        `exhausted` [n] the next one is expected to need episodes twice as long.
        """
        expected, idle = self.longest.copy(), self.idle.copy()
        expected[members] = np.where(longest > 0, np.where(exhausted, 2 * longest, longest), expected[members])
        idle[members] = steps == 0
        return replace(self.after_probe(members), longest=expected, idle=idle)
