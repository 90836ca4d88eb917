"""A name in a file decides no import: to run code that is not ours, the command line names it too, or says --trust."""

import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

from rlsparse.errors import EnvironmentFailure, UsageError
from rlsparse.run import cards
from rlsparse.run.reading import printable, shorten


def trust_environment(env_id: str, named: str | None, source: Path, trust: bool = False) -> str:
    """Return the id that a file, `source`, gives, unless its code is neither ours nor Gymnasium's.

    Such code is run if the command line's own --env, `named`, is the same, or if it says `trust`: then a line on stderr
    says first what is imported. Raises UsageError otherwise, EnvironmentFailure for an id that nothing registers.
    """
    if env_id == named or (module := foreign_module(env_id, source)) is None:
        return env_id
    shown, module = shorten(env_id), shorten(module)
    if not trust:
        raise UsageError(
            f"{source} names the environment {shown}, for which the module {module} would be imported and its code "
            f"run: if you trust it, say so by --env {shlex.quote(shown)} or --trust"
        )
    line = f"{source}: running the module {module}, {_file_of(module)}, for {shown}"
    print(printable(line), file=sys.stderr)
    return env_id


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


def _file_of(module: str) -> str:
    """Return where a module's code lies, or the package around it: to look further would import that."""
    if module.endswith(".py"):
        return str(Path(module).absolute())
    try:
        found = find_spec(module.partition(".")[0])
    except (ImportError, ValueError):
        found = None
    return found.origin or "a folder without __init__.py" if found else "which is not installed"
