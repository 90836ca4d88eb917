"""What the loop and a recipe call on an advantage estimator beside advantages; the defaults do nothing."""

import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from rlsparse.advantage.environments import About, EvaluationWatch, WrappedEnvs
from rlsparse.errors import UsageError
from rlsparse.learner.kinds import kind_of
from rlsparse.learner.records import Advantages, Rollout

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv

    from rlsparse.learner.learner import Learner


class AdvantageEstimator:
    """The base of estimators; its defaults fit estimators with a critic that do not change rollouts."""

    needs_critic: ClassVar[bool] = True
    autoreset: ClassVar[bool] = True
    """Whether an environment begins its next episode by itself."""
    columns: ClassVar[tuple[str, ...]] = ()
    """The names of `metrics`, in order."""

    @property
    def gives(self) -> frozenset[str]:
        """The traits on which other components may rely."""
        return frozenset({"critic", "single-episodes", "unaided-episodes", "environment-return", "equal-rollouts"})

    @property
    def restarts(self) -> bool:
        """Whether every rollout begins new episodes."""
        return False

    def check_horizon(self, rollout_length: int, horizon: int) -> None:
        """Raise UsageError if too little of an episode, of `horizon` steps at most, fits into a rollout."""

    def check_environment(self, about: About, obs_size: int | None, environments: int) -> None:
        """Raise UsageError if the estimator does not fit the environment; `environments` is their number in all."""

    def wrap(self, env: "VectorEnv", learner: "Learner", about: About) -> WrappedEnvs:
        """Return the environments, changed for the learner's rollouts if needed."""
        return WrappedEnvs(env)

    def watch(self, env: "VectorEnv", about: About) -> EvaluationWatch:
        """Return the watch of the evaluation episodes in these environments."""
        return EvaluationWatch()

    def __call__(self, rollout: Rollout) -> Advantages:
        """Estimate advantages and value targets, [T, S, N]."""
        raise NotImplementedError

    def metrics(self, rollout: Rollout, advantages: Advantages) -> dict[str, np.ndarray]:
        """Return numbers about a rollout's advantages, [S] each."""
        return {}


def check_seen(estimator: Any, rollout_length: int) -> None:
    """Raise UsageError if a rollout shows less of a discounted return than the estimator's `unseen` allows."""
    gamma, unseen = estimator.gamma, estimator.unseen
    if gamma**rollout_length <= unseen:
        return
    enough = math.ceil(math.log(unseen) / math.log(gamma)) if unseen > 0 and gamma < 1 else None
    instead = f"--rollout-length {enough} or more" if enough else "a smaller --advantage.gamma"
    raise UsageError(
        f"--rollout-length {rollout_length} lets --advantage {kind_of(type(estimator))} learn only from episodes that "
        f"terminate: {gamma**rollout_length:.2g} of other returns, more than --advantage.unseen {unseen:g}, lies "
        f"behind its end: use {instead}, or raise --advantage.unseen"
    )
