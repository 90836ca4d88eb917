"""study.toml: a study as a file, which is data: it names cards, environments and numbers."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from rlsparse.run.convert import Reader
from rlsparse.run.reading import read_toml
from rlsparse.study.fields import nested, wrong
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

FLAGS = (
    *("out", "jobs", "on", "part", "device", "trust", "keep_checkpoints", "checkpoint_every", "env_timeout"),
    *("explore_workers", "dry_run", "watch", "quiet", "json"),
)
"""What says how a study is carried out, and so is no part of it."""


def read_given(path: Path) -> Given:
    """Return what a study file says; raises UsageError, with the nearest key, for what it cannot say."""
    table, source = read_toml(path), str(path)
    for key in (key for key in table if key.replace("-", "_") in FLAGS):
        raise wrong(source, f"{key} says how a study is carried out, and is a flag: --{key.replace('_', '-')}")
    own = {key: x for key, x in table.items() if key in KEYS}
    read = Reader(source).build(StudyFile, own)
    rest = nested({key: x for key, x in table.items() if key not in own}, source, beside=KEYS)
    return Given(read.envs, read.agents, read.arms or None, read.sweep or None, rest, read.like)
