"""Whether an exported policy acts as the trained one does."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from rlsparse.learner.network import Actors
from rlsparse.learner.normaliser import ObsScale

RANDOM = 1000
"""Random observations that an exported policy is tried on, beside real ones."""


@dataclass(frozen=True)
class Trial:
    """Observations, and what the trained policy does there."""

    obs: np.ndarray
    """[N, O] float32, the first `num_real` of them real."""
    actions: np.ndarray
    """In the environment's own units, [N, A]."""
    exact: np.ndarray
    """The same without rounding: computed in float64."""
    half: np.ndarray
    """Half the range of every action, [A]."""
    num_real: int

    @property
    def rounding(self) -> float:
        """Largest error that float32 makes in an action of the trained policy itself, as a share of half its range."""
        return float(self._difference(self.exact).max())

    def errors(self, policy: Callable[[np.ndarray], np.ndarray]) -> tuple[float, float]:
        """Largest difference of any action, as a share of half its range: on real and on random observations.

        Not finite if an action is not.
        """
        difference = self._difference(policy(self.obs))
        return float(difference[: self.num_real].max()), float(difference[self.num_real :].max())

    def _difference(self, actions: np.ndarray) -> np.ndarray:
        return np.abs(actions - self.actions) / np.where(self.half > 0, self.half, 1.0)


def exact(actors: Actors) -> Actors:
    """Return the same policies, computing in float64."""
    scale = ObsScale(actors.scale.mean.astype(np.float64), actors.scale.inv_std.astype(np.float64), actors.scale.clip)
    return replace(actors, params=actors.params.astype(np.float64), scale=scale)


def random_observations(scale: ObsScale, rng: np.random.Generator) -> np.ndarray:
    """Draw observations for the normaliser of one member (S = 1), half of them far out, [RANDOM, O] float32."""
    deviations = np.where(np.arange(RANDOM) % 2, 3.0, 30.0)[:, None]
    noise = rng.standard_normal((RANDOM, scale.mean.shape[1]))
    return (scale.mean + deviations * noise / scale.inv_std).astype(np.float32)
