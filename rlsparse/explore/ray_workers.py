"""Workers of a Ray cluster that run the episodes of probes (`--explore.workers ray`).

A worker is an actor of Ray with one core and environments of its own. It gets parameters, normaliser and seeds as
arrays and answers with returns and lengths. What a lost worker had to do is done again by another one, from the same
seeds.
"""

import logging
import platform
import re
import sys
import time
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from threadpoolctl import threadpool_info, threadpool_limits

from rlsparse.errors import (
    EnvironmentFailure,
    Interrupted,
    RlsparseError,
    UsageError,
    in_one_line,
)
from rlsparse.explore import ray_connection
from rlsparse.explore.parts import Outcome, Part, PartedEpisodes, run_part
from rlsparse.explore.ray_connection import FLAG
from rlsparse.learner.kinds import kind_of
from rlsparse.sim import cpu, maker
from rlsparse.sim.workers import packed_environment, unpacked

HERE = "--explore.workers here"
"""What does without Ray, with the same numbers."""

FIRST = 120.0
"""Seconds in which the first worker must begin."""

BETWEEN_QUESTIONS = 0.05
"""Most seconds between two questions whether to stop."""

MOST_LOST = 3
"""Workers that may be lost with the same part, before that part is taken to be what ends them."""

PACKAGES = ("rlsparse", "numpy", "mujoco", "gymnasium")
"""Packages whose versions must be those of this process."""

Asked = dict[Any, tuple[Any, int | None]]
"""Workers whose answers are waited for, and the number of the part each runs, by Ray's reference; None: it begins."""

log = logging.getLogger(__name__)


class WorkersLost(RlsparseError):
    """No worker can run what a probe needs: nothing goes on, as after EnvironmentFailure it may."""

    exit_code = EnvironmentFailure.exit_code


def check(recipe: Any, device: str) -> None:
    """Raise UsageError unless Ray is installed, and the recipe's probes run episodes of environments on the CPU."""
    if recipe.explore is None:
        raise UsageError(f"{FLAG} spreads the episodes of probes: it needs --explore, for example --explore explorler")
    if not recipe.explore.probe.spends:
        kind = kind_of(type(recipe.explore.probe))
        raise UsageError(f"{FLAG} spreads the episodes of probes, and --explore.probe {kind} runs none: use {HERE}")
    if recipe.simulator != "mujoco":
        raise UsageError(
            f"{FLAG} needs environments on the CPU, which --simulator {recipe.simulator} does not give: use "
            f"--simulator mujoco, or {HERE}"
        )
    if device != "cpu":
        raise UsageError(f"{FLAG}: workers compute on the CPU, and --device {device} has other last digits: use {HERE}")
    if recipe.env_restarts:
        raise UsageError(f"{FLAG}: --env-restarts are counted in one process: use --env-restarts 0, or {HERE}")
    ray_connection.check()


def on_ray(recipe: Any, device: str, timeout: float | None) -> Callable[..., PartedEpisodes]:
    """Return what runs the episodes of this recipe's probes on Ray, made as ProbeEpisodes is; raises UsageError.

    A call of an environment may take `timeout` seconds.
    """
    check(recipe, device)
    told = packed_environment(recipe.environment, HERE)
    workers = RayWorkers(ray_connection.connect(), told, timeout, recipe.explore.width * recipe.num_seeds)
    return partial(PartedEpisodes, workers, workers.count)


# In a worker


class Worker:
    """What each actor holds: environments, made once for each number of them."""

    def __init__(self, told: bytes, timeout: float | None, path: list[str]) -> None:
        sys.path += [x for x in path if x not in sys.path]
        threadpool_limits(1, "blas")
        np.seterr(over="ignore", invalid="ignore")  # as around probes
        vars(cpu)["usable_cores"] = lambda: 1  # or MuJoCo would take all cores of the machine
        make = maker(unpacked(told), "mujoco", "cpu", timeout=timeout)
        self._env: Callable[[int], VectorEnv] = cache(partial(make, autoreset=False))

    def hello(self) -> dict[str, str]:
        """Return what the last digits of numbers depend on here."""
        return arithmetic()

    def run(self, part: Part) -> Outcome:
        """Run the episodes of a part."""
        return run_part(self._env, part)


@cache
def arithmetic() -> dict[str, str]:
    """Return what the last digits of numbers depend on: versions, and the instructions that the processor has."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    with suppress(OSError):
        flags = re.search(r"^flags\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        words = flags[1].split() if flags else []
        found["instructions"] = " ".join(sorted(x for x in words if x == "fma" or x.startswith("avx")))
    kernels = {x["architecture"] for x in threadpool_info() if "architecture" in x and "numpy" in x["filepath"]}
    return found | {"kernels of BLAS": " ".join(sorted(kernels))}


# In the process that trains


class RayWorkers:
    """Workers that run parts: one from the start, to find what is wrong early, the others from the first probe on.

    There are as many as the cluster then has free cores, and at most `most`. Raises UsageError if none begins.
    """

    def __init__(self, ray: Any, told: bytes, timeout: float | None, most: int) -> None:
        self._ray, self._most = ray, most
        self._actor = ray.remote(num_cpus=1, max_restarts=0)(Worker)
        self._arguments = (told, timeout, [*sys.path])
        self._actors: list[Any] = []
        self._unlike, self._spare = "", 0
        self.end = weakref.finalize(self, _end, ray, self._actors)
        hello = self._new().hello.remote()
        if not ray.wait([hello], timeout=FIRST)[0]:
            raise UsageError(
                f"{FLAG}: no worker began within {FIRST:.0f} s: has the cluster a free core? or use {HERE}"
            )
        try:
            alike = self._is_alike(self._actors[0], ray.get(hello))
        except ray.exceptions.RayError as error:
            raise UsageError(f"{FLAG}: no worker can begin: {last_line(error)}") from error
        if not alike:
            raise UsageError(self._unlike)

    def _new(self) -> Any:
        actor = self._actor.remote(*self._arguments)
        self._actors.append(actor)
        return actor

    def count(self) -> int:
        """Return how many workers there are, those included that have not begun yet; lets further ones begin."""
        free = 0 if self._unlike else int(self._ray.available_resources().get("CPU", 0))
        for _ in range(min(free, self._most - len(self._actors))):
            self._new()
        return max(1, len(self._actors))

    def __call__(self, parts: list[Part], stop: Callable[[], bool]) -> list[Outcome]:
        """Run the parts and return their outcomes, in order; raises Interrupted as soon as `stop` says so.

        Raises what a worker raised; WorkersLost if a part ends every worker, or none is left.
        """
        outcomes, losses = dict[int, Outcome](), [0] * len(parts)
        waiting, idle = [*range(len(parts))], list[Any]()
        asked: Asked = {x.hello.remote(): (x, None) for x in self._actors or [self._new()]}
        self._spare, answered = len(asked) + MOST_LOST, time.monotonic()
        while len(outcomes) < len(parts):
            while waiting and idle:
                actor, i = idle.pop(), waiting.pop(0)
                asked[actor.run.remote(parts[i])] = actor, i
            if stop():
                self._drop(actor for actor, _ in asked.values())
                raise Interrupted
            nobody_works = all(part is None for _, part in asked.values())
            if not asked or (nobody_works and time.monotonic() > answered + FIRST):
                raise WorkersLost(self._unlike or f"{FLAG}: no worker is left, and no further one began")
            for actor, part, answer in self._hear(asked):
                answered = time.monotonic()
                if part is None:
                    idle += [actor] if answer and self._is_alike(actor, answer) else []
                elif answer is None:
                    _count_loss(losses, part)
                    waiting.insert(0, part)
                else:
                    outcomes[part] = answer
                    idle.append(actor)
        return [outcomes[i] for i in range(len(parts))]

    def _hear(self, asked: Asked) -> list[tuple[Any, int | None, Any]]:
        """Return who has answered by now, the number of its part, and its answer; None: it was lost, and replaced."""
        ray, heard = self._ray, []
        for reference in ray.wait([*asked], timeout=BETWEEN_QUESTIONS)[0]:
            actor, part = asked.pop(reference)
            try:
                answer = ray.get(reference)
            except ray.exceptions.RayTaskError as error:
                raise _raised(error) from error
            except ray.exceptions.RayError as error:
                log.warning("a worker of Ray was lost (%s); what it had to do is done again", last_line(error))
                answer = None
                self._drop([actor])
                self._spare -= 1
                if self._spare >= 0:  # workers that cannot even begin are not replaced for ever
                    new = self._new()
                    asked[new.hello.remote()] = new, None
            heard.append((actor, part, answer))
        return heard

    def _is_alike(self, actor: Any, found: dict[str, str]) -> bool:
        """Whether a worker computes as this process does; one that does not is let go, and the first is told of."""
        here = arithmetic()
        differing = [name for name in here | found if here.get(name) != found.get(name)]
        if not differing:
            return True
        name = differing[0]
        why = f"{FLAG}: a worker's {name} is {found.get(name)}, and {here.get(name)} here: its numbers may be others"
        if not self._unlike and len(self._actors) > 1:
            log.warning("%s; it is left out", why)
        self._unlike = self._unlike or why
        self._drop([actor])
        return False

    def _drop(self, actors: Iterable[Any]) -> None:
        for actor in [*actors]:
            self._actors.remove(actor)
            self._ray.kill(actor)


def _count_loss(losses: list[int], part: int) -> None:
    """Count that a worker was lost with a part; raises WorkersLost if that happens again and again."""
    losses[part] += 1
    if losses[part] > MOST_LOST:
        raise WorkersLost(
            f"{FLAG}: {losses[part]} workers were lost with the same episodes: the environment may end its process, or "
            f"need more memory than there is; {HERE} shows it here"
        )


def _raised(error: Any) -> RlsparseError:
    """Return what a worker raised, as it would have been raised here."""
    cause = error.cause
    return (
        cause if isinstance(cause, RlsparseError) else WorkersLost(f"{FLAG}: a worker fails with {in_one_line(cause)}")
    )


def last_line(error: BaseException) -> str:
    """Return what Ray says of a failure, of which it says much, in one line: the cause, if there is one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    causes = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Failure): ", line)]
    return (causes or lines or [type(error).__name__])[-1]


def _end(ray: Any, actors: list[Any]) -> None:
    if ray.is_initialized():  # or it would begin anew, only to kill
        for actor in actors:
            with suppress(Exception):  # of a cluster that is lost
                ray.kill(actor)
