"""What an algorithm remembers of episodes beside parameters: by default nothing."""

import numpy as np


class NoArchive:
    """Remembers nothing; an algorithm with a memory of episodes overrides what differs."""

    def add_rollout(
        self, obs: np.ndarray, action: np.ndarray, reward: np.ndarray, ended: np.ndarray, valid: np.ndarray | None
    ) -> None:
        """Take in a rollout [T, S, N, ...] with the environment's own rewards; steps not `valid` did not happen."""

    def restart(self) -> None:
        """Forget the running episodes, which were cut off."""

    def metrics(self) -> dict[str, np.ndarray]:
        """Describe the updates since each member's last evaluation in numbers, [S] each."""
        return {}

    def scalars(self) -> dict[str, np.ndarray]:
        """Describe the last update in numbers, [S] each."""
        return {}

    def reset_counts(self, members: np.ndarray) -> None:
        """Reset the counts of these members, [S] bool: they have been evaluated."""

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return all arrays from which it continues, by name."""
        return {}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Restore the state that `state_dict` returned."""
