"""What every advantage estimator is to the rest of a recipe."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from rlsparse.advantage.projection import Projection
from rlsparse.errors import UsageError
from rlsparse.learner.kinds import kind_of


class AdvantageEstimator:
    """The base of estimators; one that has a critic, and takes rollouts as they are, need not say more."""

    needs_critic: ClassVar[bool] = True

    @property
    def gives(self) -> frozenset[str]:
        """What other components may rely on."""
        return frozenset({"critic", "single-episodes", "unaided-episodes", "environment-return", "equal-rollouts"})

    def check_horizon(self, rollout_length: int, horizon: int) -> None:
        """Raise UsageError if too little of an episode, of `horizon` steps at most, fits into a rollout."""

    def objective(
        self, env_id: str, projections: Mapping[str, Projection], obs_size: int | None, environments: int
    ) -> Any:
        """Return the set function whose gains are learned from; None if it is the environment's own reward."""
        return None


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
