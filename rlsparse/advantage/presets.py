"""Published settings of group-relative advantages under their names."""

from dataclasses import dataclass
from typing import Literal

from rlsparse.advantage.group_relative import GroupRelative
from rlsparse.learner.bounds import Fraction


@dataclass(frozen=True)
class GRPO(GroupRelative):
    """Group relative policy optimisation: outcomes, standardised in the group. Source: arXiv 2402.03300."""

    gamma: Fraction = 1.0
    """Discount per environment step; the published form has none."""
    score: Literal["return-to-go", "outcome"] = "outcome"
    """What is compared: here, for all steps of an episode, its whole return."""
    baseline: Literal["others", "mean", "batch"] = "mean"
    """What is subtracted: here the mean score of the whole group, the own included."""
    scale: Literal["none", "group", "batch"] = "group"
    """What it is divided by: here the deviation of the group's scores."""
    count: Literal["steps", "episodes"] = "episodes"
    """What counts alike in the loss: here every episode, so that a step of a long one counts less."""


@dataclass(frozen=True)
class DrGRPO(GroupRelative):
    """GRPO without deviation and lengths, which bias it. Source: Liu et al., arXiv 2503.20783."""

    gamma: Fraction = 1.0
    """Discount per environment step; the published form has none."""
    score: Literal["return-to-go", "outcome"] = "outcome"
    """What is compared: here, for all steps of an episode, its whole return."""
    baseline: Literal["others", "mean", "batch"] = "mean"
    """What is subtracted: here the mean score of the whole group, the own included."""


@dataclass(frozen=True)
class RLOO(GroupRelative):
    """REINFORCE, its baseline the mean outcome of the others. Source: Ahmadian et al., arXiv 2402.14740."""

    gamma: Fraction = 1.0
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
