"""Hybrid post-training (HPT): after a rollout without success, clone the best episodes of the member.

Source: Lv et al., arXiv 2509.04419.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import numpy as np

from rlsparse.algorithms.surrogate import Clip, Weighed, unmasked
from rlsparse.learner.archive import NoArchive
from rlsparse.learner.arrays import Array, namespace, pack_ragged, to_device, unpack_ragged
from rlsparse.learner.bounds import Count, Finite, Fraction, Varying
from rlsparse.learner.gaussian import gaussian_log_prob
from rlsparse.learner.layout import Layout
from rlsparse.learner.learner import Learner
from rlsparse.learner.network import distribution
from rlsparse.learner.records import Advantages, Batch, Rollout
from rlsparse.learner.streams import generator


def switch(success: Array, gate: float) -> tuple[Array, Array]:
    """Weights (alpha, beta) of the policy gradient and of cloning, given the share of successes, [S] each.

    (0, 1) where the share is at most `gate`, else (1, 0), also where no episode ended and the share is nan. Source: Lv
    et al., arXiv 2509.04419, HPT.
    """
    cloning = success <= gate
    return 1.0 - cloning, 1.0 * cloning


@dataclass(frozen=True)
class HPT(Clip):
    """The clipped surrogate, or after a rollout without success, cloning of the member's best episodes.

    The batch says which samples are cloned: these have coefficient 1, reference pi itself and no mask. Source: Lv et
    al., arXiv 2509.04419, hybrid post-training.
    """

    needs: ClassVar = {
        "unaided-episodes": "clones the best episodes, and needs episodes that had no help",
        "cpu-environments": "keeps episodes to clone them, and needs environments on the CPU",
    }

    success_return: Varying[Finite] = 0.0
    """An episode whose undiscounted return is above this succeeds."""
    gate: Varying[Fraction] = 0.0
    """Largest share of successes, among the episodes that ended in a rollout, after which its update clones."""
    episodes: Count = 4
    """Best successful episodes that each member keeps, to clone them."""

    def archive(self, members: int, num_envs: int, layout: Layout) -> "BestEpisodes":
        """Return the archive of the best episodes of S members with N environments each."""
        return BestEpisodes(self, members, num_envs, layout.obs_size, layout.action_size)

    def batch(self, learner: Learner, rollouts: Sequence[Rollout], advantages: Sequence[Advantages]) -> Batch:
        """Return the batch; steps of the best episodes replace the samples of members that clone."""
        assert isinstance(learner.archive, BestEpisodes)
        return replace_by_stored_steps(super().batch(learner, rollouts, advantages), learner.archive, learner)

    def weigh(self, ratio: Array, log_ratio: Array, advantage: Array, clip_range: float, batch: Batch) -> Weighed:
        """Turn each sample's ratio and advantage into its part of the loss."""
        loss, d_log_prob, outside = super().weigh(ratio, log_ratio, advantage, clip_range, batch)
        if batch.cloned is None:
            return loss, d_log_prob, outside
        xp = namespace(ratio)
        cloning, d_cloning = unmasked(xp.ones_like(ratio), log_ratio, batch.weight)
        chosen = xp.where(batch.cloned[:, 0], cloning, loss), xp.where(batch.cloned, d_cloning, d_log_prob)
        return *chosen, outside


LONGEST = 100_000
"""Longest episode that is kept, in steps; a longer one does not count as a success either."""


class StoredEpisode(NamedTuple):
    """An episode of L steps, or its beginning."""

    obs: np.ndarray
    """Raw observations, [L, O] float32."""
    action: np.ndarray
    """Actions drawn by the policy, before clipping, [L, A] float32."""
    total: float
    """Undiscounted sum of the environment's rewards."""

    def then(self, later: "StoredEpisode") -> "StoredEpisode":
        """Return the episode continued by a later part."""
        if len(self.obs) + len(later.obs) > LONGEST:
            return StoredEpisode(self.obs[:0], self.action[:0], math.nan)
        obs, action = (np.concatenate(both) for both in zip(self[:2], later[:2], strict=True))
        return StoredEpisode(obs, action, self.total + later.total)


class BestEpisodes(NoArchive):
    """The best successful episodes, up to `config.episodes`, of each of S members with N environments, best first.

    Of equally good ones the later comes first. Every episode that ends in a rollout is judged, whichever policy acted.
    """

    def __init__(self, config: HPT, members: int, num_envs: int, obs_size: int, action_size: int) -> None:
        self.config = config
        self._nothing = StoredEpisode(np.zeros((0, obs_size), np.float32), np.zeros((0, action_size), np.float32), 0.0)
        self.kept: list[list[StoredEpisode]] = [[] for _ in range(members)]
        self.running: list[list[StoredEpisode]] = [[self._nothing] * num_envs for _ in range(members)]
        self.success = np.full(members, np.nan)
        """Share of successes among the episodes that ended in the last rollout, [S]; nan where none ended."""
        self.cloning = np.zeros(members, bool)
        """Whether the last update cloned, [S]."""
        self.clonings = np.zeros(members, np.int64)
        """Number of updates so far that cloned, [S]."""
        self._since = np.zeros((members, 2), np.int64)
        self._success_return: np.ndarray = np.zeros(members) + config.success_return

    def add_rollout(
        self, obs: np.ndarray, action: np.ndarray, reward: np.ndarray, ended: np.ndarray, valid: np.ndarray | None
    ) -> None:
        """Add a rollout [T, S, N, ...] with the environment's own rewards; steps that did not happen are left out."""
        for member, kept in enumerate(self.kept):
            over: list[tuple[int, int, StoredEpisode]] = []
            for n in range(reward.shape[2]):
                rows = np.arange(len(reward)) if valid is None else np.flatnonzero(valid[:, member, n])
                steps = [x[rows, member, n] for x in (obs, action, reward, ended)]
                over += [(rows[last], n, episode) for last, episode in self._whole(member, n, *steps)]
            succeeded = [x for x in sorted(over, key=lambda x: x[:2]) if x[2].total > self._success_return[member]]
            self.success[member] = len(succeeded) / len(over) if over else math.nan
            newest_first = [episode for _, _, episode in reversed(succeeded)]
            self.kept[member] = sorted([*newest_first, *kept], key=lambda x: -x.total)[: self.config.episodes]

    def _whole(
        self, member: int, n: int, obs: np.ndarray, action: np.ndarray, reward: np.ndarray, ended: np.ndarray
    ) -> Iterator[tuple[int, StoredEpisode]]:
        """Follow an environment for L steps; yield the episodes that end in them, each with its last step's number."""
        begin, running = 0, self.running[member][n]
        for last in [*np.flatnonzero(ended).tolist(), len(ended)]:
            part = slice(begin, last + 1)
            running = running.then(StoredEpisode(obs[part], action[part], float(reward[part].sum())))
            if last < len(ended):
                yield last, running
                begin, running = last + 1, self._nothing
        self.running[member][n] = running

    def restart(self) -> None:
        """Forget the running episodes, which were cut off."""
        self.running = [[self._nothing] * len(running) for running in self.running]

    def decide(self) -> np.ndarray:
        """Return which members clone in the update after the last rollout, [S] bool, and count it."""
        _, beta = switch(self.success, self.config.gate)
        self.cloning = (beta > 0) & np.array([len(kept) > 0 for kept in self.kept])
        self.clonings += self.cloning
        self._since += np.stack([self.cloning, np.ones_like(self.cloning)], 1)
        return self.cloning

    def sample(self, member: int, count: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw steps of a member's kept episodes uniformly with replacement: [count, O] and [count, A]."""
        obs, action = (np.concatenate(x) for x in list(zip(*self.kept[member], strict=True))[:2])
        rows = generator.integers(len(obs), size=count)
        return obs[rows], action[rows]

    def metrics(self) -> dict[str, np.ndarray]:
        """Return the share of the updates since a member's last evaluation that cloned, [S]; nan if there was none."""
        cloned, updates = self._since.T
        return {"cloned": np.where(updates > 0, cloned / np.maximum(updates, 1), np.nan)}

    def scalars(self) -> dict[str, np.ndarray]:
        """Return whether the last update cloned, [S]."""
        return {"cloned": self.cloning}

    def reset_counts(self, members: np.ndarray) -> None:
        """Reset the counts of these members, [S] bool: they have been evaluated."""
        self._since[members] = 0

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return the whole state, every member's part equally long; call between an update and the next rollout."""
        counts = {"clonings": self.clonings, "since": self._since, "count": np.array([len(x) for x in self.kept])}
        filled = [kept + [self._nothing] * (self.config.episodes - len(kept)) for kept in self.kept]
        return counts | _packed("kept", filled) | _packed("running", self.running)

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Restore the state that `state_dict` returned."""
        self.clonings, self._since = state["clonings"].copy(), state["since"].copy()
        filled = _unpacked("kept", state, len(self.kept))
        self.kept = [kept[:count] for kept, count in zip(filled, state["count"], strict=True)]
        self.running = _unpacked("running", state, len(self.running))


def _packed(name: str, episodes: list[list[StoredEpisode]]) -> dict[str, np.ndarray]:
    """Pack the members' episodes, of each as many, into one array of each kind."""
    obs, action, totals = zip(*(episode for own in episodes for episode in own), strict=True)
    packed = pack_ragged(f"{name}.obs", obs) | pack_ragged(f"{name}.action", action)
    return packed | {f"{name}.total": np.array(totals)}


def _unpacked(name: str, state: dict[str, np.ndarray], members: int) -> list[list[StoredEpisode]]:
    """Return each member's episodes."""
    kinds = unpack_ragged(f"{name}.obs", state), unpack_ragged(f"{name}.action", state), state[f"{name}.total"].tolist()
    flat = [StoredEpisode(*episode) for episode in zip(*kinds, strict=True)]
    each = len(flat) // members
    return [flat[member * each : (member + 1) * each] for member in range(members)]


def replace_by_stored_steps(batch: Batch, best: BestEpisodes, learner: Learner) -> Batch:
    """Return the batch of the update after the last rollout; members that do not clone keep their samples.

    Cloned observations are normalised like the others, and `log_prob` is that of the present policy. The critic
    keeps the rollout.
    """
    cloning = best.decide()
    own: dict[str, Array] = {name: getattr(batch, name) + 0 for name in ("obs", "action", "log_prob", "advantage")}
    if batch.weight is not None:
        own["weight"] = batch.weight + 0
    for member in np.flatnonzero(cloning).tolist():
        samples = _stored_steps(best, learner, member, batch.advantage.shape[1])
        for name, x in own.items():
            x[member] = samples.get(name, 1.0)
    xp = namespace(batch.advantage)
    cloned = xp.zeros_like(batch.advantage) + to_device(cloning.astype(np.float32), learner.device)[:, None] > 0
    return replace(batch, **own, cloned=cloned, critic_obs=batch.obs, critic_weight=batch.weight)


def _stored_steps(best: BestEpisodes, learner: Learner, member: int, count: int) -> dict[str, Array]:
    """Draw steps of a member's kept episodes: normalised observations, actions, present log-density [count]."""
    stream = generator(learner.seeds[member], "cloning", int(best.clonings[member]))
    obs, action = best.sample(member, count, stream)
    obs = to_device(learner.obs_scale().only(member)(obs[None]), learner.device)
    action = to_device(action[None], learner.device)
    own, layout = learner.params[member : member + 1], learner.layout
    mean, log_std = distribution(layout, own, obs)
    noise = (action - mean) * namespace(own).exp(-log_std)
    return {"obs": obs[0], "action": action[0], "log_prob": gaussian_log_prob(noise, log_std)[0]}
