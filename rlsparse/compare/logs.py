"""The logs that a command line means: run directories, folders of them, files, globs, agent cards, TOML lists."""

import difflib
import glob
import os
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rlsparse.compare import own
from rlsparse.compare.folder import Wanted, is_run, log_files, natural, read_files, read_folder
from rlsparse.compare.record import Log, UnreadableLog
from rlsparse.errors import RlsparseError, UsageError
from rlsparse.run import cards
from rlsparse.run.cards import AgentCard


@dataclass
class Found:
    """What was read."""

    logs: list[Log] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    """One sentence per log that could not be read."""
    repeated: list[Path] = field(default_factory=list)
    """What was named more than once, and read once."""


def read_logs(arguments: Sequence[str], wanted: Wanted = "auto") -> Found:
    """Read every log that the arguments name; raises UsageError for one that names nothing."""
    found, seen = Found(), set()
    for argument in arguments:
        for item in _named(argument):
            if isinstance(item, AgentCard):
                found.logs += [log for log in _card_logs(item) if log.path not in seen]
                seen |= {log.path for log in found.logs}
                continue
            for path in _logs_below(item):
                real = path.resolve()
                if real in seen:
                    found.repeated.append(path)
                    continue
                seen.add(real)
                try:
                    found.logs.append(read_path(path, wanted))
                except RlsparseError as error:
                    found.unreadable.append(str(error))
    return found


def read_list(path: Path) -> tuple[list[str], dict[str, list[str]]]:
    """Read a TOML list: `runs`, and `groups` by name, each one path or glob or several, relative to the file."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(f"{path}: not a TOML file: {error}") from error
    groups = table.pop("groups", {})
    runs = table.pop("runs", [])
    if table or not isinstance(groups, dict):
        raise UsageError(f"{path}: expected runs = [...] and a table [groups], each a path, a glob or a list of them")
    return _beside(path, "runs", runs), {name: _beside(path, name, entry) for name, entry in groups.items()}


def _beside(path: Path, name: str, entry: Any) -> list[str]:
    entries = [entry] if isinstance(entry, str) else entry
    if not isinstance(entries, list) or not all(isinstance(item, str) for item in entries):
        raise UsageError(f"{path}: {name} must be a path, a glob or a list of them")
    near = [str(path.parent / Path(item).expanduser()) for item in entries]
    return [text if _exists(text) else item for text, item in zip(near, entries, strict=True)]


def _exists(text: str) -> bool:
    return os.path.lexists(text) or bool(glob.glob(text, recursive=True))


def _named(argument: str) -> Iterator[Path | AgentCard]:
    """What one argument names: a path, the paths of a glob, or an agent card."""
    path = Path(argument).expanduser()
    try:
        exists = bool(argument) and path.exists()
    except (OSError, ValueError):
        exists = False
    if exists:
        card = path / "card.toml" if path.is_dir() else path
        yield cards.read_agent_card(card) if card.name == "card.toml" and card.is_file() else path
        return
    matches = sorted((Path(match) for match in _glob(os.path.expanduser(argument))), key=natural)
    if matches:
        yield from matches
        return
    known = {card.casefold(): card for card in cards.agents()}
    if argument.casefold() in known:
        yield cards.agents()[known[argument.casefold()]]
        return
    near = difflib.get_close_matches(argument.casefold(), known, 1)
    hint = f", nor an agent card: did you mean {known[near[0]]}?" if near else ", nor an agent card"
    raise UsageError(f"'{argument}' is neither a file, a folder or a glob that matches any{hint}")


def _glob(pattern: str) -> list[str]:
    try:
        return glob.glob(pattern, recursive=True)
    except (OSError, ValueError):
        return []


def _logs_below(path: Path) -> Iterator[Path]:
    """The logs in a folder, however deep; a path that is a log, or a file, is itself the only one."""
    if not path.is_dir() or is_run(path) or log_files(path):
        yield path
        return
    below = []
    for folder, names, _ in os.walk(path):
        names[:] = [name for name in names if not name.startswith(".")]
        if is_run(Path(folder)) or log_files(Path(folder)):
            below.append(Path(folder))
            names.clear()
    yield from sorted(below, key=natural)


def read_path(path: Path, wanted: Wanted) -> Log:
    """Read one log, a folder or a single file; raises UnreadableLog (or its parent)."""
    if path.is_dir():
        return read_folder(path, wanted)
    if not (path.suffix in (".csv", ".npz") or path.name.startswith("events.out.tfevents.")):
        raise UnreadableLog(
            f"{path} is no log: expected a run directory, progress.csv, monitor.csv, evaluations.npz or TensorBoard "
            "events"
        )
    if path.name == "progress.csv" and is_run(path.parent):
        return read_folder(path.parent, wanted)
    return read_files(path, [path], wanted)


def _card_logs(card: AgentCard) -> list[Log]:
    """The curves that ship with an agent card, one log per environment."""
    logs = []
    for path in sorted(card.path.parent.rglob("curve.csv"), key=natural):
        env = path.parent.relative_to(card.path.parent).as_posix()
        log = own.read_progress_file(path, f"{card.name} (shipped)", env)
        logs.append(replace(log, kind="agent card"))
    if not logs:
        raise UsageError(f"the agent card {card.name} ships no curve yet")
    return logs
