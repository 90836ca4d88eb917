"""Tasks of users: found by the names of their classes, with models of their own."""

import sys
from contextlib import suppress
from pathlib import Path

from rlsparse.sim.task import Task
from rlsparse.sim.user_classes import load_object


def found(env_id: str) -> type[Task] | None:
    """Return the task that is named as "file.py:Class"; None where that is no task.

    A file that cannot be imported has none: what is wrong with it is told where its environment is made.
    """
    with suppress(Exception, SystemExit):
        named = load_object(env_id)
        return named if isinstance(named, type) and issubclass(named, Task) else None
    return None


def called(task: Task) -> str:
    """Return how messages call a task: its file and its class."""
    return f"{source_of(task).name}:{type(task).__name__}"


def source_of(task: Task) -> Path:
    """Return the file in which the class of a task is."""
    return Path(getattr(sys.modules.get(type(task).__module__), "__file__", None) or type(task).__module__)
