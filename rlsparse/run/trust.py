"""A name in a file decides no import: to run code that is not ours, the command line names it too, or says --trust."""

import shlex
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from rlsparse.errors import EnvironmentFailure, UsageError
from rlsparse.run import cards
from rlsparse.run.foreign import class_named
from rlsparse.run.reading import printable, shorten

if TYPE_CHECKING:
    from rlsparse.sim.environment import Environment

OURS = "gymnasium.wrappers."
"""Wrappers whose code is Gymnasium's own."""


def trust_environment(
    environment: "Environment",
    named: str | None,
    source: Path,
    trust: bool = False,
    wrappers: Sequence[str] | None = None,
) -> None:
    """Raise UsageError for an environment of a file, `source`, whose code is neither ours nor Gymnasium's.

    Such code is run if the command line's own --env, `named`, and --wrappers name the same, or if it says `trust`: then
    a line on stderr says first what is imported. Raises EnvironmentFailure for an id that nothing registers. Arguments
    are plain values, and run nothing.
    """
    known = (named, *map(class_named, wrappers or ()))
    foreign = {name: module for name, module in foreign_code(environment, source).items() if name not in known}
    if foreign and not trust:
        raise UsageError(_refusal(environment, foreign, source))
    for module in dict.fromkeys(foreign.values()):
        names = " and ".join(shorten(name) for name, of in foreign.items() if of == module)
        print(printable(f"{source}: running {_code_of(shorten(module))} for {names}"), file=sys.stderr)


def trust_run(
    run: Path, environment: "Environment", named: str | None, wrappers: Sequence[str] | None, trust: bool
) -> None:
    """Raise UsageError if a run's environment is not what --env and --wrappers name, or nobody trusts its code."""
    from rlsparse.sim.user_classes import means

    if named is not None and not means(cards.resolve_environment(named), environment.id):
        raise UsageError(f"--env {named}: {run} is a run on {environment.id}, and keeps its recipe")
    given, own = tuple(map(class_named, wrappers or ())), environment.wrappers
    if wrappers is not None and (len(given) != len(own) or not all(map(means, given, own))):
        raise UsageError(f"--wrappers: {run} is a run with {' '.join(own) or 'none'}, and keeps its recipe")
    named, wrappers = named and environment.id, wrappers and own
    trust_environment(environment, named, run / "recipe.toml", trust, wrappers)


def _refusal(environment: "Environment", foreign: dict[str, str], source: Path) -> str:
    modules = [shorten(x) for x in dict.fromkeys(foreign.values())]
    parts = [f"the environment {shorten(name)}" for name in foreign if name == environment.id]
    parts += [f"the wrapper {shorten(name)}" for name in foreign if name != environment.id]
    ending, their, them = ("s", "their", "them") if len(modules) > 1 else ("", "its", "it")
    run = f"the module{ending} {' and '.join(modules)} would be imported and {their} code run"
    says = f"{flags_that_name(environment, foreign)} or --trust"
    return f"{source} names {' and '.join(parts)}, for which {run}: if you trust {them}, say so by {says}"


def flags_that_name(environment: "Environment", foreign: dict[str, str]) -> str:
    """Return the flags by which the command line names what an environment makes Python import."""
    from rlsparse.sim.user_classes import name_now

    env = [f"--env {shlex.quote(shorten(name_now(environment.id)))}"] if environment.id in foreign else []
    named = [shlex.quote(shorten(name_now(name))) for name in environment.wrappers]
    wrappers = [f"--wrappers {' '.join(named)}"] if foreign.keys() - {environment.id} else []
    return " ".join(env + wrappers)


def foreign_code(environment: "Environment", source: Path) -> dict[str, str]:
    """Return the module that the id, and each wrapper, makes Python import, by their names; not those known already.

    Raises EnvironmentFailure, naming the file `source`, for an id that nothing registers.
    """
    from rlsparse.sim.user_classes import given_classes, split_name

    module = None if environment.id in given_classes else foreign_module(environment.id, source)
    foreign = {} if module is None else {environment.id: module}
    for name in environment.wrappers:
        if name not in given_classes and (not name.startswith(OURS) or ":" in name or "." in name.removeprefix(OURS)):
            foreign[name] = split_name(name)[0]
    return foreign


def foreign_module(env_id: str, source: Path) -> str | None:
    """Return the module that an id makes Gymnasium import; None where that is its own, or imported already.

    Raises EnvironmentFailure, naming the file `source`, for an id that nothing registers.
    """
    if ":" in env_id:
        return env_id.rpartition(":")[0]
    if env_id in cards.environments():
        return None
    import gymnasium

    if env_id not in gymnasium.registry:
        raise EnvironmentFailure(f"{source} names the environment {shorten(env_id)}, which no package here registers")
    entry = gymnasium.registry[env_id].entry_point
    return entry.partition(":")[0] if isinstance(entry, str) and not entry.startswith("gymnasium.") else None


def _code_of(module: str) -> str:
    """Say what a module is and where it lies, or the package around it: to look further would import that."""
    if module.endswith(".py"):
        return f"the file {Path(module).absolute()}"
    try:
        found = find_spec(module.partition(".")[0])
    except (ImportError, ValueError):
        found = None
    where = found.origin or "a folder without __init__.py" if found else "which is not installed"
    return f"the module {module}, {where},"
