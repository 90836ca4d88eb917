"""Generalised advantage estimation as a component."""

from dataclasses import dataclass

from rlsparse.advantage.estimator import AdvantageEstimator
from rlsparse.advantage.returns import gae
from rlsparse.learner.bounds import Fraction
from rlsparse.learner.records import Advantages, Rollout


@dataclass(frozen=True)
class GAE(AdvantageEstimator):
    """Generalised advantage estimation. Source: Schulman et al., arXiv 1506.02438."""

    gamma: Fraction = 0.99
    """Discount per environment step."""
    gae_lambda: Fraction = 0.95
    """Weight of longer-horizon estimates: 0 is one-step, 1 is Monte-Carlo with bootstrap."""

    def __call__(self, rollout: Rollout) -> Advantages:
        """Estimate advantages and value targets, [T, S, N]."""
        advantage, value_target = gae(
            rollout.reward,
            rollout.value,
            rollout.next_value,
            rollout.terminated,
            rollout.truncated,
            self.gamma,
            self.gae_lambda,
        )
        return Advantages(advantage, value_target)
