"""The study that Python code asks for, by the arguments of `rlsparse.sweep`."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlsparse.errors import UsageError, listed
from rlsparse.run import from_python
from rlsparse.run.reading import shorten
from rlsparse.study.file import read_given
from rlsparse.study.given import SOURCE, Given, over, resolved
from rlsparse.study.study import Study


def study_from_arguments(
    envs: Sequence[str | Callable[..., Any]] | str = (),
    agents: Sequence[str] | str = (),
    arms: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    trust: bool = False,
    study: str | os.PathLike[str] | None = None,
    **fields: Any,
) -> Study:
    """Return the study that `rlsparse.sweep` is asked for, over the `study` of a file, if one is given.

    Raises UsageError for names that there are not, with the nearest one, and for what is empty, or there twice.
    """
    given = Given(
        envs=tuple(filter(None, map(from_python.class_name, _several("envs", envs)))),
        agents=tuple(from_python.text("agents", x) for x in _several("agents", agents)),
        arms=_table("arms", arms),
        sweep=_table("settings", settings),
        like=None if fields.get("like") is None else from_python.text("like", fields["like"]),
        fields={name: x for name, x in fields.items() if name != "like"},
    )
    if study is None:
        return resolved(given, SOURCE, device, trust)
    return resolved(over(read_given(Path(study)), given, str(study), trust), str(study), device, trust)


def _table(name: str, given: Any) -> dict[str, Any] | None:
    if given is None or isinstance(given, Mapping):
        return dict(given) if given else None
    raise UsageError(f"{name} must be a dict, not {shorten(repr(given))}")


def _several(name: str, given: Any) -> Iterable[Any]:
    """Return what one thing, or a list of them, holds."""
    return (given,) if isinstance(given, str) or callable(given) else listed(name, given)
