"""Models of users' tasks: loaded, asked for names, and tried."""

from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from rlsparse.errors import EnvironmentFailure, UsageError
from rlsparse.sim.model_names import names_of
from rlsparse.sim.own_tasks import called, source_of
from rlsparse.sim.task import Task
from rlsparse.sim.task_check import fields_read

__all__ = ["load", "names_of", "fields_read"]


def load(task: Task) -> mujoco.MjModel:
    """Return the model of a user's task, compiled; raises UsageError for what is none, or has no bounded actuator."""
    name, given = called(task), task.model()
    try:
        model = _compiled(given, source_of(task).parent)
    except FileNotFoundError as error:
        raise UsageError(f"{name}: {error}") from None
    except (ValueError, mujoco.FatalError) as error:
        message = " ".join(str(error).split())
        raise EnvironmentFailure(f"{name}: MuJoCo {mujoco.__version__} cannot read its model: {message}") from error
    if model is None:
        expected = "the path or the text of an MJCF file, an MjSpec or an MjModel"
        raise UsageError(f"{name}: its model is {type(given).__name__}: expected {expected}")
    if model.nu == 0:
        raise UsageError(f"{name}: its model has no actuator, so there is nothing to learn")
    unbounded = np.flatnonzero(~(model.actuator_ctrlrange[:, 0] < model.actuator_ctrlrange[:, 1]))
    if unbounded.size:
        number = int(unbounded[0])
        told = model.actuator(number).name or f"number {number}"
        raise UsageError(f'{name}: actuator {told} of its model has no ctrlrange: give it one, as ctrlrange="-1 1"')
    return model


def _compiled(given: Any, folder: Path) -> mujoco.MjModel | None:
    if isinstance(given, mujoco.MjModel):
        return given
    if isinstance(given, mujoco.MjSpec):
        return given.compile()
    if not isinstance(given, str | Path):
        return None
    if isinstance(given, str) and given.lstrip().startswith("<"):
        return mujoco.MjModel.from_xml_string(given)
    if not str(given):
        raise FileNotFoundError("it names no model: set xml_file to the path of an MJCF file, or write model()")
    path = folder / Path(given).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    return mujoco.MjModel.from_xml_path(str(path))
