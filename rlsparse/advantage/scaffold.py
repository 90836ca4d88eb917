"""When a group that finds no success is helped, how much, and when it no longer is: pure functions."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv

    from rlsparse.advantage.grouped_envs import GroupedEnvs
    from rlsparse.learner.learner import Learner
from rlsparse.learner.bounds import Count, CountFromZero, Finite, Fraction


@dataclass(frozen=True)
class Scaffold:
    """Help one episode of each group that has stalled; off unless `after` is given.

    Source: Scaf-GRPO, arXiv 2510.19807. Tier 1 begins late in the best episode that succeeded; tier 2 begins where the
    group does and repeats that episode's first actions. Then the policy acts.
    """

    after: CountFromZero = 0
    """Groups in a row without a success after which there is more help; 0: there never is any."""
    success_return: Finite = 0.0
    """An episode whose undiscounted return is above this succeeds."""
    increments: Count = 4
    """Parts of equal size in which a tier's help is withdrawn, one after each success."""
    exempt: Fraction = 0.15
    """Share of the budget that passes before anyone is helped."""

    def wrap(self, env: "VectorEnv", learner: "Learner", group_size: int) -> "GroupedEnvs":
        """Return the environments in groups that are helped, or that never are if `after` is 0."""
        if self.after == 0:
            from rlsparse.advantage.grouped_envs import GroupedEnvs

            return GroupedEnvs(env, learner.members, group_size)
        from rlsparse.advantage.guide import ScaffoldedEnvs

        return ScaffoldedEnvs(self, env, learner, group_size)


class Help(NamedTuple):
    """What groups get, whole numbers [...] each."""

    tier: np.ndarray
    """0: nothing; 1: an easier state to begin in; 2: first actions."""
    share: np.ndarray
    """Parts of the tier's help that are left, of `increments`; 0 with tier 0."""
    failures: np.ndarray
    """Groups in a row without a success since help last changed."""

    @classmethod
    def none(cls, groups: int) -> "Help":
        """Begin without help."""
        return cls(*(np.zeros(groups, np.int64) for _ in range(3)))


def next_help(help: Help, unaided: np.ndarray, aided: np.ndarray, config: Scaffold) -> Help:
    """What groups get next, given whether they succeeded on their own or with help, [...] bool each.

    A success without help ends it; one with help takes a part away, and the tier with its last part. After
    `config.after` groups in a row without either, a part is added, or after all parts of tier 1 all those of tier 2.
    """
    failures = np.where(unaided | aided, 0, help.failures + 1)
    more = failures >= config.after
    whole = help.share == config.increments
    raised = np.where(help.tier == 0, 1, np.where(whole, np.minimum(help.tier + 1, 2), help.tier))
    fuller = np.where((help.tier == 0) | whole, config.increments, help.share + 1)
    tier, share = np.where(more, raised, help.tier), np.where(more, fuller, help.share - (aided & ~unaided))
    kept = ~unaided & (share > 0)
    return Help(np.where(kept, tier, 0), np.where(kept, share, 0), np.where(more, 0, failures))


def skipped_steps(length: int, share: int, increments: int) -> int:
    """Of an archived episode of this length, the steps that need not be found any more; at least one is left."""
    return length * share // (increments + 1)
