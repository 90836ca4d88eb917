"""Step environments that live on a device, with the policies beside them; nothing waits for the device but `check`."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv

from rlsparse.advantage.returns import running_returns
from rlsparse.errors import DivergenceError
from rlsparse.learner.arrays import Array, as_float32, to_device, to_numpy
from rlsparse.learner.gaussian import gaussian_log_prob
from rlsparse.learner.learner import Learner
from rlsparse.learner.recorded import Recorded, Results
from rlsparse.learner.records import Rollout
from rlsparse.sim.collect import LARGEST, RECENT_EPISODES, ActionBox, by_member, critic_values


class DeviceCollector:
    """S x N environments (index s * N + n) on one device, and where each one is in its episode.

    It does what `rollout.Collector` does for environments on the CPU, in whole arrays.
    """

    objective = None
    """No marginal gains are learned from here."""
    guide = None
    """No groups are helped."""
    best_episodes = None
    """No episodes are kept here."""

    def __init__(self, env: VectorEnv, members: int, seeds: list[int], device: str) -> None:
        self.env, self.members, self.num_envs = env, members, env.num_envs // members
        self._device = device
        space = env.single_action_space
        self._to_native = ActionBox(space.low, space.high, device)  # type: ignore[attr-defined]
        self.obs: torch.Tensor
        self.obs, _ = env.reset(seed=seeds)  # type: ignore[arg-type]

        def zeros(*shape: int) -> torch.Tensor:
            return to_device(np.zeros((members, *shape), np.float32), device)

        self.discounted_return = zeros(self.num_envs)
        self.episode_return, self.episode_length = zeros(self.num_envs), zeros(self.num_envs)
        # the newest last
        self._recent_returns = zeros(RECENT_EPISODES) * torch.nan
        self._recent_lengths = zeros(RECENT_EPISODES) * torch.nan
        self._not_finite = zeros() > 0

    @property
    def recent_returns(self) -> np.ndarray:
        """Returns of each member's last episodes, [S, RECENT_EPISODES]; NaN for those that are not yet."""
        return to_numpy(self._recent_returns)

    @property
    def recent_lengths(self) -> np.ndarray:
        """Their lengths in steps."""
        return to_numpy(self._recent_lengths)

    def collect(self, learner: Learner, length: int, gamma: float, acting: np.ndarray | None = None) -> Rollout:
        """Take `length` steps in every environment; there are no other actors than the members' own.

        The observation normaliser stays as it is, for the update must see the policy that acted; the return statistics
        take in the new rewards before these are scaled. What is not finite is told by `check`.
        """
        assert acting is None, "candidates act in rollouts on the CPU"
        steps, next_obs = self._step_all(learner, length)
        reward, ended = steps["reward"], steps["terminated"] | steps["truncated"]
        self._note_finite(next_obs, reward)
        self._note_episodes(reward, ended)
        sums, self.discounted_return = running_returns(reward, ended, self.discounted_return, gamma)
        learner.return_moments.update(by_member(sums))
        learner.counters.train += length * self.num_envs
        steps["reward"] = as_float32(reward * learner.reward_scale()[:, None])
        value = next_value = None
        if learner.has_critic:
            value, next_value = critic_values(learner, steps["obs"]), critic_values(learner, next_obs)
        return Rollout(value=value, next_value=next_value, **steps)

    def _step_all(self, learner: Learner, length: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Act and step; returns the stored arrays by name, and the true successor of every observation."""
        members, num_envs, total = self.members, self.num_envs, self.env.num_envs
        act, scale, log_std = self._acting(learner), learner.obs_scale(), learner.layout.log_std(learner.params)
        noise = learner.noise.normal(length, num_envs, learner.layout.action_size).swapaxes(0, 1)
        deviation = log_std.exp()[:, None, :] * noise
        steps: dict[str, list[torch.Tensor]] = {
            name: [] for name in ("obs", "action", "reward", "terminated", "truncated")
        }
        next_obs = []
        for t in range(length):
            obs = self.obs.reshape(members, num_envs, -1)
            acted = act(obs, deviation[t], scale.mean, scale.inv_std)
            self.obs, *outcome, info = self.env.step(acted["native"].reshape(total, -1))
            rows = (x.reshape(members, num_envs) for x in outcome)
            for kept, x in zip(steps.values(), (obs, acted["action"], *rows), strict=True):
                kept.append(x)
            next_obs.append(info["final_obs"].reshape(members, num_envs, -1))
        stacked = {name: torch.stack(kept) for name, kept in steps.items()}
        log_prob = gaussian_log_prob(noise, log_std[:, None, :])
        return stacked | {"log_prob": log_prob}, torch.stack(next_obs)

    def _acting(self, learner: Learner) -> Recorded:
        """Return a step of acting: it takes observations, deviations from the mean action and the normaliser's numbers.

        It returns actions [S, N, A] in units of the policy and in native ones.
        """

        def build() -> Callable[..., Results]:
            actors = learner.actors()

            def act(obs: Array, deviation: Array, mean: Array, inv_std: Array) -> Results:
                scale = replace(actors.scale, mean=mean, inv_std=inv_std)
                action = replace(actors, scale=scale)(obs) + deviation
                return {"action": action, "native": self._to_native(action)}

            return act

        return learner.recording((self, "act"), build)

    def _note_finite(self, next_obs: torch.Tensor, reward: torch.Tensor) -> None:
        finite = (next_obs.abs() <= LARGEST).all(-1) & (reward.abs() <= LARGEST)
        self._not_finite = ~finite.all(2).all(0)

    def check(self, learner: Learner) -> None:
        """Raise DivergenceError if the last rollout held a number that is not finite."""
        for seed, bad in zip(learner.seeds, to_numpy(self._not_finite), strict=True):
            if bad:
                name = self.env.spec.id if self.env.spec else type(self.env).__name__
                raise DivergenceError(
                    f"{name} gave an observation or a reward that is not finite: seed {seed}, the rollout before "
                    f"{learner.counters.train[0]} training steps; the policy of the last complete iteration is kept"
                )

    def _note_episodes(self, reward: torch.Tensor, ended: torch.Tensor) -> None:
        """Add rewards [T, S, N] up, and keep returns and lengths of the last episodes that ended."""
        returns, self.episode_return = running_returns(reward, ended, self.episode_return, 1.0)
        lengths, self.episode_length = running_returns(torch.ones_like(reward), ended, self.episode_length, 1.0)
        over = by_member(ended)
        self._recent_returns = newest(self._recent_returns, by_member(returns), over)
        self._recent_lengths = newest(self._recent_lengths, by_member(lengths), over)

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return the state of environments and of running episodes."""
        own = {name: to_numpy(getattr(self, name)) for name in self._OWN}
        return own | {f"env.{name}": x for name, x in self.env.get_state().items()}  # type: ignore[attr-defined]

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Put back what `state_dict` gave."""
        for name in self._OWN:
            setattr(self, name, to_device(state[name], self._device))
        env_state: dict[str, Any] = {name[4:]: x for name, x in state.items() if name.startswith("env.")}
        self.env.set_state(env_state)  # type: ignore[attr-defined]

    _OWN = (
        "obs",
        "discounted_return",
        "episode_return",
        "episode_length",
        "_recent_returns",
        "_recent_lengths",
    )


def newest(kept: torch.Tensor, x: torch.Tensor, marked: torch.Tensor) -> torch.Tensor:
    """Return the last K of kept [S, K] followed by those x [S, B] that are `marked`, [S, B] bool, in their order.

    Nobody asks how many are marked: those that are not have the place before all others.
    """
    both = torch.cat([kept, x], 1)
    marked = torch.cat([torch.ones_like(kept, dtype=torch.bool), marked], 1)
    place = torch.where(marked, marked.cumsum(1), 0)
    order = place.topk(kept.shape[1]).indices.flip(1)
    return both.take_along_dim(order, 1)
