"""The tasks that are simulated in batches: eleven of Gymnasium's MuJoCo v5 by their ids, and those of users."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, get_type_hints

from rlsparse.errors import UsageError
from rlsparse.sim.arguments import ANYTHING, DRAWING, KINDS, LONGEST_TOLD, SENSING, STEPS, flag, plain, refuse_unknown
from rlsparse.sim.fixed_base import InvertedDoublePendulum, InvertedPendulum, Pusher, Reacher
from rlsparse.sim.locomotion import Ant, HalfCheetah, Hopper, Humanoid, HumanoidStandup, Swimmer, Walker2d
from rlsparse.sim.task import Task

if TYPE_CHECKING:
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


def check_task(env_id: str, kwargs: Mapping[str, Any]) -> None:
    """Raise UsageError for the first plain argument that a MuJoCo task does not take, by its name or its value."""
    task = task_class(env_id)
    assert task is not None
    hints = get_type_hints(task, include_extras=True)
    known = [f.name for f in fields(task)]
    refuse_unknown(env_id, kwargs, [*known, *DRAWING, *SENSING])
    for name in kwargs.keys() & known:
        fits, expected = KINDS.get(hints[name], ANYTHING)
        if not fits(kwargs[name]):
            raise UsageError(f"{flag(name)} is {str(kwargs[name])[:LONGEST_TOLD]}: expected {expected}")


def make_task(env_id: str, options: Mapping[str, Any]) -> Task:
    """Return the task with these arguments instead of its defaults; raises UsageError for one that it does not take."""
    given = plain(options)
    check_task(env_id, given)
    task: Any = task_class(env_id)
    own = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return task(**{name: value for name, value in own.items() if name not in (*DRAWING, STEPS)})


def source_of_model(task: Task) -> ModuleType:
    """Return the module that loads a task's model and says what it names and what the task reads of it."""
    if type(task) in TASKS.values():
        from rlsparse.sim import gymnasium_models

        return gymnasium_models
    from rlsparse.sim import own_models

    return own_models


def batch_class(fields: Sequence[str]) -> type["Batch"]:
    """Return the class of the simulations of a task that reads these fields."""
    if "cfrc_ext" in fields:
        from rlsparse.sim.contact import ContactBatch

        return ContactBatch
    from mujoco.batch import Batch

    return Batch
