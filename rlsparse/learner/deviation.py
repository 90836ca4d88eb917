"""The deviation of actions: one that all states share; `state_dependent` has another."""

from rlsparse.learner.arrays import Array


class SharedDeviation:
    """Actions deviate alike in every state. Others have the same functions."""

    def distribution(self, outputs: Array, log_std: Array) -> tuple[Array, Array]:
        """Return mean [S, B, A] and log-std [S, 1 or B, A] for an actor's outputs [S, B, ...] and log_std [S, A]."""
        return outputs, log_std[:, None, :]

    def gradient(self, outputs: Array, d_mean: Array, d_log_std: Array) -> tuple[Array, Array]:
        """Return d loss / d outputs and d loss / d log_std [S, A], given those by the distribution.

        That by the log-std is summed over samples, [S, A], where `distribution` has one for all.
        """
        return d_mean, d_log_std


SHARED = SharedDeviation()
