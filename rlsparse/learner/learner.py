"""The one mutable object of training: parameters, optimiser, normalisers, random streams, counters."""

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from rlsparse.learner.adam import Adam, NewOptimiser, Optimiser, adam
from rlsparse.learner.arrays import Array, as_float32, namespace, to_device, to_numpy
from rlsparse.learner.layout import Layout
from rlsparse.learner.member_streams import member_streams
from rlsparse.learner.network import ActorCritic, Actors, action_mean
from rlsparse.learner.normaliser import ObsScale, RunningMoments
from rlsparse.learner.recorded import Record, Recorded, Results, recorder
from rlsparse.learner.records import Counters
from rlsparse.learner.streams import generator
from rlsparse.sparse.ast import SubNetworks
from rlsparse.sparse.config import Sparse
from rlsparse.sparse.dcil import DensePath
from rlsparse.sparse.masks import Masks
from rlsparse.sparse.rules import AST
from rlsparse.sparse.saliency import saliency


class Learner:
    """S members that learn in lockstep; every array has the member axis first.

    `progress` [S] is the spent share of each one's budget in [0, 1), for schedules. Networks live on `device`, what is
    seen of environments, and its statistics, where these are `simulated_on`.
    """

    def __init__(
        self,
        policy: ActorCritic,
        obs_size: int,
        action_size: int,
        seeds: Sequence[int],
        device: str = "cpu",
        sparse: Sparse | None = None,
        critic: bool = True,
        new_optimiser: NewOptimiser = adam,
        simulated_on: str = "cpu",
    ) -> None:
        self.seeds = tuple(seeds)
        self.device = device
        self.simulated_on = simulated_on
        self.policy = policy
        self.layout: Layout = policy.layout(obs_size, action_size, critic)
        initial = np.stack([policy.init(self.layout, generator(seed, "init")) for seed in seeds])
        self.masks = None if sparse is None else Masks(sparse, self.layout, seeds, device)
        self.params: Array = to_device(initial if self.masks is None else self.masks.initial(initial), device)
        self.dense_path: DensePath | None = None
        if self.masks is not None and self.masks.config.rule.dual_path:
            absent = np.where(self.masks.active, np.float32(0.0), initial)
            self.dense_path = DensePath(self.layout, to_device(absent, device))
        self.sub_networks: SubNetworks | None = None
        if self.masks is not None and isinstance(self.masks.config.rule, AST):
            self.sub_networks = SubNetworks(self.masks.config, self.layout, len(seeds), device)
        regrows = self.masks is not None and self.masks.regrows
        self.optimiser: Optimiser = new_optimiser(self.params, self.layout, regrows)
        self.obs_moments = RunningMoments(len(seeds), (obs_size,), simulated_on)
        self.return_moments = RunningMoments(len(seeds), (), simulated_on)
        self.noise = member_streams(seeds, "noise", simulated_on)
        self.orders = member_streams(seeds, "minibatch", simulated_on)
        self.counters = Counters.zeros(len(seeds))
        self.progress = np.zeros(len(seeds))
        self.record: Record | None = recorder(device)
        """How steps of acting and of updates are recorded, to be replayed; None: they are not."""
        self.recordings: dict[Hashable, Recorded] = {}

    @property
    def members(self) -> int:
        """S."""
        return len(self.seeds)

    @property
    def has_critic(self) -> bool:
        """Whether there is a value function, or the policy learns without."""
        return any(slot.group == "critic" for slot in self.layout.slots)

    @property
    def records_steps(self) -> bool:
        """Whether every step of an update does the same to the same memory, so that it can be recorded."""
        return self.record is not None and self.masks is None

    def recording(self, key: Hashable, build: Callable[[], Callable[..., Results]]) -> Recorded:
        """Return the recording of a step with parameters and optimiser, which is built when it is first asked for."""
        if key not in self.recordings:
            changed = [self.params, *self.optimiser.state_dict().values()]
            self.recordings[key] = Recorded(build(), changed, self.record)
        return self.recordings[key]

    @contextmanager
    def standing_at(self, policy: Array) -> Iterator[None]:
        """Let the policies be others, [S, P], for a while."""
        part = self.layout.policy
        own = self.params[:, part] * 1
        self.params[:, part] = policy
        try:
            yield
        finally:
            self.params[:, part] = own

    def obs_scale(self) -> ObsScale:
        """Return the observation normaliser as it stands, in float32."""
        mean, inv_std = self.obs_moments.mean, 1.0 / (self.obs_moments.var + 1e-8) ** 0.5
        if not self.policy.normalise_observations:
            return ObsScale(as_float32(0.0 * mean), as_float32(0.0 * mean + 1.0), math.inf)
        return ObsScale(as_float32(mean), as_float32(inv_std))

    def actors(self) -> Actors:
        """Return the deterministic policies as they stand; their parameters are live."""
        return Actors(self.layout, self.params, self.obs_scale(), self.seeds, self.device)

    def sub_actors(self) -> list[Actors]:
        """Return the policies of the sparser networks inside these, the densest first; of ordinary ones, none."""
        if self.sub_networks is None:
            return []
        networks = range(1, len(self.sub_networks.densities))
        return [replace(self.actors(), params=self.sub_networks.params(self.params, k)) for k in networks]

    def actors_at(self, points: np.ndarray, part: slice, members: np.ndarray) -> Actors:
        """Return the policies of members [n] with points [n, C, P] in place of their numbers `part`; n * C of them."""
        owners = np.repeat(members, points.shape[1])
        params = to_numpy(self.params)[owners]
        params[:, part] = points.reshape(len(owners), -1)
        scale = self.obs_scale()
        rows = to_device(owners, self.simulated_on)
        scale = ObsScale(scale.mean[rows], scale.inv_std[rows], scale.clip)
        seeds = tuple(self.seeds[m] for m in owners)
        return Actors(self.layout, to_device(params, self.device), scale, seeds, self.device)

    def reward_scale(self) -> Array:
        """Return what rewards are multiplied with, [S]: 1 / deviation of the discounted return, or 1 if that is 0."""
        variance = self.return_moments.var
        xp = namespace(variance)
        if not self.policy.scale_rewards:
            return xp.ones_like(variance)
        return 1.0 / xp.where(variance > 1e-8, variance, 1.0) ** 0.5

    def permutations(self, count: int) -> Array:
        """Draw each member's order of `count` samples, [S, count]."""
        return to_device(self.orders.permutations(count), self.device)

    def begin_iteration(self, total_steps: int) -> None:
        """Note how much of the budget is spent."""
        self.progress = np.minimum(1.0, self.counters.total / total_steps)
        if self.masks is not None:
            in_use = None
            if self.sub_networks is not None:
                self.sub_networks.begin()
                in_use = self.sub_networks.mean_weights(self.masks.weights)
            self.masks.begin(self.progress, in_use)
            if self.dense_path is not None:
                self.dense_path.begin(self.masks.absent_learners(), self.device)

    def evolve(self, obs: Array) -> None:
        """Exchange weights where it is time to; on `obs` [S, B, O], normalised, is measured how far policies move.

        A weight that comes is zero, and Adam knows nothing of it, nor of one that goes, if no dense path does.
        """
        if self.masks is None:
            return
        if self.masks.due.any():
            self._exchange(self.masks, obs)
        if self.sub_networks is not None:
            self._watch(self.sub_networks, obs)

    def _exchange(self, masks: Masks, obs: Array) -> None:
        whole = self.params if self.dense_path is None else self.dense_path.whole(self.params).flat
        worth = saliency(self.layout, self.params, obs) if masks.config.drop_by == "kl" else whole
        changed = masks.evolve(to_numpy(whole), to_numpy(worth), lambda params: self._kl(params, obs))
        if self.dense_path is not None:
            assert isinstance(self.optimiser, Adam)
            self.dense_path.exchange(self.params, self.optimiser, to_device(masks.active, self.device))
            return
        self.params[to_device(changed, self.device)] = 0.0
        self.optimiser.restart(to_device(changed, self.device))
        if self.sub_networks is not None:
            self.sub_networks.choose(to_numpy(self.params), masks.active, masks.due, self.progress)

    def _watch(self, networks: SubNetworks, obs: Array) -> None:
        """Measure how far each network's policy is from the one that acts, for members that learn."""
        far = [self._kl(to_numpy(networks.params(self.params, k)), obs) for k in range(len(networks.densities))]
        networks.divergence = np.where((self.progress < 1)[:, None], np.stack(far, 1), networks.divergence)

    def _kl(self, params: np.ndarray, obs: Array) -> np.ndarray:
        """Mean KL divergence between the policies and those of other `params` [S, D] with the same noise, [S]."""
        before = action_mean(self.layout, self.params, obs)
        after = action_mean(self.layout, to_device(params, self.device), obs)
        std = np.exp(to_numpy(self.layout.log_std(self.params)))[:, None, :]
        return 0.5 * np.square((to_numpy(after) - to_numpy(before)) / std).sum(-1).mean(-1)

    def sparsity_metrics(self) -> dict[str, np.ndarray]:
        """Describe the sparse networks in numbers, [S] each; nothing for dense ones."""
        return {} if self.masks is None else self.masks.metrics(to_numpy(self.optimiser.first))

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return all arrays that training goes on from, by name."""
        groups = {
            "optimiser": self.optimiser.state_dict(),
            "obs_moments": self.obs_moments.state_dict(),
            "return_moments": self.return_moments.state_dict(),
            "counters": vars(self.counters),
            "masks": {} if self.masks is None else self.masks.state_dict(),
            "sub_networks": {} if self.sub_networks is None else self.sub_networks.state_dict(),
            "dense_path": {} if self.dense_path is None else self.dense_path.state_dict(),
        }
        flat = {f"{group}.{name}": to_numpy(x) for group, state in groups.items() for name, x in state.items()}
        return {"params": to_numpy(self.params), **flat}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Put back what `state_dict` gave."""

        def part(group: str) -> dict[str, np.ndarray]:
            return {name.partition(".")[2]: x for name, x in state.items() if name.startswith(group + ".")}

        self.params[...] = to_device(state["params"], self.device)
        self.optimiser.load_state_dict({k: to_device(x, self.device) for k, x in part("optimiser").items()})
        for name, moments in (("obs_moments", self.obs_moments), ("return_moments", self.return_moments)):
            moments.load_state_dict({k: to_device(x, self.simulated_on) for k, x in part(name).items()})
        self.counters = Counters(**{name: x.copy() for name, x in part("counters").items()})
        if self.masks is not None:
            self.masks.load_state_dict(part("masks"))
        if self.sub_networks is not None:
            self.sub_networks.load_state_dict(part("sub_networks"))
        if self.dense_path is not None:
            self.dense_path.load_state_dict({k: to_device(x, self.device) for k, x in part("dense_path").items()})

    def random_state(self) -> dict[str, list[Any]]:
        """Return the state of every random stream as plain integers."""
        members = range(self.members)
        return {
            "noise": [self.noise.state(member) for member in members],
            "minibatch": [self.orders.state(member) for member in members],
        }

    def load_random_state(self, state: dict[str, list[Any]]) -> None:
        """Put back what `random_state` gave."""
        for streams, states in ((self.noise, state["noise"]), (self.orders, state["minibatch"])):
            for member, own in enumerate(states):
                streams.load_state(member, own)
