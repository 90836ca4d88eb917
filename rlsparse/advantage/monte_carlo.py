"""Returns to the end of the episode as a component."""

from dataclasses import dataclass

from rlsparse.advantage.estimator import AdvantageEstimator, check_seen
from rlsparse.advantage.returns import discounted_to_go, unseen_share
from rlsparse.learner.arrays import namespace
from rlsparse.learner.bounds import Fraction
from rlsparse.learner.records import Advantages, Rollout


@dataclass(frozen=True)
class MonteCarlo(AdvantageEstimator):
    """Returns to the end of the episode without bootstrapping, less the critic's value: REINFORCE with a baseline.

    Source: Williams, Machine Learning 8 (1992), section 4; Sutton and Barto (2018), section 13.4.
    """

    gamma: Fraction = 0.99
    """Discount per environment step."""
    unseen: Fraction = 0.5
    """Most of the discounted future that a time limit or the rollout's end may hide; steps with more have weight 0."""

    def check_horizon(self, rollout_length: int, horizon: int) -> None:
        """Raise UsageError if a rollout is shorter than an episode, and shows too little of its return."""
        if rollout_length < horizon:
            check_seen(self, rollout_length)

    def __call__(self, rollout: Rollout) -> Advantages:
        """Estimate advantages and value targets, and weigh what is seen of the return, [T, S, N]."""
        xp = namespace(rollout.reward)
        ended = rollout.terminated | rollout.truncated
        value_target = discounted_to_go(rollout.reward, ended, self.gamma)
        hidden = unseen_share(rollout.terminated, rollout.truncated, self.gamma) > self.unseen
        weight = xp.where(hidden, xp.zeros_like(rollout.reward), 1.0)
        return Advantages(value_target - rollout.value, value_target, weight)
