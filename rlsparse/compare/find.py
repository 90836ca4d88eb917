"""What an argument names: run directories, folders of them, files, globs, agent cards, TOML lists."""

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlsparse.errors import UsageError, nearest
from rlsparse.run import cards
from rlsparse.run.cards import AgentCard
from rlsparse.run.reading import printable, read_toml

LOG_FILES = ("progress.csv", "evaluations.npz", "*monitor.csv", "events.out.tfevents.*")

NOT_LOGS = ("tb", "checkpoint", "comparison")
"""Folders of a run directory of ours, which say nothing that its own files do not."""


def read_list(path: Path) -> tuple[list[str], dict[str, list[str]]]:
    """Read a TOML list: `runs`, and `groups` by name, each one path or glob or several, relative to the file."""
    table = read_toml(path)
    groups = table.pop("groups", {})
    runs = table.pop("runs", [])
    if table or not isinstance(groups, dict):
        raise UsageError(f"{path}: expected runs = [...] and a table [groups], each a path, a glob or a list of them")
    return _beside(path, "runs", runs), {printable(name): _beside(path, name, entry) for name, entry in groups.items()}


def _beside(path: Path, name: str, entry: Any) -> list[str]:
    """The paths and globs of one entry, relative to the list where something is there."""
    entries = [entry] if isinstance(entry, str) else entry
    if not isinstance(entries, list) or not all(isinstance(item, str) for item in entries):
        raise UsageError(f"{path}: {name} must be a path, a glob or a list of them")
    near = [str(path.parent / Path(item).expanduser()) for item in entries]
    return [text if os.path.lexists(text) or _glob(text) else item for text, item in zip(near, entries, strict=True)]


def named(argument: str) -> Sequence[Path | AgentCard]:
    """What one argument names: a path, the paths of a glob, or an agent card."""
    name = os.path.expanduser(argument)
    if os.path.exists(name):
        path = Path(name)
        card = path / "card.toml" if path.is_dir() else path
        return [cards.read_agent_card(card) if card.name == "card.toml" and card.is_file() else path]
    matches = sorted(map(Path, _glob(name)), key=natural)
    known = {card.casefold(): card for card in cards.agents()}
    if matches or argument.casefold() in known:
        return matches or [cards.agents()[known[argument.casefold()]]]
    near = nearest(argument.casefold(), known)
    hint = f": did you mean {known[near]}?" if near else ""
    raise UsageError(f"'{argument}' is neither a file, a folder or a glob that matches any, nor an agent card{hint}")


def _glob(pattern: str) -> list[str]:
    try:
        return glob.glob(pattern, recursive=True)
    except (OSError, ValueError):
        return []


def natural(path: Path) -> tuple[tuple[int, str | int], ...]:
    """Sort key that puts run 2 before run 10."""
    pieces = re.split(r"(\d+)", str(path))
    return tuple((1, int(piece)) if piece.isdecimal() and len(piece) < 19 else (0, piece) for piece in pieces)


def is_run(folder: Path) -> bool:
    """Whether a folder is a run directory of ours."""
    names = ("progress.csv", "versions.json", "status.json")
    return os.path.isfile(folder / "recipe.toml") and any(os.path.exists(folder / name) for name in names)


def log_files(folder: Path) -> list[Path]:
    """Return the files of a folder that may hold curves."""
    return [path for pattern in LOG_FILES for path in sorted(folder.glob(pattern), key=natural) if os.path.isfile(path)]


def logs_below(path: Path) -> list[Path]:
    """Return the logs in a folder, however deep, each before those below it; a file is itself the only one."""
    if not path.is_dir():
        return [path]
    found = []
    for folder, names, _ in os.walk(path):
        here = Path(folder)
        run = is_run(here)
        names[:] = [name for name in names if not (name.startswith(".") or (run and name in NOT_LOGS))]
        if run or log_files(here):
            found.append(here)
    return sorted(found, key=natural)
