"""The one mutable object of training: parameters, optimiser, normalisers, random streams, counters."""

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from rlsparse.learner.actors import Actors
from rlsparse.learner.adam import NewOptimiser, Optimiser, adam
from rlsparse.learner.archive import NoArchive
from rlsparse.learner.arrays import Array, as_float32, namespace, to_device, to_numpy
from rlsparse.learner.gaussian import gaussian_log_prob
from rlsparse.learner.layout import Layout, Views
from rlsparse.learner.network import ActorCritic, value
from rlsparse.learner.normaliser import ObsScale, RunningMoments
from rlsparse.learner.recorded import Record, Recorded, Results, recorder
from rlsparse.learner.records import Advantages, Batch, Counters, EpochStats, Rollout, by_member, episode_numbers
from rlsparse.learner.sparsity import DENSE, Loss, NewSparsity, Terms, Updates
from rlsparse.learner.streams import generator, member_streams


class Learner:
    """S members that learn in lockstep; every array has the member axis first.

    `progress` [S] is the spent share of each member's budget in [0, 1), for schedules. Networks live on `device`;
    observations, rewards and their statistics live on `simulated_on`.
    """

    def __init__(
        self,
        policy: ActorCritic,
        obs_size: int,
        action_size: int,
        seeds: Sequence[int],
        device: str = "cpu",
        sparse: NewSparsity = DENSE,
        critic: bool = True,
        new_optimiser: NewOptimiser = adam,
        simulated_on: str = "cpu",
    ) -> None:
        self.seeds = tuple(seeds)
        self.device = device
        self.simulated_on = simulated_on
        self.policy = policy
        self.layout: Layout = policy.layout(obs_size, action_size, critic)
        initial = policy.init(self.layout, [generator(seed, "init") for seed in seeds])
        self.sparsity = sparse.build(self.layout, seeds, device)
        self.params: Array = to_device(self.sparsity.initial(initial), device)
        self.optimiser: Optimiser = new_optimiser(self.params, self.layout, self.sparsity.regrows)
        self.obs_moments = RunningMoments(len(seeds), (obs_size,), simulated_on)
        self.return_moments = RunningMoments(len(seeds), (), simulated_on)
        self.noise = member_streams(seeds, "noise", simulated_on)
        self.orders = member_streams(seeds, "minibatch", simulated_on)
        self.counters = Counters.zeros(len(seeds))
        self.progress = np.zeros(len(seeds))
        self.archive = NoArchive()
        self.between_steps: Callable[[], None] = lambda: None
        """Called at every step of the environments and every part of an update; may raise Interrupted."""
        self.record: Record | None = recorder(device)
        """Records steps of acting and of updates, to replay them; None: steps are not recorded."""
        self.recordings: dict[Hashable, Recorded] = {}

    @property
    def members(self) -> int:
        """S."""
        return len(self.seeds)

    @property
    def has_critic(self) -> bool:
        """Whether there is a value function."""
        return any(slot.group == "critic" for slot in self.layout.slots)

    @property
    def records_steps(self) -> bool:
        """Whether every step of an update does the same to the same memory, so that it can be recorded."""
        return self.record is not None and self.sparsity.records

    def recording(self, key: Hashable, build: Callable[[], Callable[..., Results]]) -> Recorded:
        """Return the recording of a step with parameters and optimiser; it is built at the first call."""
        if key not in self.recordings:
            changed = [self.params, *self.optimiser.state_dict().values()]
            self.recordings[key] = Recorded(build(), changed, self.record)
        return self.recordings[key]

    def recorded_step(self, key: Hashable, function: Callable[..., Results], batch: Batch) -> Callable[..., Results]:
        """Return a recording of `function` of a batch and further arrays, for batches with the arrays of this one."""
        names = batch.present().keys()

        def on_arrays(*inputs: Array) -> Results:
            samples = dict(zip(names, inputs, strict=False))
            return function(Batch.of(samples), *inputs[len(samples) :])

        recording = self.recording((key, *(x.shape for x in batch.present().values()), *names), lambda: on_arrays)
        return lambda batch, *others: recording(*batch.present().values(), *others)

    @contextmanager
    def using(self, policy: Array) -> Iterator[None]:
        """Use `policy` [S, P] in place of the members' own inside this context, then restore them."""
        part = self.layout.policy
        own = self.params[:, part] * 1
        self.params[:, part] = policy
        try:
            yield
        finally:
            self.params[:, part] = own

    def obs_scale(self) -> ObsScale:
        """Return the present observation normaliser, in float32."""
        mean, inv_std = self.obs_moments.mean, 1.0 / (self.obs_moments.var + 1e-8) ** 0.5
        if not self.policy.normalise_observations:
            return ObsScale(as_float32(0.0 * mean), as_float32(0.0 * mean + 1.0), math.inf)
        return ObsScale(as_float32(mean), as_float32(inv_std))

    def actors(self) -> Actors:
        """Return the present deterministic policies; their parameters are live, not copies."""
        return Actors(self.layout, self.params, self.obs_scale(), self.seeds, self.device)

    def actors_at(self, points: np.ndarray, part: slice, members: np.ndarray) -> Actors:
        """Return the policies of members [n] whose numbers `part` are points [n, C, P]: n * C policies."""
        owners = np.repeat(members, points.shape[1])
        params = to_numpy(self.params)[owners]
        params[:, part] = points.reshape(len(owners), -1)
        scale = self.obs_scale()
        rows = to_device(owners, self.simulated_on)
        scale = ObsScale(scale.mean[rows], scale.inv_std[rows], scale.clip)
        seeds = tuple(self.seeds[m] for m in owners)
        return Actors(self.layout, to_device(params, self.device), scale, seeds, self.device)

    def log_prob(self, obs: Array, action: Array) -> Array:
        """Return the log-density of actions [T, S, N, A] at raw obs [T, S, N, O] under the policies, [T, S, N]."""
        length, members, num_envs, _ = obs.shape
        mean, log_std = self.actors().distribution(by_member(obs))
        log_prob = gaussian_log_prob((by_member(action) - mean) / namespace(mean).exp(log_std), log_std)
        return log_prob.reshape(members, length, num_envs).swapaxes(0, 1)

    def values(self, obs: Array, member: int | None = None) -> Array:
        """Return V of raw obs [T, S, N, O] as [T, S, N], or of one member's [T, 1, O] as [T, 1], on their device."""
        members = slice(None) if member is None else slice(member, member + 1)
        scale = self.obs_scale() if member is None else self.obs_scale().only(member)
        rows = (obs if member is None else obs[:, None]).swapaxes(0, 1)
        count, steps, num_envs, size = rows.shape
        x = scale(rows.reshape(count, -1, size))
        values = value(self.layout, self.params[members], to_device(x, self.device))
        values = values if self.simulated_on == self.device else to_numpy(values)
        values = values.reshape(count, steps, num_envs).swapaxes(0, 1)
        return values if member is None else values[:, 0]

    def batch(self, rollout: Rollout, advantages: Advantages) -> Batch:
        """Lay a rollout out as one row of B = T * N samples per member, observations normalised."""
        ended = rollout.terminated | rollout.truncated
        if rollout.replayed is not None:  # repeated actions do not belong to the episode by which the policy is judged
            ended = ended | rollout.replayed
        batch = Batch(
            self.obs_scale()(by_member(rollout.obs)),
            by_member(rollout.action),
            by_member(rollout.log_prob if advantages.log_prob is None else advantages.log_prob),
            by_member(advantages.advantage),
            None if advantages.value_target is None else by_member(advantages.value_target),
            None if advantages.weight is None else by_member(advantages.weight),
            by_member(episode_numbers(ended)),
        )
        return batch.map(lambda x: to_device(x, self.device))

    def reward_scale(self) -> Array:
        """Return the factor of rewards, [S]: 1 / deviation of the discounted return, or 1 if that deviation is 0."""
        variance = self.return_moments.var
        xp = namespace(variance)
        if not self.policy.scale_rewards:
            return xp.ones_like(variance)
        return 1.0 / xp.where(variance > 1e-8, variance, 1.0) ** 0.5

    def permutations(self, count: int) -> Array:
        """Draw each member's order of `count` samples, [S, count]."""
        return to_device(self.orders.permutations(count), self.device)

    def begin_iteration(self, total_steps: int) -> None:
        """Update `progress`, the spent share of the budget, and bound the deviations of actions."""
        self.progress = np.minimum(1.0, self.counters.total / total_steps)
        self.policy.bound(self.layout.log_std(self.params))
        self.sparsity.begin(self.progress)

    def update(self, algorithm: Updates, batch: Batch) -> Iterator[EpochStats]:
        """Improve on the batch as the algorithm does, yielding after every epoch."""
        return self.sparsity.update(algorithm, self, batch)

    def gradient(self, loss: Loss, params: Views, batch: Batch, gradient: Views) -> Terms:
        """Write the gradient of the loss; return its terms and `grad_norm`, [S] each."""
        terms = self.sparsity.gradient(loss, params, batch, gradient)
        return terms | {"grad_norm": (gradient.flat * gradient.flat).sum(-1) ** 0.5}

    def step(self, gradient: Array, rate: Array, epsilon: float, max_norm: float | None = None) -> None:
        """Step down the gradient [S, D], which has no absent weights and is overwritten; `rate` is [S, 1]."""
        self.sparsity.step(self.optimiser, self.params, gradient, rate, epsilon, max_norm)
        self.policy.bound(self.layout.log_std(self.params))

    def metrics(self) -> dict[str, np.ndarray]:
        """Return numbers about the members' archives and networks, [S] each."""
        return self.archive.metrics() | self.sparsity.metrics(self.optimiser)

    def update_obs_moments(self, rollout: Rollout) -> None:
        """Update the normaliser with the observations of a rollout."""
        self.obs_moments.update(by_member(rollout.obs), None if rollout.valid is None else by_member(rollout.valid))

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return all arrays from which training continues, by name."""
        groups = {
            "optimiser": self.optimiser.state_dict(),
            "obs_moments": self.obs_moments.state_dict(),
            "return_moments": self.return_moments.state_dict(),
            "counters": vars(self.counters),
            "sparsity": self.sparsity.state_dict(),
            "archive": self.archive.state_dict(),
        }
        flat = {f"{group}.{name}": to_numpy(x) for group, state in groups.items() for name, x in state.items()}
        return {"params": to_numpy(self.params), **flat}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Restore the state that `state_dict` returned."""

        def part(group: str) -> dict[str, np.ndarray]:
            return {name.partition(".")[2]: x for name, x in state.items() if name.startswith(group + ".")}

        self.params[...] = to_device(state["params"], self.device)
        self.optimiser.load_state_dict({k: to_device(x, self.device) for k, x in part("optimiser").items()})
        for name, moments in (("obs_moments", self.obs_moments), ("return_moments", self.return_moments)):
            moments.load_state_dict({k: to_device(x, self.simulated_on) for k, x in part(name).items()})
        self.counters = Counters(**{name: x.copy() for name, x in part("counters").items()})
        self.sparsity.load_state_dict(part("sparsity"))
        self.archive.load_state_dict(part("archive"))

    def random_state(self) -> dict[str, list[Any]]:
        """Return the state of every random stream as plain integers."""
        members = range(self.members)
        return {
            "noise": [self.noise.state(member) for member in members],
            "minibatch": [self.orders.state(member) for member in members],
        }

    def load_random_state(self, state: dict[str, list[Any]]) -> None:
        """Restore the state that `random_state` returned."""
        for streams, states in ((self.noise, state["noise"]), (self.orders, state["minibatch"])):
            for member, own in zip(range(self.members), states, strict=True):
                streams.load_state(member, own)
