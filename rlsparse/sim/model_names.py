"""Where what a MuJoCo model names is in the arrays of its state."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import mujoco

WIDTHS = {mujoco.mjtJoint.mjJNT_FREE: (7, 6), mujoco.mjtJoint.mjJNT_BALL: (4, 3)}
"""Of a joint's positions and velocities; 1 and 1 for any other."""


def names_of(model: mujoco.MjModel) -> dict[str, Callable[[int | str], Any]]:
    """Return functions of a name, or a number, by what it names; they raise KeyError or IndexError if there is none.

    `body`, `site`, `geom` and `actuator` give the number, for d.xpos, d.site_xpos, d.geom_xpos and d.ctrl; `sensor`
    gives the part of d.sensordata, `joint` that of d.qpos, `dof` that of d.qvel.
    """

    def joint(name: int | str, which: int) -> slice:
        found = model.joint(name)
        first = int((found.qposadr, found.dofadr)[which][0])
        return slice(first, first + WIDTHS.get(mujoco.mjtJoint(int(found.type[0])), (1, 1))[which])

    def sensor(name: int | str) -> slice:
        found = model.sensor(name)
        return slice(int(found.adr[0]), int(found.adr[0] + found.dim[0]))

    def number(kind: str, name: int | str) -> int:
        return int(getattr(model, kind)(name).id)

    functions: dict[str, Callable[[int | str], Any]] = {
        **{kind: partial(number, kind) for kind in ("body", "site", "geom", "actuator")},
        "sensor": sensor,
        "joint": lambda name: joint(name, 0),
        "dof": lambda name: joint(name, 1),
    }
    return {kind: cache(function) for kind, function in functions.items()}
