"""Read every log that a command line names, whatever wrote it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from rlsparse.compare import own_logs
from rlsparse.compare.find import is_run, log_files, logs_below, named, natural
from rlsparse.compare.foreign_logs import Reader, event_logs, readers
from rlsparse.compare.monitors import is_monitor
from rlsparse.compare.origin import origin_of_files
from rlsparse.compare.record import Log, UnreadableLog, some
from rlsparse.compare.same_run import join_pieces
from rlsparse.errors import RlsparseError, RunDirectoryError, UsageError
from rlsparse.run.cards import AgentCard

RETURNS = {"auto": "returns", "evaluation": "evaluation returns", "training": "training returns"}
"""What may be wanted of a log: evaluation returns where there are any (auto), one kind, or a TensorBoard tag."""

NOT_READ = "not read: "


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


def read_logs(arguments: Sequence[str], wanted: str = "auto", join: bool = False) -> Found:
    """Read every log that the arguments name, pieces of a run as one if they are to be joined.

    Raises UsageError for an argument that names nothing.
    """
    found, seen = Found(), set()
    for argument in arguments:
        for item in named(argument):
            before = len(found.logs)
            if isinstance(item, AgentCard):
                found.logs += [log for log in _card_logs(item) if log.path not in seen]
                seen |= {log.path for log in found.logs}
            else:
                _read_below(item, partial(read_path, wanted=wanted, join=join), found, seen)
            found.logs[before:] = [replace(log, argument=argument) for log in found.logs[before:]]
    found.logs = join_pieces(found.logs) if join else found.logs
    return found


def _read_below(item: Path, read: Callable[[Path], list[Log]], found: Found, seen: set[Path]) -> None:
    """Read the logs in a folder; those below another log only if they are of the same kind of return."""
    measures: dict[Path, str] = {}
    unlike: dict[Path, list[Path]] = {}
    for path in logs_below(item):
        real = path.resolve()
        if real in seen:
            found.repeated.append(f"{path} was named more than once and counts once")
            continue
        seen.add(real)
        try:
            logs = read(path)
        except (RlsparseError, RecursionError, MemoryError) as error:
            found.unreadable.append(str(error) if isinstance(error, RlsparseError) else f"{path} exhausts the memory")
            continue
        above = next((folder for folder in path.parents if folder in measures), None)
        if above and logs[0].measure != measures[above]:
            unlike.setdefault(above, []).append(path)
            seen.remove(real)
        else:
            measures[path] = logs[0].measure
            found.logs += logs
    for above, paths in unlike.items():
        found.unreadable.append(
            f"{some(paths)}, below {above}, whose returns are of another kind (name them alone, or choose by --returns)"
        )


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


def read_path(path: Path, wanted: str, join: bool = False) -> list[Log]:
    """Read one log: a run directory of ours, the folder of a foreign run or a single file.

    A folder may hold several trainings, each a log. Raises UnreadableLog (or its parent).
    """
    if path.name == "progress.csv" and is_run(path.parent):
        path = path.parent
    if is_run(path):
        log = own_logs.read_run(path, training=wanted == "training")
        return [log if wanted in RETURNS else _tagged(log, wanted)]
    if path.is_dir():
        return read_files(path, log_files(path), wanted, join)
    if path.suffix in (".csv", ".npz") or path.name.startswith("events.out.tfevents."):
        return read_files(path, [path], wanted, join)
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


def read_files(path: Path, files: list[Path], wanted: str, join: bool = False) -> list[Log]:
    """Read the best of the wanted returns that the files of one folder, `path`, hold. Raises UnreadableLog."""
    tables = [file for file in files if file.suffix == ".csv" and not is_monitor(file)] if wanted in RETURNS else []
    ours: list[Reader] = [partial(own_logs.read_progress, file, wanted == "training") for file in tables]
    failures: list[str] = []
    for read in (*ours, *readers(files, wanted, join)):
        try:
            logs = [log for log in read() if any(len(curve.returns) for curve in log.curves)]
        except RunDirectoryError as error:
            failures.append(str(error))
            continue
        if logs:
            return [_told_by_its_place(log, path if len(logs) == 1 else log.path, files, failures) for log in logs]
    if failures:
        raise UnreadableLog(f"{failures[0]}{f' (and {len(failures) - 1} more)' * (len(failures) > 1)}")
    returns = RETURNS.get(wanted, f"TensorBoard tag {wanted}")
    raise UnreadableLog(f"{path} holds no {returns} yet, or under no name that is known")


def _told_by_its_place(log: Log, path: Path, files: list[Path], failures: list[str]) -> Log:
    """The same log with what its path and the files beside it say."""
    origin = origin_of_files(path, files)
    curves = tuple(curve if curve.seed is not None else replace(curve, seed=origin.seed) for curve in log.curves)
    env, failed = log.env or origin.env, "; ".join(dict.fromkeys(failures))
    return replace(log, path=path, agent=origin.agent, env=env, curves=curves, instead_of=failed)
