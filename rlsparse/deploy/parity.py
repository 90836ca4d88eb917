"""Whether an exported policy acts as the trained one does."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rlsparse.normalise import ObsScale

RANDOM = 1000
"""Random observations that an exported policy is tried on, beside real ones."""


@dataclass(frozen=True)
class Trial:
    """Observations, and what the trained policy does there."""

    obs: np.ndarray
    """[N, O] float32, the first `num_real` of them real."""
    actions: np.ndarray
    """In the environment's own units, [N, A]."""
    half: np.ndarray
    """Half the range of every action, [A]."""
    num_real: int

    def errors(self, policy: Callable[[np.ndarray], np.ndarray]) -> tuple[float, float]:
        """Largest difference of any action, as a share of half its range: on real and on random observations.

        Not finite if an action is not.
        """
        units = np.where(self.half > 0, self.half, 1.0)
        difference = np.abs(policy(self.obs) - self.actions) / units
        return float(difference[: self.num_real].max()), float(difference[self.num_real :].max())


def random_observations(scale: ObsScale, rng: np.random.Generator) -> np.ndarray:
    """Draw observations for the normaliser of one member (S = 1), half of them far out, [RANDOM, O] float32."""
    deviations = np.where(np.arange(RANDOM) % 2, 3.0, 30.0)[:, None]
    noise = rng.standard_normal((RANDOM, scale.mean.shape[1]))
    return (scale.mean + deviations * noise / scale.inv_std).astype(np.float32)
