"""A deviation of actions that depends on the state."""

from typing import Any

import numpy as np

from rlsparse.learner.arrays import Array, namespace
from rlsparse.learner.deviation import Sampler, SharedDeviation


class StateDependentSampler(Sampler):
    """Draws actions with the deviation of each state."""

    def __init__(self, actors: Any, noise: np.ndarray) -> None:
        self._actors, self._noise, self.log_std = actors, noise, np.empty_like(noise)

    def __call__(self, t: int, obs: np.ndarray, out: np.ndarray) -> None:
        """Write the actions of step t into `out`."""
        mean, self.log_std[t] = self._actors.distribution(obs)
        np.add(mean, np.exp(self.log_std[t]) * self._noise[t], out=out)


class StateDependentDeviation(SharedDeviation):
    """log-std(s) = log_std + tanh(f(s)): f are the actor's last outputs, as many as its means.

    So deviations of actions lie within a factor of e around the learned common ones, which begin as given and obey
    their bound.
    """

    sampler = StateDependentSampler

    def distribution(self, outputs: Array, log_std: Array) -> tuple[Array, Array]:
        """Return mean and log-std, [S, B, A] each, for outputs [S, B, 2 A] and log_std [S, A]."""
        actions = log_std.shape[-1]
        return outputs[..., :actions], log_std[:, None, :] + namespace(outputs).tanh(outputs[..., actions:])

    def gradient(self, outputs: Array, d_mean: Array, d_log_std: Array) -> tuple[Array, Array]:
        """Return d loss / d outputs [S, B, 2 A] and d loss / d log_std [S, A]."""
        xp = namespace(outputs)
        each = d_log_std.reshape(d_mean.shape)  # of one sample there is no sum
        shift = xp.tanh(outputs[..., d_mean.shape[-1] :])
        return xp.concatenate([d_mean, each * (1.0 - shift * shift)], -1), each.sum(1)


STATE_DEPENDENT = StateDependentDeviation()
