"""Lambda-returns with a lambda of its own for the critic, as a component."""

from dataclasses import dataclass

from rlsparse.advantage.estimator import AdvantageEstimator
from rlsparse.advantage.returns import gae
from rlsparse.learner.bounds import Fraction
from rlsparse.learner.records import Advantages, Rollout


@dataclass(frozen=True)
class TDLambda(AdvantageEstimator):
    """TD(lambda) returns, the critic's lambda apart from the actor's; with equal ones this is GAE.

    Source: Sutton and Barto (2018), section 12.1; apart as in VC-PPO, arXiv 2503.01491.
    """

    gamma: Fraction = 0.99
    """Discount per environment step."""
    actor_lambda: Fraction = 0.95
    """Lambda of the returns that advantages are made of."""
    critic_lambda: Fraction = 1.0
    """Lambda of the returns that the critic learns; 1 does not build on what it believes already."""

    def __call__(self, rollout: Rollout) -> Advantages:
        """Estimate advantages and value targets, [T, S, N]."""
        seen = (rollout.reward, rollout.value, rollout.next_value, rollout.terminated, rollout.truncated)
        advantage, _ = gae(*seen, self.gamma, self.actor_lambda)
        _, value_target = gae(*seen, self.gamma, self.critic_lambda)
        return Advantages(advantage, value_target)
