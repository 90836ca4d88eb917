"""The logs that a command line means: run directories, folders of them, files, globs, agent cards, TOML lists."""

import glob
import os
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rlsparse.compare import own_logs
from rlsparse.compare.foreign_logs import event_logs, foreign_logs
from rlsparse.compare.origin import origin_of_files
from rlsparse.compare.record import Log, UnreadableLog
from rlsparse.errors import RlsparseError, UsageError, nearest
from rlsparse.run import cards
from rlsparse.run.cards import AgentCard

RETURNS = {"auto": "returns", "evaluation": "evaluation returns", "training": "training returns"}
"""What may be wanted of a log: evaluation returns where there are any (auto), one kind, or a TensorBoard tag."""

NOT_READ = "not read: "

LOG_FILES = ("progress.csv", "evaluations.npz", "monitor.csv", "*.monitor.csv", "events.out.tfevents.*")


@dataclass
class Found:
    """What was read."""

    logs: list[Log] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    """One sentence per log that could not be read."""
    repeated: list[str] = field(default_factory=list)
    """One sentence per log that was named more than once, and read once."""

    @property
    def remarks(self) -> list[str]:
        """What a report says of it."""
        return [f"{NOT_READ}{text}" for text in self.unreadable] + self.repeated


def read_logs(arguments: Sequence[str], wanted: str = "auto") -> Found:
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
                    found.repeated.append(f"{path} was named more than once and counts once")
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
    """The paths and globs of one entry, relative to the list where something is there."""
    entries = [entry] if isinstance(entry, str) else entry
    if not isinstance(entries, list) or not all(isinstance(item, str) for item in entries):
        raise UsageError(f"{path}: {name} must be a path, a glob or a list of them")
    near = [str(path.parent / Path(item).expanduser()) for item in entries]
    return [text if os.path.lexists(text) or _glob(text) else item for text, item in zip(near, entries, strict=True)]


def _named(argument: str) -> Sequence[Path | AgentCard]:
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


def _card_logs(card: AgentCard) -> list[Log]:
    """The curves that ship with an agent card, one log per environment."""
    logs = []
    for path in sorted(card.path.parent.rglob("curve.csv"), key=natural):
        env = path.parent.relative_to(card.path.parent).as_posix()
        log = own_logs.read_progress_file(path, f"{card.name} (shipped)", env)
        logs.append(replace(log, kind="agent card"))
    if not logs:
        raise UsageError(f"the agent card {card.name} ships no curve yet")
    return logs


def natural(path: Path) -> tuple[tuple[int, str | int], ...]:
    """Sort key that puts run 2 before run 10."""
    pieces = re.split(r"(\d+)", str(path))
    return tuple((1, int(piece)) if piece.isdecimal() and len(piece) < 19 else (0, piece) for piece in pieces)


def is_run(folder: Path) -> bool:
    """Whether a folder is a run directory of ours."""
    names = ("progress.csv", "versions.json", "status.json")
    return (folder / "recipe.toml").is_file() and any((folder / name).exists() for name in names)


def log_files(folder: Path) -> list[Path]:
    """Return the files of a folder that may hold curves."""
    return [path for pattern in LOG_FILES for path in sorted(folder.glob(pattern), key=natural) if path.is_file()]


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


def read_path(path: Path, wanted: str) -> Log:
    """Read one log, a run directory of ours, the folder of a foreign run or a single file.

    Raises UnreadableLog (or its parent).
    """
    if path.name == "progress.csv" and is_run(path.parent):
        path = path.parent
    if is_run(path):
        log = own_logs.read_run(path, training=wanted == "training")
        return log if wanted in RETURNS else _tagged(log, wanted)
    if path.is_dir():
        return read_files(path, log_files(path), wanted)
    if path.suffix in (".csv", ".npz") or path.name.startswith("events.out.tfevents."):
        return read_files(path, [path], wanted)
    expected = "a run directory, progress.csv, monitor.csv, evaluations.npz or TensorBoard events"
    raise UnreadableLog(f"{path} is no log: expected {expected}")


def _tagged(log: Log, tag: str) -> Log:
    """A run of ours with the values of a TensorBoard tag instead of its returns."""
    curves = []
    for folder in sorted((log.path / "tb").glob("seed-*"), key=natural):
        found = next(event_logs(log_files(folder), (tag,), tag), None)
        if found is not None and folder.name[5:].isdecimal():
            curves.append(replace(found.curves[0], seed=int(folder.name[5:]), spent={}))
    if not curves:
        raise UnreadableLog(f"{log.path} holds no TensorBoard tag {tag}")
    return replace(log, curves=tuple(curves), measure=f"TensorBoard tag {tag}", episodes=(), missing=())


def read_files(path: Path, files: list[Path], wanted: str) -> Log:
    """Read the wanted returns out of the files of one run, whose path is `path`. Raises UnreadableLog."""
    origin = origin_of_files(path, files)
    for file in files if wanted in RETURNS else []:
        if file.suffix == ".csv" and own_logs.is_progress(file):
            log = own_logs.read_progress_file(file, origin.agent, origin.env, wanted == "training")
            return replace(log, path=path, kind="rlsparse progress.csv")
    for log in foreign_logs(files, wanted):
        (curve,) = log.curves
        if len(curve.returns):
            curves = (replace(curve, seed=origin.seed),)
            return replace(log, path=path, agent=origin.agent, env=origin.env, curves=curves)
    raise UnreadableLog(f"{path} holds no {RETURNS.get(wanted, f'TensorBoard tag {wanted}')} yet")
