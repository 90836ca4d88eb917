"""Where the runs of a study lie: <out>/<environment>/<arm>[/<setting>]/seeds-<first>-<last>."""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rlsparse.errors import UsageError
from rlsparse.study.fields import short_name

LONGEST = 100
"""Most characters of a setting's text; of a longer one some are cut, and told apart by its digest."""

SEEDS = re.compile(r"seeds-(\d{1,16})-(\d{1,16})")
"""Name of a run directory."""


def setting_text(setting: Mapping[str, Any]) -> str:
    """Return the name of a setting's folder: its values by the short names of fields, in alphabetical order.

    `setting` are the values in the recipe by dotted name.
    """
    words = sorted(f"{value_text(short_name(name))}={value_text(x)}" for name, x in setting.items())
    return _cut(",".join(words))


def setting_label(setting: Mapping[str, Any]) -> str:
    """Return a setting in words, for tables: "learning_rate 0.001, gamma 0.99"."""
    return ", ".join(f"{short_name(name)} {value_text(x)}" for name, x in setting.items())


def value_text(x: Any) -> str:
    """Return a plain value as a text that can be part of a file's name; different values have different texts."""
    if x is None or isinstance(x, bool):
        return {None: "none", True: "true", False: "false"}[x]
    if isinstance(x, int | float):
        return str(x)
    if isinstance(x, list | tuple) and all(isinstance(item, int | float) for item in x):
        return "x".join(map(value_text, x)) or "empty"
    if isinstance(x, dict) and "kind" in x:
        return f"{x['kind']}-{_digest(json.dumps(x, sort_keys=True, default=str))}"
    text = x if isinstance(x, str) else json.dumps(x, sort_keys=True, default=str)
    safe = re.sub(r"[^\w.+-]+", "-", text)
    return safe if safe == text and len(text) <= LONGEST // 2 else f"{safe[: LONGEST // 4]}-{_digest(text)}"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 9]}-{_digest(text)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def seeds_folder(first: int, last: int) -> str:
    """Return the name of the run directory of these seeds."""
    return f"seeds-{first}-{last}"


def ranges_of_seeds(folder: Path, wanted: range) -> list[range]:
    """Return the seeds of each run directory that a setting has or needs, the lowest first, so that all are `wanted`.

    Runs that lie in `folder` keep their seeds, those that nobody wants now beside the others too; what is missing goes
    into further ones. Raises UsageError where a seed lies in two of them.
    """
    there = sorted(
        (x for x in _ranges_in(folder) if x.start < wanted.stop and wanted.start < x.stop), key=lambda x: x.start
    )
    for one, other in zip(there, there[1:], strict=False):
        if other.start < one.stop:
            both = " and ".join(seeds_folder(x[0], x[-1]) for x in (one, other))
            raise UsageError(f"{folder}: {both} have seeds in common: remove one of them")
    return sorted([*there, *_gaps(wanted, there)], key=lambda x: x.start)


def _ranges_in(folder: Path) -> Iterable[range]:
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        found = SEEDS.fullmatch(name)
        if found and int(found[1]) <= int(found[2]) and os.path.isfile(folder / name / "recipe.toml"):
            yield range(int(found[1]), int(found[2]) + 1)


def _gaps(wanted: range, there: Iterable[range]) -> Iterable[range]:
    first = wanted.start
    for x in there:
        if first < x.start:
            yield range(first, x.start)
        first = max(first, x.stop)
    if first < wanted.stop:
        yield range(first, wanted.stop)
