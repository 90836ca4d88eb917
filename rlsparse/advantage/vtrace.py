"""V-trace as a component."""

from dataclasses import dataclass

from rlsparse.advantage.estimator import AdvantageEstimator
from rlsparse.advantage.returns import vtrace
from rlsparse.learner.bounds import Fraction, NotNegative, Positive
from rlsparse.learner.records import Advantages, Rollout


@dataclass(frozen=True)
class VTrace(AdvantageEstimator):
    """Returns corrected for steps that another policy took. Source: Espeholt et al., arXiv 1802.01561.

    Candidates of in-rollout probing are such policies. Where the member itself acted, value targets are those of GAE,
    and with lambda 1 advantages too.
    """

    gamma: Fraction = 0.99
    """Discount per environment step."""
    trace_lambda: Fraction = 0.95
    """Weight of longer-horizon estimates: 0 is one-step, 1 is the published form."""
    rho_bar: Positive = 1.0
    """Most that a step's probability ratio may weigh it."""
    c_bar: NotNegative = 1.0
    """Most that a step's probability ratio may weigh what comes after it."""

    @property
    def gives(self) -> frozenset[str]:
        """It corrects for actions of others, whatever the policy then learns by."""
        return super().gives | {"others-actions"}

    def __call__(self, rollout: Rollout) -> Advantages:
        """Estimate advantages and value targets, [T, S, N]; the policy's ratio then begins at the one that learns."""
        own = rollout.log_prob if rollout.own_log_prob is None else rollout.own_log_prob
        advantage, value_target = vtrace(
            rollout.reward,
            rollout.value,
            rollout.next_value,
            rollout.terminated,
            rollout.truncated,
            own - rollout.log_prob,
            self.gamma,
            self.trace_lambda,
            self.rho_bar,
            self.c_bar,
        )
        return Advantages(advantage, value_target, log_prob=own)
