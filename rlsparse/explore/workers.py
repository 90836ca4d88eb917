"""Who runs the episodes of probes: this process, or others; no number of a run depends on it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # with environments comes Gymnasium
    from rlsparse.sim.episodes import ProbeEpisodes


def check_workers(workers: str, recipe: Any, device: str) -> None:
    """Raise UsageError if the episodes of this recipe's probes cannot be run so."""
    if workers == "ray":
        from rlsparse.explore.ray_workers import check

        check(recipe, device)


def episode_runner(workers: str, recipe: Any, device: str, timeout: float | None) -> "Callable[..., ProbeEpisodes]":
    """Return what runs the episodes of a run's probes, made as ProbeEpisodes is; raises UsageError.

    A call of an environment may take `timeout` seconds.
    """
    from rlsparse.sim.episodes import ProbeEpisodes

    if workers == "here":
        return ProbeEpisodes
    from rlsparse.explore.ray_workers import on_ray

    return on_ray(recipe, device, timeout)
