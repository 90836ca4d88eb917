"""Scaf-GRPO: groups of episodes that find no success are helped by the best episode so far. arXiv 2510.19807."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rlsparse.advantage.grouped_envs import GroupedEnvs
from rlsparse.learner.arrays import in_groups, pack_ragged, unpack_ragged
from rlsparse.learner.bounds import Count, CountFromZero, Finite, Fraction, Varying

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv

    from rlsparse.learner.learner import Learner


@dataclass(frozen=True)
class Scaffold:
    """Help one episode of each group that has stalled; off unless `after` is given.

    Source: Scaf-GRPO, arXiv 2510.19807. Tier 1 begins late in the best episode that succeeded; tier 2 begins in the
    group's start and repeats that episode's first actions. Then the policy acts.
    """

    after: CountFromZero = 0
    """Groups in a row without a success after which help increases; 0: never any help."""
    success_return: Varying[Finite] = 0.0
    """An episode whose undiscounted return is above this succeeds."""
    increments: Count = 4
    """Equal parts of a tier's help; each success takes one away."""
    exempt: Varying[Fraction] = 0.15
    """Share of the budget before which no group is helped."""

    @property
    def needs(self) -> Mapping[str, str]:
        """Traits that it relies on, with the reason."""
        kept = "keeps episodes and begins others within them, and needs environments on the CPU"
        return {"cpu-environments": kept} if self.after > 0 else {}

    def wrap(self, env: "VectorEnv", learner: "Learner", group_size: int) -> GroupedEnvs:
        """Return the environments in groups, with help unless `after` is 0."""
        if self.after == 0:
            return GroupedEnvs(env, learner.members, group_size, learner.simulated_on)
        return ScaffoldedEnvs(self, env, learner, group_size)


class Help(NamedTuple):
    """The help of groups, whole numbers [...] each."""

    tier: np.ndarray
    """0: nothing; 1: an easier state to begin in; 2: first actions."""
    share: np.ndarray
    """Remaining parts of the tier's help, of `increments`; 0 with tier 0."""
    failures: np.ndarray
    """Groups in a row without a success since help last changed."""

    @classmethod
    def none(cls, groups: int) -> "Help":
        """Return no help, the state at the beginning."""
        return cls(*(np.zeros(groups, np.int64) for _ in range(3)))


def next_help(help: Help, unaided: np.ndarray, aided: np.ndarray, config: Scaffold) -> Help:
    """The next help of groups, given whether they succeeded unaided or with help, [...] bool each.

    A success without help ends help; one with help takes a part away, and the last part ends the tier. After
    `config.after` groups in a row without any success a part is added; tier 1 with all parts becomes tier 2 with all.
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
    """Return how many steps of an archived episode of this length are skipped; at least one remains."""
    return length * share // (increments + 1)


class ArchivedEpisode(NamedTuple):
    """One episode of L steps."""

    total: float
    """Undiscounted return."""
    steps: np.ndarray
    """For each step the environment's state before it, K numbers, then the action in native units, [L, K + A]."""


def better(one: ArchivedEpisode, other: ArchivedEpisode | None) -> bool:
    """Whether an episode should replace the other: it has a higher return, or an equal one in fewer steps."""
    return other is None or (one.total, -len(one.steps)) > (other.total, -len(other.steps))


class ScaffoldedEnvs(GroupedEnvs):
    """Groups of environments with help from each member's best episode that succeeded unaided.

    In a helped group only the last environment is helped; its episodes are not archived.
    """

    def __init__(self, config: Scaffold, env: "VectorEnv", learner: "Learner", group_size: int) -> None:
        super().__init__(env, learner.members, group_size)
        total, members = env.num_envs, learner.members
        self.config = config
        self.best: list[ArchivedEpisode | None] = [None] * members
        self.help = Help.none(total // group_size)
        self.aided = np.zeros(total, bool)
        """True where the episode is helped, [E]."""
        self._learner = learner
        self._owner = np.arange(total) * members // total
        self._snapshot_size: int = env.snapshots().shape[1]  # type: ignore[attr-defined]
        self._action_size: int = env.single_action_space.shape[0]  # type: ignore[index]
        self._totals, self._returns = np.zeros(total), np.zeros(total)
        self._running: list[list[np.ndarray]] = [[] for _ in range(total)]
        self._ahead = [np.empty((0, self._action_size))] * total

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step the groups, with archived actions where there are any; `info` says where actions are `replayed`."""
        repeated = self.act(actions)
        *outcome, info = super().step(actions)
        return *outcome, info | {"replayed": repeated}  # type: ignore[return-value]

    def act(self, native: np.ndarray) -> np.ndarray:
        """Write archived actions into `native` [E, A] where they are to be repeated; return where, [E] bool."""
        repeated = ~self.idle & np.array([len(actions) > 0 for actions in self._ahead])
        for e in np.flatnonzero(repeated).tolist():
            native[e], self._ahead[e] = self._ahead[e][0], self._ahead[e][1:]
        steps = np.concatenate([self.env.snapshots(), native], 1)  # type: ignore[attr-defined]
        for e in np.flatnonzero(~self.idle & ~self.aided).tolist():
            self._running[e].append(steps[e])
        return repeated

    def note(self, reward: np.ndarray, ended: np.ndarray) -> dict[str, np.ndarray]:
        """Add up undiscounted returns; `info` says which episodes are `helped`."""
        self._totals += reward
        self._returns[ended] = self._totals[ended]
        self._totals[ended] = 0
        return {"helped": self.aided.copy()}

    def judge(self, done: np.ndarray) -> None:
        """Judge the groups that are `done` [E] bool, by the spent share of the members' budgets."""
        progress = self._learner.progress
        of_members = self._returns.reshape(self.members, -1)
        succeeded = done & (of_members > self.config.success_return).ravel()
        for e in np.flatnonzero(succeeded & ~self.aided).tolist():
            self._archive(e)
        able = np.array([best is not None for best in self.best]) & (progress >= self.config.exempt)
        judged = in_groups(done & able[self._owner], self.group_size).all(1)
        unaided, aided = (in_groups(succeeded & x, self.group_size).any(1) for x in (~self.aided, self.aided))
        following = next_help(self.help, unaided, aided, self.config)
        self.help = Help(*(np.where(judged, new, old) for new, old in zip(following, self.help, strict=True)))

    def begin(self, where: np.ndarray) -> np.ndarray:
        """Begin episodes in these environments, [E] bool, and help their groups; return all observations [E, O]."""
        obs = super().begin(where)
        for e in np.flatnonzero(where).tolist():
            self._running[e], self._ahead[e] = [], self._ahead[e][:0]
        self.aided[where] = False
        helped = in_groups(where, self.group_size).all(1) & (self.help.tier > 0)
        for group in np.flatnonzero(helped).tolist():
            self._help(group, obs)
        return obs

    def restart(self) -> np.ndarray:
        """End all episodes early and begin new ones; return their first observations [E, O]."""
        self._totals[...] = 0
        return super().restart()

    def _help(self, group: int, obs: np.ndarray) -> None:
        e = (group + 1) * self.group_size - 1
        best = self.best[self._owner[e]]
        assert best is not None, "help comes from what is archived"
        self.aided[e] = True
        skipped = skipped_steps(len(best.steps), int(self.help.share[group]), self.config.increments)
        snapshots, actions = np.split(best.steps, [self._snapshot_size], 1)
        if self.help.tier[group] == 2:
            self._ahead[e] = actions[:skipped]
        else:
            obs[e], steps = self.env.restore(e, snapshots[skipped], actions[:skipped])  # type: ignore[attr-defined]
            self._learner.counters.train[self._owner[e]] += steps

    def metrics(self) -> dict[str, np.ndarray]:
        """Return the mean tier of each member's groups, [S]."""
        return super().metrics() | {"help_tier": self.help.tier.reshape(len(self.best), -1).mean(1)}

    def get_state(self) -> dict[str, np.ndarray]:
        """Return all arrays from which the environments continue, by name; call between rollouts."""
        width = self._snapshot_size + self._action_size
        best = [episode or ArchivedEpisode(0.0, np.empty((0, width))) for episode in self.best]
        own = {
            "aided": self.aided,
            "totals": self._totals,
            "returns": self._returns,
            "best_total": np.array([episode.total for episode in best]),
            **self.help._asdict(),
            **pack_ragged("best", [episode.steps for episode in best]),
            **pack_ragged("running", [np.reshape(steps, (-1, width)) for steps in self._running]),
            **pack_ragged("ahead", self._ahead),
        }
        return super().get_state() | {f"help.{name}": x for name, x in own.items()}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore the state that `get_state` returned."""
        super().set_state(state)
        state = {name[5:]: x for name, x in state.items() if name.startswith("help.")}
        self.aided, self._totals, self._returns = (state[name].copy() for name in ("aided", "totals", "returns"))
        self.help = Help(*(state[name] for name in Help._fields))
        episodes = zip(state["best_total"].tolist(), unpack_ragged("best", state), strict=True)
        self.best = [ArchivedEpisode(total, steps) if len(steps) else None for total, steps in episodes]
        self._running = [list(steps) for steps in unpack_ragged("running", state)]
        self._ahead = unpack_ragged("ahead", state)

    def _archive(self, e: int) -> None:
        episode = ArchivedEpisode(float(self._returns[e]), np.stack(self._running[e]))
        if better(episode, self.best[self._owner[e]]):
            self.best[self._owner[e]] = episode
