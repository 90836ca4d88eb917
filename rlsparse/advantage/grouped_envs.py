"""Environments in groups: G neighbours begin their episodes in one state, and the next ones when all have ended."""

from typing import TYPE_CHECKING, Any

import numpy as np

from rlsparse.advantage.environments import WrappedEnvs
from rlsparse.learner.arrays import Array, in_groups, known_empty, namespace, to_device, to_members, to_numpy

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv


class GroupedEnvs(WrappedEnvs):
    """E environments of S members in groups of G; finished ones wait for the others. `env` must not reset by itself."""

    def __init__(self, env: "VectorEnv", members: int, group_size: int, device: str = "cpu") -> None:
        super().__init__(env)
        self.members, self.group_size, self.device = members, group_size, device
        self.idle: Array = to_device(np.zeros(env.num_envs, bool), device)
        """True where the episode has ended and the next one has not begun, [E] bool."""

    def reset(self, *, seed: list[int]) -> tuple[Array, dict[str, Any]]:
        """Begin episodes; of each member's N seeds the first N / G are used, one for each group."""
        per_member = len(seed) // self.members
        firsts = [seed[s * per_member + g] for s in range(self.members) for g in range(per_member // self.group_size)]
        return super().reset(seed=[first for first in firsts for _ in range(self.group_size)])

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """Step the environments that do not wait; groups in which all have ended begin again.

        `info` says which steps are `valid`, [E] bool; where episodes begin, `final_obs` holds the last observations.
        """
        valid = ~self.idle
        obs, reward, terminated, truncated, info = self.env.step(actions)
        over = terminated | truncated
        ended = over & valid
        info = info | {"valid": valid} | self.note(reward, ended)
        if not known_empty(ended):
            self.idle = over
            done = to_members(in_groups(over, self.group_size).all(-1), self.group_size)
            if not known_empty(done):
                info["final_obs"] = obs
                self.judge(done)
                obs = self.begin(done)
        return obs, reward, terminated, truncated, info

    def note(self, reward: Array, ended: Array) -> dict[str, Array]:
        """Take the rewards of a step and which episodes `ended`, [E] each; return further entries of `info`."""
        return {}

    def judge(self, done: Array) -> None:
        """Take the environments of groups that are `done`, [E] bool, before they begin again."""

    def begin(self, where: Array) -> Array:
        """Begin episodes in these environments, [E] bool; return all observations [E, O]."""
        obs, _ = self.env.reset(options={"reset_mask": where})
        self.idle = self.idle & ~where
        return obs

    def restart(self) -> Array:
        """End all episodes early and begin new ones; return their first observations [E, O]."""
        return self.begin(namespace(self.idle).ones_like(self.idle))

    def get_state(self) -> dict[str, np.ndarray]:
        """Return all arrays from which the environments continue, by name."""
        return super().get_state() | {"idle": to_numpy(self.idle)}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore the state that `get_state` returned."""
        super().set_state(state)
        self.idle = to_device(state["idle"].copy(), self.device)
