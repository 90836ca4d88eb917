"""Whether an exported policy acts as the trained one does."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import gymnasium
import numpy as np

from rlsparse.errors import DivergenceError
from rlsparse.learner.actors import Actors
from rlsparse.learner.normaliser import ObsScale
from rlsparse.learner.streams import env_seeds
from rlsparse.sim.collect import ActionBox
from rlsparse.trained.policy import run_episode

RANDOM = 1000
"""Random observations that an exported policy is tried on, beside real ones."""


@dataclass(frozen=True)
class Trial:
    """Observations, and what the trained policy does there, in the environment's own units."""

    obs: np.ndarray
    """[N, O] float32, the first `num_real` of them real."""
    actions: np.ndarray
    """[N, A]."""
    exact: np.ndarray
    """The same without rounding, computed in float64, [N, A]."""
    low: np.ndarray
    """Smallest actions, [A]."""
    high: np.ndarray
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
        half = (self.high - self.low) / 2
        return np.abs(actions - self.actions) / np.where(half > 0, half, 1.0)


def try_out(env: gymnasium.Env, actors: Actors) -> Trial:
    """Let the trained policy of one seed (S = 1) act, in an episode and on random observations.

    Raises DivergenceError if an action is not finite.
    """
    seen = []

    def act(obs: np.ndarray) -> np.ndarray:
        seen.append(obs[0, 0].astype(np.float32))
        return actors(obs)

    run_episode(env, act, env_seeds(actors.seeds[0], "play", 1)[0])
    obs = np.concatenate([np.stack(seen), _random_observations(actors.scale, np.random.default_rng(0))])
    low, high = (bound.ravel() for bound in (env.action_space.low, env.action_space.high))  # type: ignore[attr-defined]
    to_native = ActionBox(low, high)
    actions, exact = (to_native(policy(obs[None])[0]) for policy in (actors, _in_float64(actors)))
    if not np.isfinite(actions).all():
        raise DivergenceError("the policy's action is not finite for some observation: nothing was written")
    return Trial(obs, actions, exact, low, high, len(seen))


def _in_float64(actors: Actors) -> Actors:
    """Return the same policies, computing in float64."""
    scale = ObsScale(actors.scale.mean.astype(np.float64), actors.scale.inv_std.astype(np.float64), actors.scale.clip)
    return replace(actors, params=actors.params.astype(np.float64), scale=scale)


def _random_observations(scale: ObsScale, rng: np.random.Generator) -> np.ndarray:
    """Draw observations for the normaliser of one member (S = 1), half of them far out, [RANDOM, O] float32."""
    deviations = np.where(np.arange(RANDOM) % 2, 3.0, 30.0)[:, None]
    noise = rng.standard_normal((RANDOM, scale.mean.shape[1]))
    return (scale.mean + deviations * noise / scale.inv_std).astype(np.float32)
