"""Step the members' environments and return what happened."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from rlsparse.advantage.guide import Guide
from rlsparse.advantage.returns import running_returns
from rlsparse.advantage.scaffold import Scaffold
from rlsparse.advantage.submodular import Objective
from rlsparse.advantage.visits import Visits
from rlsparse.algorithms.best_episodes import BestEpisodes
from rlsparse.errors import DivergenceError
from rlsparse.learner.arrays import Array, namespace, to_device, to_numpy
from rlsparse.learner.gaussian import gaussian_log_prob
from rlsparse.learner.learner import Learner
from rlsparse.learner.network import value
from rlsparse.learner.records import Advantages, Batch, Rollout

RECENT_EPISODES = 100
"""How many ended episodes the reported training return averages over, as in SB3."""

LARGEST = float(np.finfo(np.float32).max)
"""Networks compute in float32: anything above is infinite to them."""


class ActionBox:
    """The affine map from policy units, [-1, 1] being the action range, to the environment's own."""

    def __init__(self, low: np.ndarray, high: np.ndarray, device: str = "cpu") -> None:
        centre, half = ((high + low) / 2).astype(np.float32), ((high - low) / 2).astype(np.float32)
        self._centre, self._half, self._low, self._high = (to_device(x, device) for x in (centre, half, low, high))

    def __call__(self, action: Array) -> Array:
        """Map to native units and clip to the range, [..., A]."""
        # clipped last: rounding in the map must not lead out of the range, which environments may check
        return namespace(action).clip(action * self._half + self._centre, self._low, self._high)


def check_finite(
    env: VectorEnv, obs: np.ndarray, reward: np.ndarray, seeds: Sequence[int], step: int, phase: str
) -> None:
    """Raise DivergenceError, naming where, unless obs [S * N, O] and reward [S * N] are finite in float32."""
    # every step asks: a sum of squares is the cheapest sufficient answer, and false for NaN
    if np.vdot(obs, obs) + np.vdot(reward, reward) <= LARGEST**2:
        return
    bad_reward = ~(np.abs(reward) <= LARGEST)
    bad = np.flatnonzero(bad_reward | ~(np.abs(obs) <= LARGEST).all(1))
    if not bad.size:
        return
    i = int(bad[0])
    what = "a reward" if bad_reward[i] else "an observation"
    name = env.spec.id if env.spec else type(env).__name__
    member, index = divmod(i, env.num_envs // len(seeds))
    raise DivergenceError(
        f"{name} gave {what} that is not finite: seed {seeds[member]}, environment {index}, step {step} of {phase}; "
        "the policy of the last complete iteration is kept"
    )


def last_observations(obs: np.ndarray, ended: np.ndarray, info: dict[str, Any]) -> np.ndarray:
    """Return obs [S * N, O] with the last observation, not the first of the next one, of every ended episode."""
    if "final_obs" not in info:  # none has begun a next one by itself
        return obs
    obs = obs.copy()
    obs[ended] = np.stack(info["final_obs"][ended])
    return obs


class Collector:
    """S x N environments (index s * N + n) and where each one is in its episode.

    With a `group_size` G, every G environments of a member are a group: `seeds` are the same in it, so that its
    episodes begin in the same state, `env` does not reset by itself, and who is done waits for the others. With an
    `objective`, marginal gains are learned from; it goes with no groups. With a `scaffold`, groups that stall
    are helped. `best_episodes` are shown all that happens.
    """

    def __init__(
        self,
        env: VectorEnv,
        members: int,
        seeds: list[int],
        group_size: int | None = None,
        objective: Objective | None = None,
        scaffold: Scaffold | None = None,
        best_episodes: BestEpisodes | None = None,
    ) -> None:
        self.env = env
        self.members = members
        self.num_envs = env.num_envs // members
        space = env.single_action_space
        self._to_native = ActionBox(space.low, space.high)  # type: ignore[attr-defined]
        self.obs, _ = env.reset(seed=seeds)  # type: ignore[arg-type]
        self.discounted_return = np.zeros((members, self.num_envs))
        self.episode_return = np.zeros(env.num_envs)
        self.episode_length = np.zeros(env.num_envs, np.int64)
        self.recent_returns = np.full((members, RECENT_EPISODES), np.nan)
        self.recent_lengths = np.full((members, RECENT_EPISODES), np.nan)
        self._group_size = group_size
        self.idle = np.zeros(env.num_envs, bool)
        self.objective = objective
        self.visits = None if objective is None else Visits(objective, env, self.obs)
        self.guide: Guide | None = None
        if scaffold is not None:
            assert group_size is not None, "groups are helped"
            self.guide = Guide(scaffold, env, members, group_size)
        self.best_episodes = best_episodes

    def collect(self, learner: Learner, length: int, gamma: float, acting: np.ndarray | None = None) -> Rollout:
        """Take `length` steps in every environment that is not idle; `acting` [S, N, P] gives each an actor of its own.

        The observation normaliser stays as it is, for the update must see the policy that acted; the
        return statistics take in the new rewards before these are scaled. Raises DivergenceError,
        naming member, environment and step, at the first observation or reward that is not finite.
        """
        members, num_envs = self.members, self.num_envs
        steps, final_obs = self._step_all(learner, length, acting)
        ended = steps["terminated"] | steps["truncated"]
        if self.best_episodes is not None:
            self.best_episodes.see(steps["obs"], steps["action"], steps["reward"], ended, steps["valid"])
        if self.visits is not None:
            steps["reward"] = self.visits.learned_reward(steps["reward"])
        sums, self.discounted_return = running_returns(steps["reward"], ended, self.discounted_return, gamma)
        valid = steps["valid"]
        learner.return_moments.update(by_member(sums), None if valid is None else by_member(valid))
        learner.counters.train += length * num_envs if valid is None else valid.sum((0, 2))
        if self.guide is not None:
            learner.counters.train += self.guide.spent()
        steps["reward"] = (steps["reward"] * learner.reward_scale()[:, None]).astype(np.float32)
        if not learner.has_critic:
            return Rollout(value=None, next_value=None, **steps)

        last = np.asarray(self.obs, np.float32).reshape(1, members, num_envs, -1)
        values = critic_values(learner, np.concatenate([steps["obs"], last]))
        next_value = values[1:].copy()
        for member in range(members):
            ends = [(t, n, obs) for t, s, n, obs in final_obs if s == member]
            if ends:
                t, n, obs = zip(*ends, strict=True)
                stacked = np.stack(obs).astype(np.float32)[:, None]
                next_value[list(t), member, list(n)] = critic_values(learner, stacked, member)[:, 0]
        return Rollout(value=values[:-1], next_value=next_value, **steps)

    def check(self, learner: Learner) -> None:
        """Every step has been checked already."""

    def _step_all(
        self, learner: Learner, length: int, acting: np.ndarray | None
    ) -> tuple[dict[str, Any], list[tuple[int, int, int, np.ndarray]]]:
        """Act and step; returns the stored arrays, and (t, s, n, final observation) of every end."""
        members, num_envs, layout = self.members, self.num_envs, learner.layout
        actors = learner.actors() if acting is None else own_actors(learner, acting)
        log_std = to_numpy(layout.log_std(learner.params))
        std = np.exp(log_std)[:, None, :]
        noise = learner.noise.normal(length, num_envs, layout.action_size).swapaxes(0, 1)
        steps = room(length, members, num_envs, layout.obs_size, layout.action_size)
        replayed: list[np.ndarray] = []
        final_obs: list[tuple[int, int, int, np.ndarray]] = []
        for t in range(length):
            obs, action = steps["obs"][t], steps["action"][t]
            obs[...] = self.obs.reshape(members, num_envs, -1)
            action[...] = actors(obs) + std * noise[t]
            native = self._to_native(action.reshape(members * num_envs, -1))
            if self.guide is not None:
                replayed.append(self.guide.act(native, self.idle).reshape(members, num_envs))
            steps["valid"][t] = ~self.idle.reshape(members, num_envs)
            *outcome, ends = self._step(learner, native, t)
            for name, x in zip(("reward", "terminated", "truncated"), outcome, strict=True):
                steps[name][t] = x.reshape(members, num_envs)
            final_obs += [(t, *divmod(i, num_envs), last) for i, last in ends]
        steps["log_prob"] = gaussian_log_prob(noise, log_std[:, None, :])
        steps["own_log_prob"] = None if acting is None else own_log_prob(learner, steps["obs"], steps["action"])
        steps["valid"] = None if self._group_size is None else steps["valid"]
        steps["replayed"] = np.stack(replayed) if replayed else None
        return steps, final_obs

    def _step(
        self, learner: Learner, native: np.ndarray, t: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[tuple[int, np.ndarray]]]:
        """Step all environments, and let those whose episodes end begin anew or wait.

        Returns reward, terminated and truncated, [S * N], and of every end the environment and its last observation.
        """
        self.obs, reward, terminated, truncated, info = self.env.step(native)
        over = terminated | truncated
        ended = np.flatnonzero(over & ~self.idle)
        phase = f"the rollout after {learner.counters.train[0]} training steps"
        check_finite(self.env, self.obs, reward, learner.seeds, t, phase)
        last = self.obs
        if ended.size:
            last = last_observations(self.obs, ended, info)
            check_finite(self.env, last, reward, learner.seeds, t, phase)
        if self.visits is not None:
            self.visits.see(self.env, self.obs, ended, info)
        self.episode_return += reward
        self.episode_length += ~self.idle
        ends = [(i, last[i]) for i in ended.tolist()]
        for i, _ in ends:
            self._end_episode(i)
        if self._group_size is not None and ends:
            self._wait(over, learner.progress)
        return reward, terminated, truncated, ends

    def _wait(self, over: np.ndarray, progress: np.ndarray) -> None:
        """Let those who are `over`, [S * N] bool, stand still, and groups that are so as a whole begin again."""
        self.idle = over
        done = np.repeat(over.reshape(-1, self._group_size).all(1), self._group_size)  # type: ignore[arg-type]
        if done.any():
            if self.guide is not None:
                self.guide.assess(done, progress)
            self._begin(done)

    def restart(self) -> None:
        """Break all episodes off and begin new ones, of groups."""
        self._begin(np.ones_like(self.idle))
        for running in (self.discounted_return, self.episode_return, self.episode_length):
            running[...] = 0
        if self.best_episodes is not None:
            self.best_episodes.restart()

    def _begin(self, where: np.ndarray) -> None:
        self.obs, _ = self.env.reset(options={"reset_mask": where})
        self.idle = self.idle & ~where
        if self.guide is not None:
            self.guide.begin(where, self.obs)

    def _end_episode(self, i: int) -> None:
        helped = self.guide is not None and self.guide.end(i, self.episode_return[i])
        for recent, running in (
            (self.recent_returns, self.episode_return),
            (self.recent_lengths, self.episode_length),
        ):
            if not helped:  # what was given is no merit of the policy
                row = recent[i // self.num_envs]
                row[:-1] = row[1:]
                row[-1] = running[i]
            running[i] = 0

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return the state of environments and of running episodes."""
        own = {name: getattr(self, name) for name in self._OWN}
        if self.visits is not None:
            own["collected"] = self.visits.collected
        if self.guide is not None:
            own |= {f"guide.{name}": x for name, x in self.guide.state_dict().items()}
        if self.best_episodes is not None:
            own |= {f"best.{name}": x for name, x in self.best_episodes.state_dict().items()}
        return own | {f"env.{name}": x for name, x in self.env.get_state().items()}  # type: ignore[attr-defined]

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Put back what `state_dict` gave."""
        for name in self._OWN:
            setattr(self, name, state[name].copy())
        if self.visits is not None:
            self.visits.collected = state["collected"].copy()
        if self.guide is not None:
            self.guide.load_state_dict({name[6:]: x for name, x in state.items() if name.startswith("guide.")})
        if self.best_episodes is not None:
            self.best_episodes.load_state_dict({name[5:]: x for name, x in state.items() if name.startswith("best.")})
        env_state = {name[4:]: x for name, x in state.items() if name.startswith("env.")}
        self.env.set_state(env_state)  # type: ignore[attr-defined]

    _OWN = (
        "obs",
        "discounted_return",
        "episode_return",
        "episode_length",
        "recent_returns",
        "recent_lengths",
        "idle",
    )


def own_actors(learner: Learner, acting: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return the policies of actors [S, N, P], one for each environment, as a function of obs [S, N, O]."""
    members, num_envs, _ = acting.shape
    actors = learner.actors_at(acting, learner.layout.group("actor"), np.arange(members))
    return lambda obs: actors(obs.reshape(members * num_envs, 1, -1)).reshape(members, num_envs, -1)


def own_log_prob(learner: Learner, obs: np.ndarray, action: np.ndarray) -> np.ndarray:
    """Return the log-density of actions [T, S, N, A] at raw obs [T, S, N, O] under the members' policies, [T, S, N]."""
    length, members, num_envs, _ = obs.shape
    mean = learner.actors()(obs.swapaxes(0, 1).reshape(members, length * num_envs, -1))
    log_std = to_numpy(learner.layout.log_std(learner.params))[:, None, :]
    noise = (action - mean.reshape(members, length, num_envs, -1).swapaxes(0, 1)) / np.exp(log_std)
    return gaussian_log_prob(noise, log_std)


def critic_values(learner: Learner, obs: Array, member: int | None = None) -> Array:
    """Return V of raw observations [T, S, N, O] as [T, S, N], or of one member's [T, 1, O] as [T, 1], where it is."""
    members = slice(None) if member is None else slice(member, member + 1)
    scale = learner.obs_scale() if member is None else learner.obs_scale().only(member)
    rows = (obs if member is None else obs[:, None]).swapaxes(0, 1)
    count, steps, num_envs, size = rows.shape
    x = scale(rows.reshape(count, -1, size))
    values = value(learner.layout, learner.params[members], to_device(x, learner.device))
    values = values if learner.simulated_on == learner.device else to_numpy(values)
    values = values.reshape(count, steps, num_envs).swapaxes(0, 1)
    return values if member is None else values[:, 0]


def episodes(ended: Array) -> Array:
    """Number the episodes of each member, given where they end, [T, S, N] bool; whole numbers of the same shape."""
    ends = ended * 1
    number = (ends[0] * 0 + 1).cumsum(1) - 1
    return ends.cumsum(0) - ends + (len(ended) + 1) * number


def room(length: int, members: int, num_envs: int, obs_size: int, action_size: int) -> dict[str, Any]:
    """Return empty arrays for the steps of a rollout, by name."""
    shape = (length, members, num_envs)
    return {
        "obs": np.empty((*shape, obs_size), np.float32),
        "action": np.empty((*shape, action_size), np.float32),
        "reward": np.empty(shape),
        **{name: np.empty(shape, bool) for name in ("terminated", "truncated", "valid")},
    }


def by_member(x: Array) -> Array:
    """Lay [T, S, N, ...] out as one row of T * N samples per member, [S, T * N, ...]."""
    x = x.swapaxes(0, 1)
    return x.reshape(x.shape[0], -1, *x.shape[3:])


def flatten(rollout: Rollout, advantages: Advantages, learner: Learner) -> Batch:
    """Lay a rollout out as one row of B = T * N samples per member, observations normalised."""
    ended = rollout.terminated | rollout.truncated
    if rollout.replayed is not None:  # what was repeated is no part of the episode that the policy is judged by
        ended = ended | rollout.replayed
    batch = Batch(
        learner.obs_scale()(by_member(rollout.obs)),
        by_member(rollout.action),
        by_member(rollout.log_prob if advantages.log_prob is None else advantages.log_prob),
        by_member(advantages.advantage),
        None if advantages.value_target is None else by_member(advantages.value_target),
        None if advantages.weight is None else by_member(advantages.weight),
        by_member(episodes(ended)),
    )
    return batch.map(lambda x: to_device(x, learner.device))
