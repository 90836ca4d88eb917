"""Marginal gains of a submodular set function as reward, as a component."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from rlsparse.advantage.gae import GAE
from rlsparse.advantage.kinds import WithCritic
from rlsparse.advantage.set_functions import Coverage, SetFunction
from rlsparse.learner.arrays import Array
from rlsparse.learner.bounds import Finite, NotNegative
from rlsparse.learner.records import Advantages, Rollout


@dataclass(frozen=True)
class Submodular:
    """SubPO: learn from what each step adds to a set function of the episode's states, by any estimator with a critic.

    Source: Prajapat, Mutny, Zeilinger and Krause, arXiv 2307.13372, theorem 2.
    """

    needs_critic: ClassVar[bool] = True

    set_function: SetFunction = field(default_factory=Coverage)
    """What visited states are worth together."""
    projection: str | None = None
    """Coordinates that it sees: one of the environment card's, its first if not given, or observations as obs:0,2."""
    low: tuple[Finite, ...] = ()
    """Lower corner of the box that matters, in the projection's units; the card's if not given."""
    high: tuple[Finite, ...] = ()
    """Upper corner of the box; the card's if not given."""
    gain: Literal["marginal", "modular"] = "marginal"
    """What a step gives: what its state adds to those before it, or, to compare with, what it is worth alone."""
    gain_weight: NotNegative = 1.0
    """What gains are multiplied with."""
    reward_weight: NotNegative = 0.0
    """What the environment's rewards are multiplied with before gains are added."""
    inner: WithCritic = field(default_factory=GAE)
    """Advantage estimator for these rewards, one with a critic."""

    @property
    def gamma(self) -> float:
        """Discount per environment step."""
        return self.inner.gamma

    def learned_reward(self, reward: Array, gain: Array) -> Array:
        """What is learned from, [...]; the sum of a modular and a submodular function is submodular."""
        return self.reward_weight * reward + self.gain_weight * gain

    def __call__(self, rollout: Rollout) -> Advantages:
        """Estimate advantages and value targets, [T, S, N], of a rollout whose rewards hold the gains."""
        return self.inner(rollout)
