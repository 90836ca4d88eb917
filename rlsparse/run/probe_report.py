"""What probing a loop of others has cost and brought so far."""

from dataclasses import dataclass, field

import numpy as np

from rlsparse.explore.choice import INCUMBENT, paired_gains
from rlsparse.explore.schedule import Schedule
from rlsparse.learner.records import Counters


@dataclass
class Report:
    """The ledger of a run; `str` of it is for reading."""

    train_steps: int = 0
    """Environment steps that training took."""
    probe_steps: int = 0
    """Environment steps that probing took; they count against the budget."""
    eval_steps: int = 0
    """Environment steps of measuring, which change nothing and count against nothing."""
    probes: int = 0
    """Probes made."""
    accepted: int = 0
    """Probes whose best candidate replaced the policy."""
    failed: int = 0
    """Probes that an exception ended; the policy stayed as it was."""
    gains: list[tuple[float, float, int]] = field(default_factory=list)
    """Of every accepted candidate: its gain in return on fresh episodes, the standard error, the pairs of episodes."""
    reason: str = ""
    """What became of the last probe, in a few words."""
    waits_for: str = ""
    """Why there has been no probe yet."""

    @property
    def steps(self) -> Counters:
        """Steps so far, of the one member that a model is."""
        return Counters(*(np.array([n]) for n in (self.train_steps, self.probe_steps, self.eval_steps)))

    def add_gain(self, returns: np.ndarray) -> None:
        """Note an accepted candidate from the returns [1, 2, E] of the incumbent and of it, in that order."""
        gain, error, count = paired_gains(returns)
        if np.isfinite(gain[0, INCUMBENT]) and np.isfinite(error[0, INCUMBENT]):
            self.gains.append((float(gain[0, 0]), float(error[0, 0]), int(count[0, 0])))

    @property
    def gain(self) -> float:
        """Mean gain of the accepted candidates on fresh episodes; NaN if there are none."""
        return float(np.mean([gain for gain, _, _ in self.gains])) if self.gains else np.nan

    @property
    def gain_interval(self) -> tuple[float, float]:
        """The 95 % Student-t interval of `gain`: of these candidates over their episodes, not of candidates to come."""
        if not self.gains:
            return np.nan, np.nan
        from scipy.special import stdtrit

        variance = sum(error**2 for _, error, _ in self.gains) / len(self.gains) ** 2
        half = float(stdtrit(sum(count - 1 for _, _, count in self.gains), 0.975) * variance**0.5)
        return self.gain - half, self.gain + half

    def __str__(self) -> str:
        total = self.train_steps + self.probe_steps
        share = self.probe_steps / total if total else 0.0
        text = (
            f"{total:,} steps: {self.train_steps:,} training, {self.probe_steps:,} probing ({share:.1%}); "
            f"{self.probes} probe{'s' * (self.probes != 1)}, {self.accepted} accepted"
        )
        if self.failed:
            text += f", {self.failed} failed"
        if not self.probes and self.waits_for:
            text += f" ({self.waits_for})"
        if self.gains:
            low, high = self.gain_interval
            text += (
                f"; gain of those accepted on fresh episodes {_signed(self.gain)} (95 % interval {_signed(low)} to "
                f"{_signed(high)}, n = {len(self.gains)} x {self.gains[-1][2]} pairs of episodes)"
            )
        return text


def waits_for(schedule: Schedule, steps: Counters, anchors: int) -> str:
    """Say why the first member does not probe by episodes now; nothing if it does, or has no steps left."""
    config, begin = schedule.config, schedule.config.start * schedule.total_steps
    if anchors < config.num_anchors:
        return f"{anchors} of {config.num_anchors} anchors so far"
    if steps.total[0] < begin:
        return f"probing begins at {begin:,.0f} steps"
    if not config.finish and schedule.iterations - schedule.last_probe[0] < config.every:
        return f"probing every {config.every} updates"
    cost, allowance = schedule.cost()[0], schedule.allowance(steps)[0]
    if allowance < cost and schedule.left(steps)[0]:
        return f"a probe may take {cost:,} steps, and {allowance:,} may be spent"
    return ""


def _signed(x: float) -> str:
    """Three digits and the sign; all digits of whole numbers."""
    return f"{x:+,.0f}" if abs(x) >= 100 else f"{x:+.3g}"
