"""Help for groups of episodes that find no success: what was archived, who gets it, and who repeats what."""

from typing import TYPE_CHECKING

import numpy as np

from rlsparse.advantage.archive import Episode, better, packed, unpacked
from rlsparse.advantage.scaffold import Help, Scaffold, next_help, skipped_steps

if TYPE_CHECKING:  # a command line is refused without loading environments
    from gymnasium.vector import VectorEnv


class Guide:
    """The best episode of each of S members that succeeded unaided, and the help that their groups of G get from it.

    Of a group that is helped, the last environment is; its episodes are not archived.
    """

    def __init__(self, config: Scaffold, env: "VectorEnv", members: int, group_size: int) -> None:
        total = env.num_envs
        self.config = config
        self.best: list[Episode | None] = [None] * members
        self.help = Help.none(total // group_size)
        self.aided = np.zeros(total, bool)
        """Whose episode is helped, [E]."""
        self._env = env
        self._group_size = group_size
        self._owner = np.arange(total) * members // total
        self._snapshot_size: int = env.snapshots().shape[1]  # type: ignore[attr-defined]
        self._action_size: int = env.single_action_space.shape[0]  # type: ignore[index]
        self._returns = np.zeros(total)
        self._running: list[list[np.ndarray]] = [[] for _ in range(total)]
        self._ahead = [np.empty((0, self._action_size))] * total
        self._spent = np.zeros(members, np.int64)

    def act(self, native: np.ndarray, idle: np.ndarray) -> np.ndarray:
        """Put archived actions into `native` [E, A] where they are to be repeated; returns where, [E] bool."""
        repeated = ~idle & np.array([len(actions) > 0 for actions in self._ahead])
        for e in np.flatnonzero(repeated).tolist():
            native[e], self._ahead[e] = self._ahead[e][0], self._ahead[e][1:]
        steps = np.concatenate([self._env.snapshots(), native], 1)  # type: ignore[attr-defined]
        for e in np.flatnonzero(~idle & ~self.aided).tolist():
            self._running[e].append(steps[e])
        return repeated

    def end(self, e: int, total: float) -> bool:
        """Note the undiscounted return of an episode that has ended; returns whether it was helped."""
        self._returns[e] = total
        return bool(self.aided[e])

    def assess(self, done: np.ndarray, progress: np.ndarray) -> None:
        """Judge the groups that are `done` [E] bool; `progress` [S] is the spent share of the members' budgets."""
        succeeded = done & (self._returns > self.config.success_return)
        for e in np.flatnonzero(succeeded & ~self.aided).tolist():
            self._archive(e)
        able = np.array([best is not None for best in self.best]) & (progress >= self.config.exempt)
        judged = self._in_groups(done & able[self._owner]).all(1)
        unaided, aided = (np.logical_or.reduce(self._in_groups(succeeded & x), 1) for x in (~self.aided, self.aided))
        following = next_help(self.help, unaided, aided, self.config)
        self.help = Help(*(np.where(judged, new, old) for new, old in zip(following, self.help, strict=True)))

    def begin(self, where: np.ndarray, obs: np.ndarray) -> None:
        """Help groups whose environments, `where` [E] bool, have just begun episodes; `obs` [E, O] changes too."""
        for e in np.flatnonzero(where).tolist():
            self._running[e], self._ahead[e] = [], self._ahead[e][:0]
        self.aided[where] = False
        helped = self._in_groups(where).all(1) & (self.help.tier > 0)
        for group in np.flatnonzero(helped).tolist():
            self._help(group, obs)

    def _help(self, group: int, obs: np.ndarray) -> None:
        e = (group + 1) * self._group_size - 1
        best = self.best[self._owner[e]]
        assert best is not None, "help comes from what is archived"
        self.aided[e] = True
        skipped = skipped_steps(len(best.steps), int(self.help.share[group]), self.config.increments)
        snapshots, actions = np.split(best.steps, [self._snapshot_size], 1)
        if self.help.tier[group] == 2:
            self._ahead[e] = actions[:skipped]
        else:
            obs[e], steps = self._env.restore(e, snapshots[skipped], actions[:skipped])  # type: ignore[attr-defined]
            self._spent[self._owner[e]] += steps

    def mean_tier(self) -> np.ndarray:
        """The tier of each member's groups, on average, [S]."""
        return self.help.tier.reshape(len(self.best), -1).mean(1)

    def spent(self) -> np.ndarray:
        """Environment steps that it took to restore states, since the last call, [S]."""
        spent, self._spent = self._spent, np.zeros_like(self._spent)
        return spent

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return all that decides what follows; call between rollouts."""
        width = self._snapshot_size + self._action_size
        best = [episode or Episode(0.0, np.empty((0, width))) for episode in self.best]
        return {
            "aided": self.aided,
            "returns": self._returns,
            "best_total": np.array([episode.total for episode in best]),
            **self.help._asdict(),
            **packed("best", [episode.steps for episode in best]),
            **packed("running", [np.reshape(steps, (-1, width)) for steps in self._running]),
            **packed("ahead", self._ahead),
        }

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Put back what `state_dict` gave."""
        self.aided, self._returns = state["aided"].copy(), state["returns"].copy()
        self.help = Help(*(state[name] for name in Help._fields))
        episodes = zip(state["best_total"].tolist(), unpacked("best", state), strict=True)
        self.best = [Episode(total, steps) if len(steps) else None for total, steps in episodes]
        self._running = [list(steps) for steps in unpacked("running", state)]
        self._ahead = unpacked("ahead", state)

    def _archive(self, e: int) -> None:
        episode = Episode(float(self._returns[e]), np.stack(self._running[e]))
        if better(episode, self.best[self._owner[e]]):
            self.best[self._owner[e]] = episode

    def _in_groups(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(-1, self._group_size)
