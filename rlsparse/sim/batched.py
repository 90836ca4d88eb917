"""MuJoCo tasks in a batch, on the CPU and on a GPU, by the class that simulates them."""

from typing import Any

from gymnasium.vector import VectorEnv

from rlsparse.errors import UsageError
from rlsparse.sim.arguments import SENSING, flag
from rlsparse.sim.curriculum_envs import MujocoCurriculumEnv
from rlsparse.sim.tasks import task_class
from rlsparse.sim.varied import factors_of


def on_cpu(env_id: str, num_envs: int, **options: Any) -> Any:
    """Return environments of a task, Gymnasium's or a user's, on the CPU."""
    if sensing := {name: options.pop(name) for name in SENSING if name in options}:
        from rlsparse.sim.sensing import SensedEnv

        return SensedEnv(on_cpu(env_id, num_envs, **options), **sensing)
    if not _varies(env_id):
        return MujocoCurriculumEnv(env_id, num_envs, **options)
    from rlsparse.sim.varied_envs import VariedEnv

    return VariedEnv(env_id, num_envs, **options)


def on_gpu(env_id: str, num_envs: int, **options: Any) -> VectorEnv:
    """Return environments of a task on a GPU; what is no task is refused, and what only the CPU has."""
    for name in SENSING:
        if name in options:
            raise UsageError(f"--simulator warp has no {flag(name)}: leave it out, or use --simulator mujoco")
    if not _varies(env_id):
        from rlsparse.sim.warp import WarpVectorEnv

        return WarpVectorEnv(env_id, num_envs, **options)
    from rlsparse.sim.varied_warp import WarpVariedEnv

    return WarpVariedEnv(env_id, num_envs, **options)


def _varies(env_id: str) -> bool:
    task = task_class(env_id)
    return task is not None and bool(factors_of(task))
