"""Models that differ between environments and change at every start: which fields of a task say so, and what they mean.

Such a field has the type `Factor` and one of the names in `CHANGES`. Its factor, of MuJoCo's numbers in the model, is
drawn uniformly at the start of every episode; `push` is a force instead.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import get_type_hints

from rlsparse.errors import UsageError, nearest
from rlsparse.sim.arguments import KINDS
from rlsparse.sim.task import Factor, Task

CHANGES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "friction": ("geom_friction",),
        "mass": ("body_mass", "body_inertia"),
        "damping": ("dof_damping",),
        "gain": ("actuator_gainprm", "actuator_biasprm"),
        "armature": ("dof_armature",),
        "stiffness": ("jnt_stiffness",),
        "dry_friction": ("dof_frictionloss",),
        "push": (),
    }
)
"""Fields of MuJoCo's model that a factor of this name changes.

`push` is a horizontal force in newtons on the model's first body, for one action of a hundred, in any direction.
"""

CHANGE_CONSTANTS = ("mass", "armature")
"""After these MuJoCo computes again what it keeps of the model's inertia."""

PUSHED = 0.01
"""Share of actions during which a robot is pushed."""


def factors_of(task: type[Task]) -> tuple[str, ...]:
    """Return the names of a task's fields that change its model.

    Raises UsageError for one that is not known, and for bounds that are none.
    """
    hints = get_type_hints(task, include_extras=True)
    names = tuple(name for name, hint in hints.items() if hint == Factor)
    for name in names:
        if name not in CHANGES:
            near = nearest(name, CHANGES)
            hint = f"did you mean {near}?" if near else f"expected one of {', '.join(CHANGES)}"
            raise UsageError(f"{task.__name__}.{name} is a factor of nothing in a model: {hint}")
        fits, expected = KINDS[Factor]
        if not fits(list(usual := getattr(task, name, (1.0, 1.0)))):
            raise UsageError(f"{task.__name__}.{name} is {usual}: expected {expected}")
    return names


def model_fields(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the fields of MuJoCo's model that factors of these names change."""
    return tuple(field for name in names for field in CHANGES[name])
