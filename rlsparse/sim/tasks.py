"""The tasks that are simulated in batches: eleven of Gymnasium's MuJoCo v5 by their ids, and those of users."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rlsparse.sim.fixed_base import InvertedDoublePendulum, InvertedPendulum, Pusher, Reacher
from rlsparse.sim.locomotion import Ant, HalfCheetah, Hopper, Humanoid, HumanoidStandup, Swimmer, Walker2d
from rlsparse.sim.task import Task

if TYPE_CHECKING:
    import mujoco
    from mujoco.batch import Batch

TASKS: Mapping[str, type[Task]] = MappingProxyType(
    {
        "Ant-v5": Ant,
        "HalfCheetah-v5": HalfCheetah,
        "Hopper-v5": Hopper,
        "Humanoid-v5": Humanoid,
        "HumanoidStandup-v5": HumanoidStandup,
        "InvertedDoublePendulum-v5": InvertedDoublePendulum,
        "InvertedPendulum-v5": InvertedPendulum,
        "Pusher-v5": Pusher,
        "Reacher-v5": Reacher,
        "Swimmer-v5": Swimmer,
        "Walker2d-v5": Walker2d,
    }
)


def task_class(env_id: str) -> type[Task] | None:
    """Return the class of a task, Gymnasium's or a user's "file.py:Class"; None for any other environment."""
    if ":" not in env_id:
        return TASKS.get(env_id)
    from rlsparse.sim import own_tasks

    return own_tasks.found(env_id)


def own_model(task: Task) -> "mujoco.MjModel":
    """Return the model of a user's task; raises UsageError or EnvironmentFailure."""
    from rlsparse.sim import own_tasks

    return own_tasks.model_of(task)


def names_of(task: Task, model: "mujoco.MjModel") -> dict[str, Callable[[int | str], Any]]:
    """Return what tells a task where that is which its model names; Gymnasium's tasks ask for bodies only."""
    if type(task) in TASKS.values():
        return {"body": cache(lambda body: int(model.body(body).id))}
    from rlsparse.sim import model_names

    return model_names.names_of(model)


def fields_read(task: Task, model: "mujoco.MjModel") -> tuple[str, ...]:
    """Return the MjData fields that a task reads beside qpos, qvel and ctrl; one of a user's is tried for that.

    Raises UsageError for a task that cannot be carried out.
    """
    if type(task) in TASKS.values():
        return task.derived_fields
    from rlsparse.sim.task_check import tried

    return tried(task, model)


def batch_class(fields: Sequence[str]) -> type["Batch"]:
    """Return the class of the simulations of a task that reads these fields."""
    if "cfrc_ext" in fields:
        from rlsparse.sim.contact import ContactBatch

        return ContactBatch
    from mujoco.batch import Batch

    return Batch
