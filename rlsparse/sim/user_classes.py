"""Classes and modules that a user names: "module:Class", "/folder/file.py:Class"; imported once in a process."""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from contextlib import suppress
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

from rlsparse.errors import UsageError, nearest

given_classes: dict[str, Callable[..., Any]] = {}
"""Classes that this process has been given as objects, by their entries: their files are not imported again."""

moved_files: dict[str, str] = {}
"""Where files lie now that are no longer in the place by which a recipe names them, by that place."""


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


def has_object(name: str) -> bool:
    """Whether there is a class, or what else can be called, of that name in its module, which is imported."""
    try:
        return bool(load_object(name))
    except UsageError:
        return False


def entry_of(cls: Callable[..., Any]) -> str:
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
