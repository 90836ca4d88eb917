"""Marginal gains of a submodular set function as reward, as a component."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from rlsparse.advantage.environments import About, EvaluationWatch, WrappedEnvs
from rlsparse.advantage.estimator import AdvantageEstimator
from rlsparse.advantage.find_projection import find
from rlsparse.advantage.gae import GAE
from rlsparse.advantage.kinds import WithCritic
from rlsparse.advantage.set_functions import Coverage, SetFunction
from rlsparse.learner.arrays import Array
from rlsparse.learner.records import Advantages, Rollout

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv

    from rlsparse.advantage.visits import Objective
    from rlsparse.learner.learner import Learner


@dataclass(frozen=True)
class Submodular(AdvantageEstimator):
    """SubPO: learn from what each step adds to a set function of the episode's states, by any estimator with a critic.

    Source: Prajapat, Mutny, Zeilinger and Krause, arXiv 2307.13372, theorem 2.
    """

    set_function: SetFunction = field(default_factory=Coverage)
    """What visited states are worth together."""
    projection: str | None = None
    """Coordinates that it sees: one of the environment card's, its first if not given, or observations as obs:0,2."""
    low: tuple[float, ...] = ()
    """Lower corner of the box that matters, in the projection's units; the card's if not given."""
    high: tuple[float, ...] = ()
    """Upper corner of the box; the card's if not given."""
    gain: Literal["marginal", "modular"] = "marginal"
    """What a step gives: what its state adds to those before it, or, to compare with, what it is worth alone."""
    gain_weight: float = 1.0
    """What gains are multiplied with."""
    reward_weight: float = 0.0
    """What the environment's rewards are multiplied with before gains are added."""
    inner: WithCritic = field(default_factory=GAE)
    """Advantage estimator for these rewards, one with a critic."""

    @property
    def gamma(self) -> float:
        """Discount per environment step."""
        return self.inner.gamma

    def check_environment(self, about: About, obs_size: int | None, environments: int) -> None:
        """Raise UsageError if the projection does not exist, or the set function is too large for it."""
        find(self, about, obs_size, environments)

    def wrap(self, env: "VectorEnv", learner: "Learner", about: About) -> WrappedEnvs:
        """Return the environments, which keep what each episode has collected."""
        from rlsparse.advantage.visits import GainsEnvs

        return GainsEnvs(env, self._objective(about, learner.layout.obs_size, env.num_envs))

    def watch(self, env: "VectorEnv", about: About) -> EvaluationWatch:
        """Return what evaluates the set function over evaluation episodes."""
        from rlsparse.advantage.visits import GainsWatch

        # episodes are evaluated one after the other, so that no more than one collects
        return GainsWatch(self._objective(about, None, environments=1), env)

    def _objective(self, about: About, obs_size: int | None, environments: int) -> "Objective":
        from rlsparse.advantage.visits import Objective

        return Objective(self, *find(self, about, obs_size, environments))

    def learned_reward(self, reward: Array, gain: Array) -> Array:
        """What is learned from, [...]; the sum of a modular and a submodular function is submodular."""
        return self.reward_weight * reward + self.gain_weight * gain

    def __call__(self, rollout: Rollout) -> Advantages:
        """Estimate advantages and value targets, [T, S, N], of a rollout whose rewards hold the gains."""
        return self.inner(rollout)
