"""What can go wrong for a user, each with the exit code of the command line."""

import difflib
from collections.abc import Iterable
from importlib import import_module
from typing import Any, TypeVar

C = TypeVar("C")

BROKEN = (Exception, SystemExit)
"""What code of others may raise, at its import too."""


class RlsparseError(Exception):
    """A failure told in one sentence; the command line prints it and exits with `exit_code`."""

    exit_code = 1


class UsageError(RlsparseError):
    """A bad flag, card, recipe or combination of them."""

    exit_code = 2


class EnvironmentFailure(RlsparseError):
    """An environment that cannot be built, or that raised while stepping."""

    exit_code = 3


def require(holds: bool, name: str, given: object, expected: str) -> None:
    """Raise UsageError about the recipe's field `name`, dots between components, unless the rule holds."""
    if not holds:
        raise UsageError(f"--{name.replace('_', '-')} is {given}: expected {expected}")


def import_extra(module: str, extra: str, what: str) -> Any:
    """Import a package that an extra brings; raises UsageError, which says `what` needs it, and what is wrong."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise UsageError(f"{what} needs {error.name}: pip install 'rlsparse[{extra}]'") from error
    except BROKEN as error:
        raise UsageError(f"{what} needs {module}, which is installed but fails with {in_one_line(error)}") from error


def listed(name: str, given: Iterable[C]) -> Iterable[C]:
    """Return what the argument `name` is given; raises UsageError for a text, and for one thing instead of a list."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise UsageError(f"{name} must be a list, as in {name}=[...], not {given!r}")
    return given


def in_one_line(error: BaseException) -> str:
    """Return kind and message of an error as one line."""
    try:
        message = str(error)
    except Exception:
        message = "it has no message"
    return " ".join(f"{type(error).__name__}: {message}".split()).removesuffix(":")


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the one of the `known` names that is most like a mistyped one, None if none is alike enough."""
    return next(iter(difflib.get_close_matches(name[:100], list(known), 1, cutoff)), None)


class UnsupportedEnvironment(UsageError):
    """An environment whose spaces the library does not handle."""


class RunDirectoryError(RlsparseError):
    """A run directory, checkpoint or policy file that cannot be used."""

    exit_code = 4


class DivergenceError(RlsparseError):
    """A number that is NaN or infinite where training needs a finite one; `member` says whose, where it is known."""

    exit_code = 5

    def __init__(self, message: str, member: int | None = None) -> None:
        super().__init__(message)
        self.member = member


class StorageError(RlsparseError):
    """A file that could not be written."""

    exit_code = 6


class Interrupted(RlsparseError):
    """Training was told to stop, and has saved."""
