"""Advantages relative to a group of episodes from one state, without a critic: the GRPO family."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge

from rlsparse.advantage.environments import About, WrappedEnvs
from rlsparse.advantage.estimator import AdvantageEstimator, check_seen
from rlsparse.advantage.group_scores import (
    centred_on_batch,
    degenerate_share,
    group_starts,
    held,
    in_groups,
    relative,
    returns_and_hidden,
    scaled_by_batch,
    to_members,
)
from rlsparse.advantage.scaffold import Scaffold
from rlsparse.errors import UsageError
from rlsparse.learner.bounds import Expected, Fraction
from rlsparse.learner.records import Advantages, Rollout

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv

    from rlsparse.learner.learner import Learner


@dataclass(frozen=True)
class GroupRelative(AdvantageEstimator):
    """Compare each step's return with those of the group at the same time index; no critic, so no value loss.

    Source: GR2PO, arXiv 2609.19850, and Group Policy Gradient, arXiv 2510.03679; the baseline leaves the own out.
    """

    needs_critic: ClassVar[bool] = False
    autoreset: ClassVar[bool] = False
    columns: ClassVar[tuple[str, ...]] = ("degenerate_groups",)
    needs: ClassVar = {"cpu-environments": "lets environments wait for their group, and needs environments on the CPU"}

    gamma: Fraction = 0.99
    """Discount per environment step."""
    group_size: Annotated[int, Ge(2), Expected("2 or more, for one episode has nothing to be compared with")] = 8
    """Environments that begin their episodes in the same state, and the next one when all are over."""
    score: Literal["return-to-go", "outcome"] = "return-to-go"
    """What is compared: the return from each step on, or for all steps of an episode its whole return."""
    baseline: Literal["others", "mean", "batch"] = "others"
    """What is subtracted: the mean score of the others in the group, of the whole group, or of all steps."""
    scale: Literal["none", "group", "batch"] = "none"
    """What it is divided by: nothing, or the deviation of the group's scores, or of all steps'."""
    count: Literal["steps", "episodes"] = "steps"
    """What counts alike in the loss: every step, or every episode."""
    unseen: Fraction = 0.5
    """Most of a return, gamma^k, that may lie behind the rollout's end; a group has no weight where there is more."""
    scaffold: Scaffold = field(default_factory=Scaffold)
    """Help for groups that find no success where rewards are sparse."""

    @property
    def restarts(self) -> bool:
        """Whether every rollout begins new episodes: only whole ones have an outcome."""
        return self.score == "outcome"

    @property
    def gives(self) -> frozenset[str]:
        """It has no critic, breaks episodes off at a group's end, and maybe helps some of them."""
        unaided = {"unaided-episodes"} if self.scaffold.after == 0 else set()
        return frozenset({"environment-return", *unaided})

    def check(self, recipe: Any) -> None:
        """Raise UsageError unless environments make whole groups, and advantages are scaled once at most."""
        size, num_envs = self.group_size, recipe.num_envs
        if num_envs % size:
            raise UsageError(
                f"--advantage.group-size {size} does not divide --num-envs {num_envs} into groups: use a multiple of "
                f"it, such as {-(-num_envs // size) * size}"
            )
        if recipe.algorithm.normalise_advantages and self.scale != "none":
            raise UsageError(
                f'--advantage.scale "{self.scale}" and --algorithm.normalise-advantages both scale advantages: use '
                '--algorithm.no-normalise-advantages, or --advantage.scale "none"'
            )

    def check_horizon(self, rollout_length: int, horizon: int) -> None:
        """Raise UsageError if a rollout cannot hold the episodes that must be whole, or shows too little of them."""
        if rollout_length >= horizon:
            return
        if self.restarts:
            raise UsageError(
                f"--rollout-length {rollout_length} is shorter than an episode may be, {horizon:,} steps: "
                '--advantage.score "outcome" compares whole episodes, so use longer rollouts, or "return-to-go"'
            )
        check_seen(self, rollout_length)

    def __call__(self, rollout: Rollout) -> Advantages:
        """Estimate advantages and weights, [T, S, N]; there are no value targets."""
        ended = rollout.terminated | rollout.truncated
        starts = group_starts(ended, self.group_size)
        score, hidden = returns_and_hidden(rollout.reward, rollout.terminated, rollout.truncated, self.gamma)
        valid = np.ones_like(ended) if rollout.valid is None else rollout.valid
        acted, counts = valid, valid | rollout.terminated  # who has fallen gets a return of 0, not a missing one
        if rollout.replayed is not None:
            acted, counts = acted & ~rollout.replayed, counts & ~rollout.replayed
        if self.score == "outcome":
            score, hidden, counts = held(score, starts), held(hidden, starts), np.ones_like(ended)
        cut = np.logical_or.reduce(in_groups(hidden > self.unseen, self.group_size), -1)
        seen = acted & ~to_members(cut, self.group_size)
        advantage = self._compare(score, counts, seen)
        weight = seen.astype(np.float32)
        if self.count == "episodes":
            lengths, _ = returns_and_hidden(acted, rollout.terminated, rollout.truncated, 1.0)
            weight /= np.maximum(held(lengths, starts), 1.0).astype(np.float32)
        return Advantages(np.where(acted, advantage, 0.0).astype(np.float32), None, weight)

    def wrap(self, env: "VectorEnv", learner: "Learner", about: About) -> WrappedEnvs:
        """Return the environments in groups, which are helped if the scaffold says so."""
        return self.scaffold.wrap(env, learner, self.group_size)

    def metrics(self, rollout: Rollout, advantages: Advantages) -> dict[str, np.ndarray]:
        """Return the share of groups that teach nothing, [S]."""
        return {"degenerate_groups": self.degenerate(rollout, advantages)}

    def degenerate(self, rollout: Rollout, estimated: Advantages) -> np.ndarray:
        """Share of the groups with a weight whose advantages are all zero, so that they teach nothing, [S].

        Returns-to-go are compared at every time index, outcomes once, where episodes begin; nan if no group counts.
        """
        compared = np.asarray(estimated.weight) > 0
        if self.score == "outcome":
            compared &= group_starts(rollout.terminated | rollout.truncated, self.group_size)
        return degenerate_share(np.asarray(estimated.advantage), compared, self.group_size)

    def _compare(self, score: np.ndarray, counts: np.ndarray, seen: np.ndarray) -> np.ndarray:
        if self.baseline == "batch":
            advantage = centred_on_batch(score, seen)
        else:
            grouped = in_groups(score, self.group_size), in_groups(counts, self.group_size)
            advantage = relative(*grouped, self.baseline, self.scale == "group").reshape(score.shape)
        return scaled_by_batch(advantage, seen) if self.scale == "batch" else advantage
