"""Step the members' environments and return their rollouts."""

from typing import Any

import numpy as np

from rlsparse.advantage.environments import WrappedEnvs
from rlsparse.advantage.returns import running_returns
from rlsparse.learner.arrays import Array, as_float32, to_device, to_numpy
from rlsparse.learner.gaussian import gaussian_log_prob
from rlsparse.learner.learner import Learner
from rlsparse.learner.records import Rollout, by_member
from rlsparse.sim.finite import check_finite

RECENT_EPISODES = 100
"""Number of last episodes in the mean of the reported training return, as in SB3."""

Steps = dict[str, Any]
"""Arrays [T, S, N, ...] of a rollout by name; None for those that it does not have."""


class ActionBox:
    """The affine map from policy units, [-1, 1] being the action range, to the environment's own."""

    def __init__(self, low: np.ndarray, high: np.ndarray, device: str = "cpu") -> None:
        centre, half = ((high + low) / 2).astype(np.float32), ((high - low) / 2).astype(np.float32)
        self._centre, self._half, self._low, self._high = (to_device(x, device) for x in (centre, half, low, high))

    def __call__(self, action: Array) -> Array:
        """Map to native units and clip to the range, [..., A]."""
        # clipped last: rounding in the map must not leave the range, which environments may check
        return (action * self._half + self._centre).clip(self._low, self._high)


class Collector:
    """S x N environments (index s * N + n) and the state of each one's episode."""

    kept = ("obs", "discounted_return", "episode_return", "episode_length", "_recent_returns", "_recent_lengths")
    """Names of the arrays of its state, beside the environments' own."""

    def __init__(self, env: WrappedEnvs, members: int, seeds: list[int], device: str = "cpu") -> None:
        self.env = env
        self.members, self.num_envs = members, env.num_envs // members
        self.device = device
        space = env.single_action_space
        self._to_native = ActionBox(space.low, space.high, device)
        self.obs, _ = env.reset(seed=seeds)
        self._begin()

    def _begin(self) -> None:
        """Set the counts to zero."""
        members, total = self.members, self.env.num_envs
        self.discounted_return: Array = np.zeros((members, self.num_envs))
        self.episode_return: Array = np.zeros(total)
        self.episode_length: Array = np.zeros(total, np.int64)
        self._recent_returns: Array = np.full((members, RECENT_EPISODES), np.nan)
        self._recent_lengths: Array = np.full((members, RECENT_EPISODES), np.nan)

    @property
    def recent_returns(self) -> np.ndarray:
        """Returns of each member's last episodes, the newest last, [S, RECENT_EPISODES]; NaN where there are fewer."""
        return to_numpy(self._recent_returns)

    @property
    def recent_lengths(self) -> np.ndarray:
        """Their lengths in steps."""
        return to_numpy(self._recent_lengths)

    def collect(self, learner: Learner, length: int, gamma: float, acting: np.ndarray | None = None) -> Rollout:
        """Take `length` steps in every environment; `acting` [S, N, P] gives each environment its own actor.

        The observation normaliser does not change, because the update needs the policy that acted; the
        return statistics include the new rewards before these are scaled. Raises DivergenceError,
        naming member, environment and step, at the first observation or reward that is not finite.
        """
        steps, successors = self._step_all(learner, length, acting)
        ended, valid = steps["terminated"] | steps["truncated"], steps.get("valid")
        learner.archive.add_rollout(steps["obs"], steps["action"], steps["reward"], ended, valid)
        reward = self.env.learned_reward(steps["reward"])
        sums, self.discounted_return = running_returns(reward, ended, self.discounted_return, gamma)
        learner.return_moments.update(by_member(sums), None if valid is None else by_member(valid))
        self._count(learner, length * self.num_envs if valid is None else valid.sum((0, 2)))
        steps["reward"] = as_float32(reward * learner.reward_scale()[:, None])
        values = self._values(learner, steps["obs"], successors) if learner.has_critic else (None, None)
        return Rollout(value=values[0], next_value=values[1], **steps)

    def _count(self, learner: Learner, steps: Any) -> None:
        """Count the steps of a rollout, of all members or of each, [S]."""
        learner.counters.train += steps

    def check(self, learner: Learner) -> None:
        """Do nothing: every step has been checked and counted already."""

    def restart(self, learner: Learner) -> None:
        """End all episodes early and begin new ones."""
        self.obs = self.env.restart()
        for running in (self.discounted_return, self.episode_return, self.episode_length):
            running[...] = 0
        learner.archive.restart()

    def _step_all(self, learner: Learner, length: int, acting: np.ndarray | None) -> tuple[Steps, Any]:
        """Act and step; return the stored arrays, and (t, s, n, final observation) of every end."""
        members, num_envs, layout = self.members, self.num_envs, learner.layout
        actors = learner.actors()
        if acting is not None:  # each environment has its own
            actors = learner.actors_at(acting, layout.group("actor"), np.arange(members))
        noise = learner.noise.normal(length, num_envs, layout.action_size).swapaxes(0, 1)
        steps = empty_steps(length, members, num_envs, layout.obs_size, layout.action_size)
        reward, terminated, truncated = (steps[x].reshape(length, -1) for x in ("reward", "terminated", "truncated"))
        marks: dict[str, list[np.ndarray]] = {"valid": [], "replayed": []}
        ends: list[tuple[int, int, int, np.ndarray]] = []
        check_finite(self.env, self.obs, np.zeros(len(self.obs)), learner.seeds, "the reset before the next rollout")
        arrays = steps["obs"], steps["action"], noise
        obs_of, action_of, noise = (x.reshape(length, len(actors.seeds), -1, x.shape[-1]) for x in arrays)
        sample = layout.deviation.sampler(actors, noise)
        for t, (obs, action) in enumerate(zip(obs_of, action_of, strict=True)):
            learner.between_steps()
            obs[...] = self.obs.reshape(obs.shape)
            sample(t, obs, action)
            *outcome, info, final = self._step(learner, self._to_native(action.reshape(members * num_envs, -1)), t)
            reward[t], terminated[t], truncated[t] = outcome
            for name, rows in marks.items():
                if name in info:
                    rows.append(info[name].reshape(members, num_envs))
            ends += [(t, *divmod(i, num_envs), last) for i, last in final]
        steps["log_prob"] = gaussian_log_prob(noise, sample.log_std).reshape(length, members, num_envs)
        steps["own_log_prob"] = None if acting is None else learner.log_prob(steps["obs"], steps["action"])
        return steps | {name: np.stack(rows) for name, rows in marks.items() if rows}, ends

    def _step(self, learner: Learner, native: np.ndarray, t: int) -> tuple[Any, ...]:
        """Step all environments, and record which episodes end.

        Returns reward, terminated, truncated, [S * N] each, info, and of every end the environment and its last
        observation.
        """
        self.obs, reward, terminated, truncated, info = self.env.step(native)
        over, valid = terminated | truncated, info.get("valid", True)
        ended = (over if valid is True else over & valid).nonzero()[0]
        last = last_observations(self.obs, ended, info) if ended.size else self.obs
        when, numbers = "step {} of the rollout after {} training steps", (t, learner.counters.train[0])
        check_finite(self.env, last, reward, learner.seeds, when, *numbers)
        if ended.size:
            check_finite(self.env, self.obs, reward, learner.seeds, f"the reset at {when}", *numbers)
        self.episode_return += reward
        self.episode_length += valid
        ends = [(i, last[i]) for i in ended.tolist()]
        for i, _ in ends:
            self._end_episode(i, counts="helped" not in info or not info["helped"][i])
        return reward, terminated, truncated, info, ends

    def _end_episode(self, i: int, counts: bool) -> None:
        for recent, running in (
            (self._recent_returns, self.episode_return),
            (self._recent_lengths, self.episode_length),
        ):
            if counts:  # a helped episode does not count as the policy's own
                row = recent[i // self.num_envs]
                row[:-1] = row[1:]
                row[-1] = running[i]
            running[i] = 0

    def _values(self, learner: Learner, obs: Array, ends: Any) -> tuple[Array, Array]:
        """Return V of every observation and of its true successor, [T, S, N] each."""
        last = np.asarray(self.obs, np.float32).reshape(1, self.members, self.num_envs, -1)
        values = learner.values(np.concatenate([obs, last]))
        next_value = values[1:].copy()
        ends_of: dict[int, list[tuple[int, int, np.ndarray]]] = {}
        for t, member, n, final in ends:
            ends_of.setdefault(member, []).append((t, n, final))
        for member, own in ends_of.items():
            t, n, final = zip(*own, strict=True)
            stacked = np.stack(final).astype(np.float32)[:, None]
            next_value[list(t), member, list(n)] = learner.values(stacked, member)[:, 0]
        return values[:-1], next_value

    def metrics(self) -> dict[str, np.ndarray]:
        """Return numbers about the environments, [S] each."""
        return self.env.metrics()

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return the state of environments and of running episodes."""
        own = {name: to_numpy(getattr(self, name)) for name in self.kept}
        return own | {f"env.{name}": x for name, x in self.env.get_state().items()}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Restore the state that `state_dict` returned."""
        for name in self.kept:
            setattr(self, name, to_device(state[name].copy(), self.device))
        self.env.set_state({name[4:]: x for name, x in state.items() if name.startswith("env.")})


def last_observations(obs: np.ndarray, ended: np.ndarray, info: dict[str, Any]) -> np.ndarray:
    """Return obs [S * N, O] with the last observation of every ended episode, not the first of the next."""
    if "final_obs" not in info:  # no environment has begun a next episode by itself
        return obs
    obs = obs.copy()
    obs[ended] = np.stack(info["final_obs"][ended])
    return obs


def empty_steps(length: int, members: int, num_envs: int, obs_size: int, action_size: int) -> Steps:
    """Return empty arrays for the steps of a rollout, by name."""
    shape = (length, members, num_envs)
    return {
        "obs": np.empty((*shape, obs_size), np.float32),
        "action": np.empty((*shape, action_size), np.float32),
        "reward": np.empty(shape),
        **{name: np.empty(shape, bool) for name in ("terminated", "truncated")},
    }
