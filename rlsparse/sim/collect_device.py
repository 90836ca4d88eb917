"""Collect rollouts if environments and policies are on a device; only `check` waits for the device."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from rlsparse.advantage.returns import running_returns
from rlsparse.errors import DivergenceError
from rlsparse.learner.actors import Actors
from rlsparse.learner.arrays import Array, as_float32, to_device, to_numpy
from rlsparse.learner.gaussian import gaussian_log_prob
from rlsparse.learner.learner import Learner
from rlsparse.learner.recorded import Recorded, Results
from rlsparse.learner.records import by_member
from rlsparse.sim.collect import RECENT_EPISODES, Collector, Steps
from rlsparse.sim.finite import LARGEST, name_of


class DeviceCollector(Collector):
    """A collector that steps environments on a device, in whole arrays."""

    def _begin(self) -> None:
        """Set the counts to zero."""

        def zeros(*shape: int) -> torch.Tensor:
            return to_device(np.zeros((self.members, *shape), np.float32), self.device)

        self.discounted_return: Array = zeros(self.num_envs)
        self.episode_return, self.episode_length = zeros(self.num_envs), zeros(self.num_envs)
        self._recent_returns = zeros(RECENT_EPISODES) * torch.nan
        self._recent_lengths = zeros(RECENT_EPISODES) * torch.nan
        self._not_finite = zeros() > 0
        self._not_counted = to_device(np.zeros(self.members, np.int64), self.device)

    def _count(self, learner: Learner, steps: Any) -> None:
        """Count the steps of a rollout; those of each member, [S] on the device, are left to `check`."""
        if isinstance(steps, int):
            super()._count(learner, steps)
        else:
            self._not_counted = self._not_counted + steps

    def check(self, learner: Learner) -> None:
        """Count steps; raises DivergenceError if a rollout since the last check held a number that is not finite."""
        learner.counters.train += to_numpy(self._not_counted)
        faulty = to_numpy(self._not_finite)
        self._not_counted, self._not_finite = self._not_counted * 0, self._not_finite & False
        for member in np.flatnonzero(faulty).tolist():
            raise DivergenceError(
                f"{name_of(self.env)} gave an observation or a reward that is not finite: seed "
                f"{learner.seeds[member]}, the rollout before {learner.counters.train[0]} training steps; the policy "
                "of the last complete iteration is kept",
                member,
            )

    def _step_all(self, learner: Learner, length: int, acting: np.ndarray | None) -> tuple[Steps, torch.Tensor]:
        """Act and step; return the stored arrays by name, and the true successor of every observation."""
        members, num_envs, layout = self.members, self.num_envs, learner.layout
        actors = learner.actors()
        if acting is not None:  # each environment has its own
            actors = learner.actors_at(acting, layout.group("actor"), np.arange(members))
        act = self._recorded(learner) if acting is None else partial(self._act, actors)
        noise = learner.noise.normal(length, num_envs, layout.action_size).swapaxes(0, 1)
        noise = noise.reshape(length, len(actors.seeds), -1, layout.action_size)
        steps: dict[str, list[torch.Tensor]] = {
            name: [] for name in ("obs", "action", "reward", "terminated", "truncated")
        }
        log_std, next_obs = [], []
        for t in range(length):
            learner.between_steps()
            obs = self.obs.reshape(len(actors.seeds), -1, layout.obs_size)
            acted = act(obs, noise[t], actors.scale.mean, actors.scale.inv_std)
            log_std.append(acted["log_std"])
            self.obs, *outcome, info = self.env.step(acted["native"].reshape(members * num_envs, -1))
            if "valid" in info:
                outcome.append(info["valid"])
                steps.setdefault("valid", [])
            for kept, x in zip(steps.values(), (obs, acted["action"], *outcome), strict=True):
                kept.append(x.reshape(members, num_envs, *x.shape[2:]))
            next_obs.append(info["final_obs"].reshape(members, num_envs, -1))
        stacked = {name: torch.stack(kept) for name, kept in steps.items()}
        successors = torch.stack(next_obs)
        self._note(successors, stacked)
        stacked["log_prob"] = gaussian_log_prob(noise, torch.stack(log_std)).reshape(length, members, num_envs)
        if acting is not None:
            stacked["own_log_prob"] = learner.log_prob(stacked["obs"], stacked["action"])
        return stacked, successors

    def _act(self, actors: Actors, obs: Array, noise: Array, mean: Array, inv_std: Array) -> Results:
        """Act by actors whose normaliser has these numbers; actions are in units of the policy and in native ones."""
        scale = replace(actors.scale, mean=mean, inv_std=inv_std)
        centre, log_std = replace(actors, scale=scale).distribution(obs)
        action = centre + log_std.exp() * noise
        return {"action": action, "native": self._to_native(action), "log_std": log_std}

    def _recorded(self, learner: Learner) -> Recorded:
        """Return the recorded step of acting."""
        return learner.recording((self, "act"), lambda: partial(self._act, learner.actors()))

    def _note(self, next_obs: torch.Tensor, steps: Steps) -> None:
        """Record numbers that are not finite, sum rewards, and keep the last ended episodes."""
        reward, ended = steps["reward"], steps["terminated"] | steps["truncated"]
        finite = (next_obs.abs() <= LARGEST).all(-1) & (reward.abs() <= LARGEST)
        self._not_finite = self._not_finite | ~finite.all(2).all(0)
        valid = steps.get("valid", torch.ones_like(ended))
        returns, self.episode_return = running_returns(reward, ended, self.episode_return, 1.0)
        lengths, self.episode_length = running_returns(as_float32(valid), ended, self.episode_length, 1.0)
        over = by_member(ended & valid)
        self._recent_returns = newest(self._recent_returns, by_member(returns), over)
        self._recent_lengths = newest(self._recent_lengths, by_member(lengths), over)

    def _values(self, learner: Learner, obs: Array, next_obs: Array) -> tuple[Array, Array]:
        """Return V of every observation and of its true successor, [T, S, N] each."""
        return learner.values(obs), learner.values(next_obs)


def newest(kept: torch.Tensor, x: torch.Tensor, marked: torch.Tensor) -> torch.Tensor:
    """Return the last K of kept [S, K] followed by those x [S, B] that are `marked`, [S, B] bool, in their order.

    The host does not learn how many are marked: unmarked ones are sorted before all others.
    """
    both = torch.cat([kept, x], 1)
    marked = torch.cat([torch.ones_like(kept, dtype=torch.bool), marked], 1)
    place = torch.where(marked, marked.cumsum(1), 0)
    order = place.topk(kept.shape[1]).indices.flip(1)
    return both.take_along_dim(order, 1)


def device_noise(seeds: list[list[int]], size: int, device: str) -> Callable[[], Array]:
    """Return a function that draws the noise of one step on a device, [S, count, size], with a generator per member."""
    streams = [torch.Generator(device).manual_seed(own[0]) for own in seeds]
    draw = partial(torch.randn, len(seeds[0]), size, device=device)
    return lambda: torch.stack([draw(generator=stream) for stream in streams])
