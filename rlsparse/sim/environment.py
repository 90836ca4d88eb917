"""Which environment: an id or a class, its arguments and its wrappers; and how a Gymnasium environment is made of them.

An id is Gymnasium's, "module:Id" where that module registers it, or a class: "module:Class", "/folder/file.py:Class".
"""

import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec, load_env_creator

from rlsparse.errors import UsageError, nearest
from rlsparse.sim.arguments import STEPS, check_names, check_task, model_path, plain
from rlsparse.sim.spaces import flattened
from rlsparse.sim.tasks import TASKS

given_classes: dict[str, Callable[..., gymnasium.Env]] = {}
"""Classes that this process has been given as objects, by their entries: their files are not imported again."""

moved_files: dict[str, str] = {}
"""Where files lie now that are no longer in the place by which a recipe names them, by that place."""


@dataclass(frozen=True)
class Environment:
    """One environment as a recipe names it; plain values, from which another process makes the same one."""

    id: str
    """Gymnasium's id, or a class, with its module or file and a colon before it where Gymnasium does not know it."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of its constructor, and `max_episode_steps`."""
    wrappers: tuple[str, ...] = ()
    """Classes put around it, the innermost first: "package.module.Class", "module:Class", "/folder/file.py:Class"."""

    @property
    def batched(self) -> bool:
        """Whether it is one of the MuJoCo tasks, to be simulated in a batch: wrappers need single environments."""
        return self.id in TASKS and not self.wrappers


def as_environment(given: "Environment | str") -> Environment:
    """Return an environment that may be given by its id alone."""
    return Environment(given) if isinstance(given, str) else given


def make_single(environment: "Environment | str", render_mode: str | None = None) -> gymnasium.Env:
    """Make one Gymnasium environment with its arguments and time limit, within its wrappers, its observations flat.

    Raises UsageError for arguments that it does not take, and whatever its own code raises.
    """
    environment = as_environment(environment)
    kwargs, entry = plain(environment.kwargs), entry_point(environment.id)
    steps = kwargs.pop(STEPS, None)
    if environment.id in TASKS:
        check_task(environment.id, kwargs)
    elif kwargs or ":" in environment.id or entry in gymnasium.registry:
        spec = gymnasium.spec(entry) if isinstance(entry, str) else entry
        check_names(shown_name(environment.id), creator := _creator(spec), kwargs, spec.kwargs)
    if "xml_file" in kwargs and (environment.id in TASKS or creator.__module__.startswith("gymnasium.")):
        model_path(kwargs["xml_file"])
    if render_mode is not None:  # an environment that cannot be drawn may know no render mode
        kwargs["render_mode"] = render_mode
    env: gymnasium.Env = gymnasium.make(entry, max_episode_steps=steps, **kwargs)
    for name in environment.wrappers:
        env = load_object(name)(env)
        if not isinstance(env, gymnasium.Env):
            raise UsageError(f"--wrappers {name} gives {type(env).__name__}: expected a Gymnasium environment")
    return flattened(environment.id, env)


def entry_point(env_id: str) -> str | EnvSpec:
    """Return what `gymnasium.make` takes for an id: itself, or the specification of a class; imports its module."""
    place, colon, name = env_id.rpartition(":")
    if not colon:
        return env_id
    if env_id not in given_classes:
        load_module(place)
        if name in gymnasium.registry:
            return name
    return EnvSpec(re.sub(r"[^\w:.-]", "_", shown_name(env_id)), entry_point=load_object(env_id))


def shown_name(env_id: str) -> str:
    """Return an id without the folder of its file: the same class in another place."""
    place, colon, name = env_id.rpartition(":")
    return f"{Path(place).name}:{name}" if place.endswith(".py") else env_id


def means(named: str, name: str) -> bool:
    """Whether the user has `named` what a recipe calls `name`: the same, or its class in a file that was moved.

    Such a file is found in its new place from now on.
    """
    if named == name or shown_name(named) != shown_name(name) or Path(split_name(name)[0]).exists():
        return named == name
    moved_files[split_name(name)[0]] = split_name(named)[0]
    if named in given_classes:
        given_classes[name] = given_classes[named]
    return True


def name_now(name: str) -> str:
    """Return the name of a class or an id with the place where its file lies now."""
    place, mark, own = split_name(name)
    return f"{moved_files.get(place, place)}{mark}{own}"


def _creator(spec: EnvSpec) -> Callable[..., Any]:
    found = spec.entry_point
    return load_env_creator(found) if isinstance(found, str) else found  # type: ignore[return-value]


def load_module(place: str) -> ModuleType:
    """Import a module by its name, or a file by its path, once in a process under a name of its own.

    While a file is imported, its folder is searched first for what it imports.
    """
    if not place.endswith(".py"):
        return importlib.import_module(place)
    path = Path(place if Path(place).exists() else moved_files.get(place, place)).resolve()
    name = f"rlsparse_file_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"there is no file {path}")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        with suppress(ValueError):
            sys.path.remove(str(path.parent))
    return module


def split_name(name: str) -> tuple[str, str, str]:
    """Return module or file, the mark after it, and the class of what `load_object` takes."""
    return name.rpartition(":" if ":" in name else ".")


def load_object(name: str) -> Callable[..., Any]:
    """Return the class that is named as "module:Class", "file.py:Class" or "package.module.Class"; imports its module.

    Raises UsageError if there is none of that name.
    """
    if name in given_classes:
        return given_classes[name]
    place, _, attribute = split_name(name)
    module = load_module(place)
    try:
        found = attrgetter(attribute)(module)
    except AttributeError:
        near = nearest(attribute, vars(module))
        hint = f": did you mean {near}?" if near else ""
        raise UsageError(f"{place} has no {attribute}{hint}") from None
    if not callable(found):
        raise UsageError(f"{name} is {type(found).__name__}: expected a class")
    return found  # type: ignore[no-any-return]


def classes(place: str) -> list[str]:
    """Return the names of the environments' classes in a module or file, which is imported."""
    found = vars(load_module(place)).items()
    return [name for name, x in found if isinstance(x, type) and issubclass(x, gymnasium.Env)]


def has_object(name: str) -> bool:
    """Whether there is a class, or what else can be called, of that name in its module, which is imported."""
    try:
        return bool(load_object(name))
    except UsageError:
        return False


def entry_of(cls: Callable[..., gymnasium.Env]) -> str:
    """Return the id by which another process finds a class: "module:Class", or "/folder/script.py:Class".

    This process keeps the class itself, so that a script is not run again. Raises UsageError for a class that cannot be
    imported: one of a notebook, or within a function.
    """
    module, name = sys.modules.get(cls.__module__), getattr(cls, "__qualname__", "")
    place, file = cls.__module__, getattr(module, "__file__", None)
    if place == "__main__" or place.startswith("rlsparse_file_"):
        run_as_module = getattr(module, "__spec__", None) if place == "__main__" else None
        place = run_as_module.name if run_as_module else str(Path(file).resolve()) if file else ""
    try:
        importable = attrgetter(name)(module) is cls
    except AttributeError:
        importable = False
    if not importable or not place:
        raise UsageError(
            f"{name or cls} cannot be imported by another process, which resuming and playing need: write it to a "
            "file, at its top level, or register it by gymnasium.register and name the id"
        )
    given_classes[f"{place}:{name}"] = cls
    return f"{place}:{name}"
