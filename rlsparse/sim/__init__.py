"""Vector environments: the Gymnasium MuJoCo v5 tasks batched on all cores, and any other Gymnasium id."""

import logging
from collections.abc import Callable, Sequence
from functools import cache, partial

import gymnasium
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, VectorEnv

from rlsparse.errors import UsageError
from rlsparse.sim.environment import Environment, as_environment, entry_point
from rlsparse.sim.registration import register_tasks
from rlsparse.sim.task import Task
from rlsparse.sim.tasks import TASKS
from rlsparse.sim.user_classes import entry_of

log = logging.getLogger(__name__)

register_tasks()


def maker(
    environment: Environment | str,
    simulator: str,
    device: str,
    restarts: int | None = None,
    workers: int = 1,
    timeout: float | None = None,
) -> Callable[..., VectorEnv]:
    """Return `make` for the environments of one run, called with `num_envs` and, if wanted, `autoreset` and `seeds`.

    All of them together may be begun anew so often as `restarts` says, where they raise, and step in so many processes
    as `workers` says; with a `timeout`, the seconds that a call may take there, one is not this one either. MuJoCo's
    tasks do neither.
    """
    environment = as_environment(environment)
    if (workers > 1 or timeout is not None) and not environment.batched:
        from rlsparse.sim.workers import shared

        return shared(workers, environment, restarts, timeout)
    if not restarts or environment.batched:
        return partial(make, environment, simulator=simulator, device=device)
    from rlsparse.sim.restarts import RestartingEnvs, Restarts

    return partial(RestartingEnvs, Restarts(restarts), environment)


def workers_for(environment: Environment, num_envs: int, given: int | None) -> tuple[int, str]:
    """Return in how many processes the environments of a run step, measured unless `given`, and what to tell of it."""
    if given is not None or environment.batched:
        return given or 1, ""
    from rlsparse.sim.workers import measured

    return measured(environment, num_envs)


def make(
    environment: Environment | str,
    num_envs: int,
    *,
    autoreset: bool = True,
    seeds: Sequence[int] = (),
    simulator: str = "mujoco",
    device: str = "cpu",
) -> VectorEnv:
    """A vector environment of `num_envs` copies of an environment, given as a record or by its id.

    Actions are in native units `[num_envs, A]`; observations are float64 `[num_envs, O]`. Every array
    returned belongs to the caller. With `autoreset` a finished environment starts its next episode within the
    same step (`AutoresetMode.SAME_STEP`); without it, a finished environment stands still, with reward 0,
    until `reset`. `get_state()` returns numeric arrays from which `set_state()` continues exactly, in another
    process too. `seeds` are of the members to whom the environments belong, in equal parts, and name them in errors.

    Raises UsageError (unknown id, `num_envs` below 1), UnsupportedEnvironment (its spaces),
    EnvironmentFailure (it cannot be made, or raises later).
    """
    if num_envs < 1:
        raise UsageError(f"num_envs is {num_envs}, but at least 1 environment is needed")
    environment = as_environment(environment)
    if simulator == "warp":
        from rlsparse.sim.batched import on_gpu

        return on_gpu(environment.id, num_envs, device=device, autoreset=autoreset, **environment.kwargs)
    if environment.batched:
        from rlsparse.sim.batched import on_cpu

        mode = AutoresetMode.SAME_STEP if autoreset else AutoresetMode.DISABLED
        return on_cpu(environment.id, num_envs, autoreset_mode=mode, seeds=seeds, **environment.kwargs)
    from rlsparse.sim.curriculum_envs import GymCurriculumEnv

    if environment.id in TASKS:
        _tell_of_single(environment.id, environment.wrappers)
    return GymCurriculumEnv(environment, num_envs, autoreset=autoreset, seeds=seeds)


def spec(env: str | type[Task]) -> EnvSpec:
    """Return what `gymnasium.make` and `gymnasium.make_vec` take for a name, also "file.py:Class", or a task's class.

    Raises UsageError for a class that another process could not import.
    """
    entry = entry_point(env if isinstance(env, str) else entry_of(env))
    return gymnasium.spec(entry) if isinstance(entry, str) else entry


@cache
def _tell_of_single(env_id: str, wrappers: tuple[str, ...]) -> None:
    why = f"{', '.join(wrappers)} can only be put around single environments"
    log.warning(f"{env_id} is simulated one environment after the other, which is slower than in a batch: {why}")
