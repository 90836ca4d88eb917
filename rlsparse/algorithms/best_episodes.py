"""The best episodes that succeeded, kept for each member, and the beginnings of those that still run."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from rlsparse.advantage.archive import packed, unpacked
from rlsparse.algorithms.surrogate import HPT, switch

LONGEST = 100_000
"""Most steps of an episode that is kept; a longer one does not count as a success either."""


class Episode(NamedTuple):
    """An episode of L steps, or its beginning."""

    obs: np.ndarray
    """As the environment gave them, [L, O] float32."""
    action: np.ndarray
    """As the policy drew them, before clipping, [L, A] float32."""
    total: float
    """Undiscounted sum of the environment's rewards."""

    def then(self, later: "Episode") -> "Episode":
        """Return the episode with what came later."""
        if len(self.obs) + len(later.obs) > LONGEST:
            return Episode(self.obs[:0], self.action[:0], math.nan)
        obs, action = (np.concatenate(both) for both in zip(self[:2], later[:2], strict=True))
        return Episode(obs, action, self.total + later.total)


class BestEpisodes:
    """Of each of S members with N environments, up to `config.episodes` that succeeded, the best first.

    Among equally good ones the later comes first. All that ends in a rollout is judged, whoever acted in it.
    """

    def __init__(self, config: HPT, members: int, num_envs: int, obs_size: int, action_size: int) -> None:
        self.config = config
        self._nothing = Episode(np.zeros((0, obs_size), np.float32), np.zeros((0, action_size), np.float32), 0.0)
        self.kept: list[list[Episode]] = [[] for _ in range(members)]
        self.running: list[list[Episode]] = [[self._nothing] * num_envs for _ in range(members)]
        self.success = np.full(members, np.nan)
        """Share of the episodes that ended in the last rollout which succeeded, [S]; nan where none did."""
        self.cloning = np.zeros(members, bool)
        """Whether the last update cloned, [S]."""
        self.clonings = np.zeros(members, np.int64)
        """Updates so far that did, [S]."""
        self._since = np.zeros((2, members), np.int64)

    def see(
        self, obs: np.ndarray, action: np.ndarray, reward: np.ndarray, ended: np.ndarray, valid: np.ndarray | None
    ) -> None:
        """Take in a rollout [T, S, N, ...]: the environment's own rewards, and steps that are none left out."""
        for member, kept in enumerate(self.kept):
            over: list[tuple[int, int, Episode]] = []
            for n in range(reward.shape[2]):
                rows = np.arange(len(reward)) if valid is None else np.flatnonzero(valid[:, member, n])
                steps = [x[rows, member, n] for x in (obs, action, reward, ended)]
                over += [(rows[last], n, episode) for last, episode in self._whole(member, n, *steps)]
            succeeded = [x for x in sorted(over, key=lambda x: x[:2]) if x[2].total > self.config.success_return]
            self.success[member] = len(succeeded) / len(over) if over else math.nan
            newest_first = [episode for _, _, episode in reversed(succeeded)]
            self.kept[member] = sorted([*newest_first, *kept], key=lambda x: -x.total)[: self.config.episodes]

    def _whole(
        self, member: int, n: int, obs: np.ndarray, action: np.ndarray, reward: np.ndarray, ended: np.ndarray
    ) -> Iterator[tuple[int, Episode]]:
        """Follow an environment for L steps; yields the episodes that end in them, each with the number of its last."""
        begin, running = 0, self.running[member][n]
        for last in [*np.flatnonzero(ended).tolist(), len(ended)]:
            part = slice(begin, last + 1)
            running = running.then(Episode(obs[part], action[part], float(reward[part].sum())))
            if last < len(ended):
                yield last, running
                begin, running = last + 1, self._nothing
        self.running[member][n] = running

    def restart(self) -> None:
        """Forget the running episodes, which have been broken off."""
        self.running = [[self._nothing] * len(running) for running in self.running]

    def decide(self) -> np.ndarray:
        """Return which members clone in the update after the last rollout, [S] bool, and count it."""
        _, beta = switch(self.success, self.config.gate)
        self.cloning = (beta > 0) & np.array([len(kept) > 0 for kept in self.kept])
        self.clonings += self.cloning
        self._since += [self.cloning, np.ones_like(self.cloning)]
        return self.cloning

    def sample(self, member: int, count: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw steps of a member's kept episodes, all alike and with replacement: [count, O] and [count, A]."""
        obs, action = (np.concatenate(x) for x in list(zip(*self.kept[member], strict=True))[:2])
        rows = generator.integers(len(obs), size=count)
        return obs[rows], action[rows]

    def share(self) -> np.ndarray:
        """Share of the updates since a member's last `told` that cloned, [S]; nan if there was none."""
        cloned, updates = self._since
        return np.where(updates > 0, cloned / np.maximum(updates, 1), np.nan)

    def told(self, members: np.ndarray) -> None:
        """Begin to count anew for these members, [S] bool."""
        self._since[:, members] = 0

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return all that decides what follows; call between an update and the next rollout."""
        counts = {"clonings": self.clonings, "since": self._since, "count": np.array([len(x) for x in self.kept])}
        return counts | self._packed("kept", self.kept) | self._packed("running", self.running)

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Put back what `state_dict` gave."""
        self.clonings, self._since = state["clonings"].copy(), state["since"].copy()
        self.kept = _unpacked("kept", state, state["count"])
        self.running = _unpacked("running", state, np.array([len(x) for x in self.running]))

    def _packed(self, name: str, episodes: list[list[Episode]]) -> dict[str, np.ndarray]:
        """Lay the members' episodes out in one array of each kind."""
        # one that is nothing comes first, lest there be none
        obs, action, totals = zip(self._nothing, *(episode for own in episodes for episode in own), strict=True)
        return packed(f"{name}.obs", obs) | packed(f"{name}.action", action) | {f"{name}.total": np.array(totals)}


def _unpacked(name: str, state: dict[str, np.ndarray], counts: np.ndarray) -> list[list[Episode]]:
    """Return each member's episodes, of which there are `counts` [S]."""
    each = unpacked(f"{name}.obs", state), unpacked(f"{name}.action", state), state[f"{name}.total"].tolist()
    flat = [Episode(*episode) for episode in zip(*each, strict=True)][1:]
    return [flat[end - count : end] for end, count in zip(np.cumsum(counts), counts, strict=True)]
