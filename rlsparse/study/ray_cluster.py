"""The Ray cluster of a study: which one it is, what its machines have, and what its errors mean."""

import sys
from collections.abc import Collection
from typing import Any

from rlsparse.explore import ray_connection
from rlsparse.study.pool import Job


def connected() -> bool:
    """Whether this process has a connection already."""
    return "ray" in sys.modules and bool(sys.modules["ray"].is_initialized())


def connect(on: str) -> Any:
    """Return the package ray, connected to the cluster that `--on` means; raises UsageError.

    `ray` is the one that Ray finds (RAY_ADDRESS, or one that runs on this machine), else one that is started here;
    `ray:ADDRESS` is the one that ray.init means by this address, such as auto, local or 10.0.0.1:6379, and
    `ray://HOST:10001` one that this machine is no part of. A connection that this process has already is used.
    """
    return ray_connection.connect(f"--on {on}", on if "://" in on else on.partition(":")[2])


def size(ray: Any) -> int:
    """Return how many cores the machines of the cluster have together, at least 1."""
    return max(1, int(sum(node.get("CPU", 0) for node in machines(ray).values())))


def machines(ray: Any, without: Collection[str] = ()) -> dict[str, dict[str, float]]:
    """Return what the machines that are there have, by their ids; `without` some of them."""
    return {x["NodeID"]: x["Resources"] for x in ray.nodes() if x["Alive"] and x["NodeID"] not in without}


def takes(has: dict[str, float], job: Job) -> bool:
    """Whether a machine that has this is large enough for a job."""
    return has.get("CPU", 0) >= job.cores and has.get("GPU", 0) >= job.gpus


def too_large(job: Job, there: Collection[dict[str, float]]) -> str:
    """Say in one line that no machine is large enough for a job."""
    wants, largest = (
        _in_words(job.cores, job.gpus),
        max(there, key=lambda x: (x.get("GPU", 0), x.get("CPU", 0)), default={}),
    )
    has = _in_words(largest.get("CPU", 0), largest.get("GPU", 0))
    return f"no machine of the cluster has {wants}: the largest has {has}"


def _in_words(cores: float, gpus: float) -> str:
    words = f"{cores:g} core{'s' * (cores != 1)}"
    return f"{words} and {gpus:g} GPU{'s' * (gpus > 1)}" if gpus else words


def failure(error: BaseException) -> str:
    """Say in one line why a task could not even begin, or was lost, from what Ray raises."""
    if isinstance(error, TimeoutError):
        return "it does not answer"
    lines = [line.strip() for line in str(getattr(error, "cause", None) or error).splitlines() if line.strip()]
    missing = [line for line in lines if line.startswith(("ModuleNotFoundError", "ImportError"))]
    return " ".join((missing or lines or [type(error).__name__])[0 if not missing else -1].split())
