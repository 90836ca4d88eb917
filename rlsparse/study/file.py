"""study.toml: a study as a file, which is data: it names cards, environments and numbers."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from rlsparse.run.convert import Reader
from rlsparse.run.reading import read_toml
from rlsparse.study.fields import nested
from rlsparse.study.given import Given


@dataclass(frozen=True)
class StudyFile:
    """The keys of a study file that are no fields of recipes."""

    envs: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    arms: dict[str, Any] = field(default_factory=dict)
    """By name, tables of an agent and what differs from it."""
    sweep: dict[str, Any] = field(default_factory=dict)
    """Lists of values."""
    like: str | None = None


KEYS = tuple(f.name for f in fields(StudyFile))


def read_given(path: Path) -> Given:
    """Return what a study file says; raises UsageError, with the nearest key, for what it cannot say."""
    table, source = read_toml(path), str(path)
    own = {key: x for key, x in table.items() if key in KEYS}
    read = Reader(source).build(StudyFile, own)
    rest = nested({key: x for key, x in table.items() if key not in own}, source, beside=KEYS)
    return Given(read.envs, read.agents, read.arms or None, read.sweep or None, rest, read.like)
