"""MuJoCo tasks in a batch, on the CPU and on a GPU, by the class that simulates them."""

from typing import Any

from rlsparse.sim.arguments import SENSING
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


def on_gpu(env_id: str, num_envs: int, **options: Any) -> Any:
    """Return environments of a task on a GPU; what is no task is refused."""
    if sensing := {name: options.pop(name) for name in SENSING if name in options}:
        from rlsparse.sim.sensing_warp import WarpSensedEnv

        return WarpSensedEnv(on_gpu(env_id, num_envs, **options), **sensing)
    if not _varies(env_id):
        from rlsparse.sim.warp import WarpVectorEnv

        return WarpVectorEnv(env_id, num_envs, **options)
    from rlsparse.sim.varied_warp import WarpVariedEnv

    return WarpVariedEnv(env_id, num_envs, **options)


def _varies(env_id: str) -> bool:
    task = task_class(env_id)
    return task is not None and bool(factors_of(task))
