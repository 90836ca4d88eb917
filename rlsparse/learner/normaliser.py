"""Running statistics of observations and returns: buffers of the policy, never parameters."""

from dataclasses import dataclass

import numpy as np

from rlsparse.learner.arrays import Array, namespace, to_device

CLIP = 10.0
"""Normalised observations are clipped to this many deviations, as is usual in the field."""


class RunningMoments:
    """Mean and variance of a stream of batches for each of S members, in float64.

    Parallel update of Chan, Golub and LeVeque (1979). `mean` and `var` are [S, ...], `count` [S]; on `device`.
    """

    def __init__(self, members: int, shape: tuple[int, ...], device: str = "cpu") -> None:
        self.mean = to_device(np.zeros((members, *shape)), device)
        self.var = to_device(np.ones((members, *shape)), device)
        self.count = to_device(np.zeros(members), device)

    def update(self, x: Array, valid: Array | None = None) -> None:
        """Add x [S, B, ...], B new samples of each member, or only the `valid` ones, [S, B] bool, at least one."""
        xp = namespace(x)
        # numpy's order of summation follows the memory layout: with equal layout a member's sums equal its solo run's
        x = xp.asarray(x, dtype=xp.float64, order="C") if xp is np else x.double()
        batch_count = xp.full_like(self.count, x.shape[1]) if valid is None else valid.sum(1)
        mean, var = mean_and_variance(x, valid)
        weight = (batch_count / (self.count + batch_count)).reshape(-1, *(1,) * (x.ndim - 2))
        delta = mean - self.mean
        self.mean = self.mean + weight * delta
        self.var = (1 - weight) * self.var + weight * var + weight * (1 - weight) * delta * delta
        self.count = self.count + batch_count

    def state_dict(self) -> dict[str, Array]:
        """Return the statistics as arrays."""
        return {"mean": self.mean, "var": self.var, "count": self.count}

    def load_state_dict(self, state: dict[str, Array]) -> None:
        """Restore the state that `state_dict` returned."""
        self.mean, self.var, self.count = state["mean"], state["var"], state["count"]


def mean_and_variance(x: Array, valid: Array | None) -> tuple[Array, Array]:
    """Mean and variance of x [S, B, ...] over B, or over the `valid` ones, [S, B] bool; [S, ...] each."""
    xp = namespace(x)
    if valid is None:
        mean = x.mean(1)
        return mean, xp.square(x - mean[:, None]).mean(1)
    if xp is np:
        rows = [row[some] for row, some in zip(x, valid, strict=True)]
        return np.stack([row.mean(0) for row in rows]), np.stack([row.var(0) for row in rows])
    shares = valid.double().reshape(*valid.shape, *[1] * (x.ndim - 2))
    shares = shares / shares.sum(1, keepdim=True)
    mean = (x * shares).sum(1)
    return mean, (xp.square(x - mean[:, None]) * shares).sum(1)


@dataclass(frozen=True)
class ObsScale:
    """How the observations of S members are normalised: shifted, scaled, clipped; frozen."""

    mean: Array
    """[S, O]."""
    inv_std: Array
    """1 / deviation, [S, O]."""
    clip: float = CLIP
    """Largest magnitude of a normalised observation; infinite for no clip."""

    def __call__(self, obs: Array) -> Array:
        """Normalise obs [S, B, O]."""
        # the method: numpy's function of that name takes three times as long for one observation
        return ((obs - self.mean[:, None, :]) * self.inv_std[:, None, :]).clip(-self.clip, self.clip)

    def only(self, member: int) -> "ObsScale":
        """Return the scale of one member, with S = 1."""
        return ObsScale(self.mean[member : member + 1], self.inv_std[member : member + 1], self.clip)
