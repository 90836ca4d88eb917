"""The names of components: which kinds a field may hold, and which of them have a field of their own."""

import dataclasses
import re
import types
from typing import Any, get_args, get_origin


def kind_of(cls: type) -> str:
    """Return a component's name among several: EmptySpace is empty-space, TDLambda is td-lambda, RigL is rigl."""
    if "kind" in vars(cls):  # where the method's name does not follow from the class name
        return vars(cls)["kind"]
    return re.sub(r"(?:(?<=[a-z])|(?<=[A-Z]{2}))(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z]{3})", "-", cls.__name__).lower()


def kinds(hint: Any) -> dict[str, type]:
    """Return the components that a field of this type may hold, by name."""
    options = get_args(hint) if get_origin(hint) is types.UnionType else (hint,)
    return {kind_of(cls): cls for cls in options if dataclasses.is_dataclass(cls) and isinstance(cls, type)}


def others_with(name: str, cls: type, components: dict[str, type]) -> list[str]:
    """Return the kinds that have a field of this name, if `cls` has none."""
    having = [kind for kind, c in components.items() if name in (f.name for f in dataclasses.fields(c))]
    return [] if kind_of(cls) in having else having
