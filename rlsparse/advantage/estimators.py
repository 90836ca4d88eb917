"""Advantage estimators with a critic, as components: GAE and its alternatives."""

from dataclasses import dataclass

from rlsparse.advantage.estimator import AdvantageEstimator, check_seen
from rlsparse.advantage.returns import discounted_to_go, gae, n_step_returns, unseen_share
from rlsparse.learner.arrays import namespace
from rlsparse.learner.bounds import Count, Fraction, Varying
from rlsparse.learner.records import Advantages, Rollout


@dataclass(frozen=True)
class GAE(AdvantageEstimator):
    """Generalised advantage estimation. Source: Schulman et al., arXiv 1506.02438."""

    gamma: Varying[Fraction] = 0.99
    """Discount per environment step."""
    gae_lambda: Varying[Fraction] = 0.95
    """Weight of longer-horizon estimates: 0 is one-step, 1 is Monte-Carlo with bootstrap."""

    @property
    def gives(self) -> frozenset[str]:
        """It looks past steps of other policies only as far as the present one would take them."""
        return super().gives | {"corrected-returns"}

    def __call__(self, rollout: Rollout) -> Advantages:
        """Estimate advantages and value targets, [T, S, N]."""
        advantage, value_target = gae(
            rollout.reward,
            rollout.value,
            rollout.next_value,
            rollout.terminated,
            rollout.truncated,
            self.gamma,
            self.gae_lambda * rollout.trace,
        )
        return Advantages(advantage, value_target)


@dataclass(frozen=True)
class NStep(AdvantageEstimator):
    """Rewards of n steps, then the critic. Source: Sutton and Barto (2018), section 7.1; A3C, arXiv 1602.01783."""

    gamma: Varying[Fraction] = 0.99
    """Discount per environment step."""
    n: Count = 16
    """Steps before the critic takes over; fewer where an episode or the rollout ends."""

    @property
    def gives(self) -> frozenset[str]:
        """It looks past steps of other policies only as far as the present one would take them."""
        return super().gives | {"corrected-returns"}

    def __call__(self, rollout: Rollout) -> Advantages:
        """Estimate advantages and value targets, [T, S, N]."""
        seen = (rollout.reward, rollout.next_value, rollout.terminated, rollout.truncated)
        value_target = n_step_returns(*seen, self.gamma, self.n, rollout.trace)
        return Advantages(value_target - rollout.value, value_target)


@dataclass(frozen=True)
class MonteCarlo(AdvantageEstimator):
    """Returns to the end of the episode without bootstrapping, minus the critic's value: REINFORCE with a baseline.

    Source: Williams, Machine Learning 8 (1992), section 4; Sutton and Barto (2018), section 13.4.
    """

    gamma: Varying[Fraction] = 0.99
    """Discount per environment step."""
    unseen: Varying[Fraction] = 0.5
    """Most of the discounted future that a time limit or the rollout's end may hide; steps with more have weight 0."""

    def check_horizon(self, rollout_length: int, horizon: int) -> None:
        """Raise UsageError if a rollout is shorter than an episode, and shows too little of its return."""
        if rollout_length < horizon:
            check_seen(self, rollout_length)

    def __call__(self, rollout: Rollout) -> Advantages:
        """Estimate advantages, value targets, and weights by the visible share of the return, [T, S, N]."""
        xp = namespace(rollout.reward)
        ended = rollout.terminated | rollout.truncated
        value_target = discounted_to_go(rollout.reward, ended, self.gamma)
        hidden = unseen_share(rollout.terminated, rollout.truncated, self.gamma) > self.unseen
        weight = xp.where(hidden, xp.zeros_like(rollout.reward), 1.0)
        return Advantages(value_target - rollout.value, value_target, weight)


@dataclass(frozen=True)
class TDLambda(AdvantageEstimator):
    """TD(lambda) returns with separate lambdas for critic and actor; with equal ones this is GAE.

    Source: Sutton and Barto (2018), section 12.1; separate lambdas as in VC-PPO, arXiv 2503.01491.
    """

    gamma: Varying[Fraction] = 0.99
    """Discount per environment step."""
    actor_lambda: Varying[Fraction] = 0.95
    """Lambda of the returns from which advantages are computed."""
    critic_lambda: Varying[Fraction] = 1.0
    """Lambda of the returns that the critic learns; 1 does not use the critic's own values."""

    @property
    def gives(self) -> frozenset[str]:
        """It looks past steps of other policies only as far as the present one would take them."""
        return super().gives | {"corrected-returns"}

    def __call__(self, rollout: Rollout) -> Advantages:
        """Estimate advantages and value targets, [T, S, N]."""
        seen = (rollout.reward, rollout.value, rollout.next_value, rollout.terminated, rollout.truncated)
        advantage, _ = gae(*seen, self.gamma, self.actor_lambda * rollout.trace)
        _, value_target = gae(*seen, self.gamma, self.critic_lambda * rollout.trace)
        return Advantages(advantage, value_target)
