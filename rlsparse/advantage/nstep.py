"""Returns of n steps as a component."""

from dataclasses import dataclass

from rlsparse.advantage.estimator import AdvantageEstimator
from rlsparse.advantage.returns import n_step_returns
from rlsparse.learner.bounds import Count, Fraction
from rlsparse.learner.records import Advantages, Rollout


@dataclass(frozen=True)
class NStep(AdvantageEstimator):
    """Rewards of n steps, then the critic. Source: Sutton and Barto (2018), section 7.1; A3C, arXiv 1602.01783."""

    gamma: Fraction = 0.99
    """Discount per environment step."""
    n: Count = 16
    """Steps before the critic takes over; fewer where an episode or the rollout ends."""

    def __call__(self, rollout: Rollout) -> Advantages:
        """Estimate advantages and value targets, [T, S, N]."""
        value_target = n_step_returns(
            rollout.reward, rollout.next_value, rollout.terminated, rollout.truncated, self.gamma, self.n
        )
        return Advantages(value_target - rollout.value, value_target)
