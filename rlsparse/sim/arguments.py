"""Arguments of environments: plain values that a file can hold, checked before anything is made of them."""

import inspect
import math
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from stat import S_ISREG
from typing import Any

import gymnasium

from rlsparse.errors import UsageError, nearest
from rlsparse.learner.bounds import NotNegative
from rlsparse.sim.task import Factor, Range

STEPS = "max_episode_steps"
"""The argument that every environment takes: after so many steps an episode is truncated."""

NOT_ARGUMENTS = ("id", "disable_env_checker", "render_mode", "self")
"""What gymnasium.make keeps for itself; whether to draw is for `rlsparse play --video` to say."""

DRAWING = ("default_camera_config", "width", "height", "camera_id", "camera_name", "max_geom", "visual_options")
"""Arguments of the MuJoCo tasks that say how they are drawn: a batch, which never is, ignores them."""

SENSING = ("sensor_noise", "action_delay", "history")
"""Arguments of every MuJoCo task on the CPU: `sensing.SensedEnv` takes them."""

LONGEST = 2**14
"""Most characters of all arguments together: they are part of every recipe."""

MOST_BYTES = 2**26
"""Largest XML file of a MuJoCo model that is read."""

# Found by path: importing gymnasium.envs.mujoco would load its renderer.
_ASSETS = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"

LARGEST_COUNT = 10_000
"""Largest whole number of a MuJoCo task, such as the physics steps in one of its own: more would seem to hang."""

LONGEST_TOLD = 100
"""Most characters of a name or a value that a message repeats."""

DEEPEST = 8
"""Most lists and tables within each other."""


def flag(name: str) -> str:
    """Return how the command line says an argument."""
    return f"--env-kwargs.{name.replace('_', '-')}"


def plain(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments as text, numbers, true or false, and lists and tables of these; "inf" is the number.

    Raises UsageError for any other value, and for a name that no argument can have.
    """
    for name in kwargs:
        if name in NOT_ARGUMENTS or not str(name).isidentifier() or len(name) > LONGEST_TOLD:
            told = str(name)[:LONGEST_TOLD]
            raise UsageError(f"{flag(told)}: {told} cannot be given to an environment")
    values = {name: _plain(value, flag(name)) for name, value in kwargs.items()}
    steps = values.get(STEPS, 1)
    if type(steps) is not int or steps < 1:
        raise UsageError(f"{flag(STEPS)} is {str(steps)[:LONGEST_TOLD]}: expected a positive whole number")
    if len(str(values)) > LONGEST:
        raise UsageError(f"--env-kwargs are {len(str(values)):,} characters long: expected at most {LONGEST:,}")
    return values


def _plain(value: Any, place: str, depth: int = 0) -> Any:
    value = value.tolist() if hasattr(value, "tolist") else value  # numbers and arrays of numpy
    value = os.fspath(value) if isinstance(value, os.PathLike) else value
    if value in ("inf", "-inf"):
        return float(value)
    if isinstance(value, str | bool) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    if isinstance(value, float) and not math.isnan(value):
        return value
    if isinstance(value, list | tuple) and depth < DEEPEST:
        return [_plain(item, place, depth + 1) for item in value]
    if isinstance(value, dict) and depth < DEEPEST and all(isinstance(key, str) for key in value):
        return {key: _plain(item, place, depth + 1) for key, item in value.items()}
    raise UsageError(
        f"{place} is {str(value)[:LONGEST_TOLD]}: expected text, a number, true or false, or a list or table of these"
    )


def located(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments with an `xml_file` that lies in the working directory by its whole path, good everywhere."""
    file = kwargs.get("xml_file")
    path = os.path.abspath(os.path.expanduser(file)) if isinstance(file, str) else ""
    return {**kwargs, **({"xml_file": path} if os.path.exists(path) else {})}


def model_path(xml_file: str) -> Path:
    """Return the path of a MuJoCo model, by Gymnasium's rule: what does not begin with . / or ~ is its own.

    Raises UsageError unless it is a regular file that can be read to its end.
    """
    expanded = os.path.expanduser(xml_file)
    own = not xml_file.startswith((".", "/", "~"))
    path = _ASSETS / xml_file if own else Path(expanded)
    try:
        found = path.stat()
    except (OSError, ValueError):
        told, known = xml_file[:LONGEST_TOLD], _ASSETS.glob("*.xml") if own else ()
        near = nearest(xml_file, (x.name for x in known))
        beside = f": write ./{told}" if own and os.path.exists(xml_file) else ""
        hint = beside or (f": did you mean {near}?" if near else ", and Gymnasium has none of this name" if own else "")
        raise UsageError(f"{flag('xml_file')} {told}: there is no such file{hint}") from None
    if not S_ISREG(found.st_mode) or found.st_size > MOST_BYTES:
        raise UsageError(f"{flag('xml_file')} {path}: expected a regular file of at most {MOST_BYTES:,} bytes")
    return path


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 < value <= LARGEST_COUNT


def _is_place(value: Any) -> bool:
    return type(value) is int and abs(value) <= LARGEST_COUNT


def _is_range(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value)) and value[0] <= value[1]


KINDS: dict[Any, tuple[Callable[[Any], bool], str]] = {
    bool: (lambda value: isinstance(value, bool), "true or false"),
    int: (_is_count, f"a whole number from 1 to {LARGEST_COUNT:,}"),
    float: (_is_number, "a number"),
    NotNegative: (lambda value: _is_number(value) and 0 <= value < math.inf, "zero or a positive number"),
    Factor: (lambda x: _is_range(x) and x[0] >= 0 and x[1] < math.inf, "two numbers from zero on, as [0.5, 1.5]"),
    Range: (_is_range, "two numbers, the lower one first, such as [0.2, 1.0]"),
    str: (lambda value: isinstance(value, str), "text"),
    int | str: (lambda value: isinstance(value, str) or _is_place(value), "a number or a name"),
}
"""By the type of a task's field: whether a value is one, and what is expected."""

ANYTHING: tuple[Callable[[Any], bool], str] = (lambda value: True, "")
"""Of a field of a user's task whose type is none of these."""


def check_names(env_id: str, creator: Callable[..., Any], kwargs: Iterable[str], known: Iterable[str] = ()) -> None:
    """Raise UsageError for the first argument that a constructor does not take, or needs; one with **kwargs takes all.

    Those that are `known` are given to it by the registry.
    """
    try:
        parameters = inspect.signature(creator).parameters.values()
    except (TypeError, ValueError):  # compiled code may not tell
        return
    named = {x.name: x for x in parameters if x.kind in (x.POSITIONAL_OR_KEYWORD, x.KEYWORD_ONLY)}
    if not any(x.kind is x.VAR_KEYWORD for x in parameters):
        refuse_unknown(env_id, kwargs, named)
    needed = {name for name, x in named.items() if x.default is x.empty} - {*kwargs, *known, *NOT_ARGUMENTS, STEPS}
    for name in (name for name in named if name in needed):
        raise UsageError(f"{env_id} needs {flag(name)}")


def refuse_unknown(env_id: str, kwargs: Iterable[str], known: Iterable[str]) -> None:
    """Raise UsageError, with the nearest one, for the first argument that is not `known`."""
    known = [name for name in (*known, STEPS) if name not in NOT_ARGUMENTS]
    for name in kwargs:
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near}?" if near else f"it has {', '.join(known)}"
            raise UsageError(f"{flag(name)}: {env_id} has no argument {name}: {hint}")
