"""What the loop asks of an advantage estimator beside advantages; by default nothing special."""

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from rlsparse.advantage.environments import About, EvaluationWatch, WrappedEnvs
from rlsparse.learner.records import Advantages, Rollout

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv

    from rlsparse.learner.learner import Learner


class AdvantageEstimator:
    """An estimator with a critic, for environments that are each by themselves."""

    needs_critic: ClassVar[bool] = True
    autoreset: ClassVar[bool] = True
    """Whether an environment begins its next episode by itself."""
    columns: ClassVar[tuple[str, ...]] = ()
    """What `metrics` tells, in order."""

    @property
    def restarts(self) -> bool:
        """Whether every rollout begins new episodes."""
        return False

    def check_environment(self, about: About, obs_size: int | None, environments: int) -> None:
        """Raise UsageError if the estimator does not fit the environment; `environments` in all, of all members."""

    def wrap(self, env: "VectorEnv", learner: "Learner", about: About) -> WrappedEnvs:
        """Return the environments as the learner's rollouts need them."""
        return WrappedEnvs(env)

    def watch(self, env: "VectorEnv", about: About) -> EvaluationWatch:
        """Return what sees the evaluation episodes in these environments."""
        return EvaluationWatch()

    def __call__(self, rollout: Rollout) -> Advantages:
        """Estimate advantages and value targets, [T, S, N]."""
        raise NotImplementedError

    def metrics(self, rollout: Rollout, advantages: Advantages) -> dict[str, np.ndarray]:
        """Describe advantages of a rollout in numbers, [S] each."""
        return {}
