"""Advantages relative to a group of episodes from one state, without a critic: the GRPO family.

Episodes of a group begin in the same state and in the same step, so row t of an array is the same time index in all of
them. Axes: T steps, S members, N environments = groups x G.
"""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge

from rlsparse.advantage.environments import About, WrappedEnvs
from rlsparse.advantage.estimator import AdvantageEstimator, check_seen
from rlsparse.advantage.returns import discounted_to_go, unseen_share
from rlsparse.advantage.scaffold import Scaffold
from rlsparse.errors import UsageError
from rlsparse.learner.arrays import Array, as_float32, as_float64, in_groups, namespace, to_members, to_numpy
from rlsparse.learner.bounds import Expected, Fraction, Varying
from rlsparse.learner.records import Advantages, Rollout, by_member

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv

    from rlsparse.learner.learner import Learner


@dataclass(frozen=True)
class GroupRelative(AdvantageEstimator):
    """Compare each step's return with those of the group at the same time index; no critic, so no value loss.

    Source: GR2PO, arXiv 2609.19850, and Group Policy Gradient, arXiv 2510.03679; the baseline leaves the step's own
    return out.
    """

    needs_critic: ClassVar[bool] = False
    autoreset: ClassVar[bool] = False
    columns: ClassVar[tuple[str, ...]] = ("degenerate_groups",)

    gamma: Varying[Fraction] = 0.99
    """Discount per environment step."""
    group_size: Annotated[int, Ge(2), Expected("2 or more, for one episode has nothing to be compared with")] = 8
    """Environments that begin their episodes in the same state, and wait until all of these have ended."""
    score: Literal["return-to-go", "outcome"] = "return-to-go"
    """What is compared: the return from each step on, or for all steps of an episode its whole return."""
    baseline: Literal["others", "mean", "batch"] = "others"
    """What is subtracted: the mean score of the others in the group, of the whole group, or of all steps."""
    scale: Literal["none", "group", "batch"] = "none"
    """What it is divided by: nothing, or the deviation of the group's scores, or of all steps'."""
    count: Literal["steps", "episodes"] = "steps"
    """What has equal weight in the loss: every step, or every episode."""
    unseen: Varying[Fraction] = 0.5
    """Largest share of a return, gamma^k, after the rollout's end; where it is larger, a group has no weight."""
    scaffold: Scaffold = field(default_factory=Scaffold)
    """Help for groups that find no success where rewards are sparse."""

    @property
    def restarts(self) -> bool:
        """Whether every rollout begins new episodes: only whole ones have an outcome."""
        return self.score == "outcome"

    @property
    def gives(self) -> frozenset[str]:
        """It has no critic, may cut episodes, and may help some of them."""
        unaided = {"unaided-episodes"} if self.scaffold.after == 0 else set()
        return frozenset({"environment-return", *unaided})

    def check(self, recipe: Any) -> None:
        """Raise UsageError unless environments make whole groups, and advantages are scaled at most once."""
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
        xp, ended = namespace(rollout.reward), rollout.terminated | rollout.truncated
        starts = group_starts(ended, self.group_size)
        score, hidden = returns_and_hidden(rollout.reward, rollout.terminated, rollout.truncated, self.gamma)
        valid = xp.ones_like(ended) if rollout.valid is None else rollout.valid
        acted, counts = valid, valid | rollout.terminated  # after a termination the return is 0, not missing
        if rollout.replayed is not None:
            acted, counts = acted & ~rollout.replayed, counts & ~rollout.replayed
        if self.score == "outcome":
            score, hidden = from_episode_start(score, starts), from_episode_start(hidden, starts)
            counts = xp.ones_like(ended)
        cut = in_groups(hidden > self.unseen, self.group_size).any(-1)
        seen = acted & ~to_members(cut, self.group_size)
        advantage = self._compare(score, counts, seen)
        weight = as_float32(seen)
        if self.count == "episodes":
            lengths, _ = returns_and_hidden(acted, rollout.terminated, rollout.truncated, 1.0)
            weight = weight / as_float32(from_episode_start(lengths, starts).clip(1.0))
        return Advantages(as_float32(xp.where(acted, advantage, 0.0)), None, weight)

    def wrap(self, env: "VectorEnv", learner: "Learner", about: About) -> WrappedEnvs:
        """Return the environments in groups, with help if the scaffold is on."""
        return self.scaffold.wrap(env, learner, self.group_size)

    def metrics(self, rollout: Rollout, advantages: Advantages) -> dict[str, np.ndarray]:
        """Return the share of groups that teach nothing, [S]."""
        return {"degenerate_groups": to_numpy(self.degenerate(rollout, advantages))}

    def degenerate(self, rollout: Rollout, estimated: Advantages) -> Array:
        """Share of groups that teach nothing, among those with a weight: all their advantages are zero, [S].

        Returns-to-go are compared at every time index, outcomes once, where episodes begin; nan if no group counts.
        """
        compared: Array = estimated.weight > 0  # type: ignore[operator]  # `__call__` gives all their weight
        if self.score == "outcome":
            compared &= group_starts(rollout.terminated | rollout.truncated, self.group_size)
        return degenerate_share(estimated.advantage, compared, self.group_size)

    def _compare(self, score: Array, counts: Array, seen: Array) -> Array:
        if self.baseline == "batch":
            advantage = centred_on_batch(score, seen)
        else:
            grouped = in_groups(score, self.group_size), in_groups(counts, self.group_size)
            advantage = relative(*grouped, self.baseline, self.scale == "group").reshape(score.shape)
        return scaled_by_batch(advantage, seen) if self.scale == "batch" else advantage


EQUAL = 1e-6
"""Scores that differ by less, relative to their size or 1, are equal, so that rounding is not scaled up."""


def group_starts(ended: Array, group_size: int) -> Array:
    """Where groups begin episodes, or the rollout begins, [T, S, N] bool; `ended` stays True while waiting."""
    starts = namespace(ended).ones_like(ended)
    starts[1:] = to_members(in_groups(ended, group_size).all(-1), group_size)[:-1]
    return starts


def from_episode_start(x: Array, starts: Array) -> Array:
    """Give every step the number of x at the start of its episode, [T, ...]."""
    xp = namespace(x)
    first = xp.empty_like(x)
    for t in range(len(x)):
        first[t] = x[t] if t == 0 else xp.where(starts[t], x[t], first[t - 1])
    return first


def returns_and_hidden(reward: Array, terminated: Array, truncated: Array, gamma: float) -> tuple[Array, Array]:
    """Discounted returns-to-go, and the share of them after the rollout's end, [T, S, N] float64 each.

    A time limit is where the episode ends: steps of a group have equal time left.
    """
    ended = terminated | truncated
    return discounted_to_go(as_float64(reward), ended, gamma), unseen_share(ended, ended & False, gamma)


def relative(score: Array, counts: Array, baseline: Literal["others", "mean"], scale: bool) -> Array:
    """Scores [..., G] minus their group's mean, of all or of the others; divided by its deviation if `scale`.

    `counts` [..., G] bool marks the scores that exist; the rest become 0, and so do groups of equal scores and groups
    of one. Source: Shao et al., arXiv 2402.03300 ("mean", scaled); Ahmadian et al., arXiv 2402.14740 ("others").
    """
    xp, number = namespace(score), as_float64(counts.sum(-1, keepdims=True))
    mean = xp.where(counts, score, 0.0).sum(-1, keepdims=True) / number.clip(1)
    centred = xp.where(counts & differing(score, counts)[..., None], score - mean, 0.0)
    fewer = (number - 1).clip(1)
    factor = number / fewer if baseline == "others" else 1.0
    if scale:
        factor = factor / (((centred * centred).sum(-1, keepdims=True) / fewer) ** 0.5 + EQUAL)
    return centred * factor


def differing(score: Array, counts: Array) -> Array:
    """Whether of each row [..., K] at least two scores count, which are not all equal; [...] bool."""
    xp = namespace(score)
    highest = xp.amax(xp.where(counts, score, -math.inf), -1)
    lowest = xp.amin(xp.where(counts, score, math.inf), -1)
    return (counts.sum(-1) > 1) & (highest - lowest > EQUAL * abs(highest).clip(1.0))


def degenerate_share(advantage: Array, compared: Array, group_size: int) -> Array:
    """Share of the groups in which no `compared` [T, S, N] bool environment has an advantage [T, S, N]; [S] float32.

    Every row has its groups; those without a compared environment do not count. nan where none counts.
    """
    used = in_groups(compared, group_size).any(-1)
    taught = in_groups(compared & (advantage != 0), group_size).any(-1)
    number = used.sum((0, 2))
    share = (number - taught.sum((0, 2))) / number.clip(1)
    return as_float32(namespace(share).where(number > 0, share, math.nan))


def centred_on_batch(score: Array, counts: Array) -> Array:
    """Scores [T, S, N] minus the mean of the member's scores that count; 0 for the rest and for equal scores."""
    xp, rows, which = namespace(score), by_member(score), by_member(counts)
    mean = xp.where(which, rows, 0.0).sum(1) / which.sum(1).clip(1)
    return xp.where(counts & differing(rows, which)[:, None], score - mean[:, None], 0.0)


def scaled_by_batch(score: Array, counts: Array) -> Array:
    """Divide scores [T, S, N] by the deviation of the member's scores that count.

    Source: whitening of REINFORCE++, Hu, arXiv 2501.03262; 1e-8 is added to the variance.
    """
    centred = by_member(centred_on_batch(score, counts))
    number = (by_member(counts).sum(1) - 1).clip(1)
    return score / ((centred * centred).sum(1) / number + 1e-8)[:, None] ** 0.5


@dataclass(frozen=True)
class GRPO(GroupRelative):
    """Group relative policy optimisation: outcomes, standardised in the group. Source: arXiv 2402.03300."""

    gamma: Varying[Fraction] = 1.0
    """Discount per environment step; the published form has none."""
    score: Literal["return-to-go", "outcome"] = "outcome"
    """What is compared: here, for all steps of an episode, its whole return."""
    baseline: Literal["others", "mean", "batch"] = "mean"
    """What is subtracted: here the mean score of the whole group, its own score included."""
    scale: Literal["none", "group", "batch"] = "group"
    """What it is divided by: here the deviation of the group's scores."""
    count: Literal["steps", "episodes"] = "episodes"
    """What has equal weight in the loss: here every episode, so a step of a long one counts less."""


@dataclass(frozen=True)
class DrGRPO(GroupRelative):
    """GRPO without its divisions by deviation and length, which cause bias. Source: Liu et al., arXiv 2503.20783."""

    gamma: Varying[Fraction] = 1.0
    """Discount per environment step; the published form has none."""
    score: Literal["return-to-go", "outcome"] = "outcome"
    """What is compared: here, for all steps of an episode, its whole return."""
    baseline: Literal["others", "mean", "batch"] = "mean"
    """What is subtracted: here the mean score of the whole group, its own score included."""


@dataclass(frozen=True)
class RLOO(GroupRelative):
    """REINFORCE with the mean outcome of the others as baseline. Source: Ahmadian et al., arXiv 2402.14740."""

    gamma: Varying[Fraction] = 1.0
    """Discount per environment step; the published form has none."""
    score: Literal["return-to-go", "outcome"] = "outcome"
    """What is compared: here, for all steps of an episode, its whole return."""


@dataclass(frozen=True)
class ReinforcePlusPlus(GroupRelative):
    """REINFORCE++: returns-to-go, standardised over all steps of the rollout. Source: Hu, arXiv 2501.03262."""

    baseline: Literal["others", "mean", "batch"] = "batch"
    """What is subtracted: here the mean score of all steps of the rollout."""
    scale: Literal["none", "group", "batch"] = "batch"
    """What it is divided by: here the deviation of the scores of all steps of the rollout."""
