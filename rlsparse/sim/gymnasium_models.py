"""Models of Gymnasium's tasks: its own XML files, or others in their place."""

import dataclasses
from collections.abc import Callable
from functools import cache

import mujoco

from rlsparse.errors import EnvironmentFailure
from rlsparse.sim.arguments import model_path
from rlsparse.sim.task import Task


def load(task: Task) -> mujoco.MjModel:
    """The task's model, from Gymnasium's own XML file or another; raises UsageError or EnvironmentFailure."""
    path = model_path(task.xml_file)
    try:
        model = mujoco.MjModel.from_xml_path(str(path))
    except (ValueError, mujoco.FatalError) as error:
        raise EnvironmentFailure(
            f"MuJoCo {mujoco.__version__} cannot read {path}: {' '.join(str(error).split())}"
        ) from error
    own = any(f.name == "xml_file" and f.default == task.xml_file for f in dataclasses.fields(task))
    if own and not task.islands:  # in a model of a user's, islands are as its file says
        model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_ISLAND
    return model


def names_of(model: mujoco.MjModel) -> dict[str, Callable[[int | str], int]]:
    """Return what the tasks ask for, the number of a body by its name; KeyError or IndexError if there is none."""
    return {"body": cache(lambda body: int(model.body(body).id))}


def fields_read(task: Task, model: mujoco.MjModel) -> tuple[str, ...]:
    """Return the MjData fields that a task reads beside qpos, qvel and ctrl."""
    return task.derived_fields
