"""study.toml: a study as a file, which is data: it names cards, environments and numbers."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from rlsparse.errors import UsageError, nearest
from rlsparse.run.convert import Reader
from rlsparse.run.reading import read_toml, shorten
from rlsparse.study.fields import known_fields
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
    top = {name for name in known_fields() if "." not in name} - {"env"}
    for key in table.keys() - own.keys():
        if key.replace("-", "_").partition(".")[0] not in top:
            raise UsageError(f"{source}: unknown key {shorten(key)}: {_hint(key, top)}")
    read = Reader(source).build(StudyFile, own)
    rest = {key: x for key, x in table.items() if key not in own}
    return Given(read.envs, read.agents, read.arms or None, read.sweep or None, rest, read.like)


def _hint(key: str, top: set[str]) -> str:
    known = [*KEYS, *sorted(top)]
    ends = {name.rpartition(".")[2]: name for name in reversed(known_fields())}
    plain = key.replace("-", "_")
    near = {"env": "envs", "agent": "agents"}.get(plain) or ends.get(plain) or nearest(plain, known)
    near = near or ends.get(nearest(plain, ends) or "")
    return f"did you mean {near}?" if near else f"known are {', '.join(known)}"
