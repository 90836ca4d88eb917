"""The deviation of actions: one that all states share; `state_dependent` has another."""

from typing import Any

import numpy as np

from rlsparse.learner.arrays import Array, to_numpy


class Sampler:
    """Draws the actions of a rollout from actors whose deviation all states share, with noise [T, S, N, A]."""

    def __init__(self, actors: Any, noise: np.ndarray) -> None:
        self.log_std = to_numpy(actors.log_std)[:, None, :]
        """Of every action that was drawn, [S, 1, A]; or [T, S, N, A]."""
        self._actors, self._shift = actors, np.exp(self.log_std) * noise

    def __call__(self, t: int, obs: np.ndarray, out: np.ndarray) -> None:
        """Write the actions of step t into `out` [S, N, A], for raw obs [S, N, O]."""
        np.add(self._actors.outputs(obs), self._shift[t], out=out)


class SharedDeviation:
    """Actions deviate alike in every state. Others have the same functions."""

    sampler: type[Sampler] = Sampler

    def distribution(self, outputs: Array, log_std: Array) -> tuple[Array, Array]:
        """Return mean [S, B, A] and log-std [S, 1 or B, A] for an actor's outputs [S, B, ...] and log_std [S, A]."""
        return outputs, log_std[:, None, :]

    def gradient(self, outputs: Array, d_mean: Array, d_log_std: Array) -> tuple[Array, Array]:
        """Return d loss / d outputs and d loss / d log_std [S, A], given those by the distribution.

        That by the log-std is summed over samples, [S, A], where `distribution` has one for all.
        """
        return d_mean, d_log_std


SHARED = SharedDeviation()
