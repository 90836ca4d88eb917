"""One log out of whatever files lie in a folder, and what its path says about agent, environment and seed."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rlsparse.compare import foreign_logs as sb3_logs
from rlsparse.compare import own, tensorboard_logs
from rlsparse.compare.delimited import read_bytes, whole_lines
from rlsparse.compare.record import (
    EVALUATION,
    PROBES_COUNTED,
    PROBES_UNKNOWN,
    TRAINING,
    Axis,
    Curve,
    Log,
    UnreadableLog,
    rising,
)
from rlsparse.run.directory import read_json

Wanted = str
"""evaluation, training, auto (evaluation where there is one), or a TensorBoard tag."""


RETURNS = ("auto", "evaluation", "training")


@dataclass(frozen=True)
class Origin:
    """Who was trained on what, from which seed, as far as a path or a file says."""

    agent: str
    env: str | None
    seed: int | None


@dataclass(frozen=True)
class _Found:
    kind: str
    measure: str
    points: sb3_logs.Points
    accounting: str = PROBES_UNKNOWN
    episodes: tuple[int, ...] = ()
    remarks: tuple[str, ...] = ()


def is_run(folder: Path) -> bool:
    """Whether a folder is a run directory of ours."""
    return (folder / "recipe.toml").is_file() and any(
        (folder / name).exists() for name in ("progress.csv", "versions.json", "status.json")
    )


def log_files(folder: Path) -> list[Path]:
    """Return the files of a folder that may hold curves."""
    patterns = ("progress.csv", "evaluations.npz", "monitor.csv", "*.monitor.csv", "events.out.tfevents.*")
    return [path for pattern in patterns for path in sorted(folder.glob(pattern), key=natural) if path.is_file()]


def natural(path: Path) -> tuple[tuple[int, str | int], ...]:
    """Sort key that puts run 2 before run 10."""
    pieces = re.split(r"(\d+)", str(path))
    return tuple((1, int(piece)) if piece.isdecimal() and len(piece) < 19 else (0, piece) for piece in pieces)


def read_folder(folder: Path, wanted: Wanted) -> Log:
    """Read a run directory of ours, or the folder of one foreign run. Raises UnreadableLog (or its parent)."""
    if is_run(folder):
        log = own.read_run(folder, training=wanted == "training")
        return log if wanted in RETURNS else _tagged(log, wanted)
    return read_files(folder, log_files(folder), wanted)


def _tagged(log: Log, tag: str) -> Log:
    """A run of ours with the values of a TensorBoard tag instead of its returns."""
    curves = []
    for folder in sorted((log.path / "tb").glob("seed-*"), key=natural):
        found = next(_events(log_files(folder), (tag,), str), None)
        if found is not None and folder.name[5:].isdecimal():
            axes, values = _finite(found.points)
            curves.append(Curve(int(folder.name[5:]), axes, values))
    if not curves:
        raise UnreadableLog(f"{log.path} holds no TensorBoard tag {tag}")
    return replace(log, curves=tuple(curves), measure=f"TensorBoard tag {tag}", episodes=(), missing=())


def read_files(path: Path, files: list[Path], wanted: Wanted) -> Log:
    """Read the wanted returns out of the files of one run, whose path is `path`."""
    origin = _logged_origin(origin_of(path), files, path)
    for file in files:
        if _header_is_ours(file) and wanted in RETURNS:
            log = own.read_progress_file(file, origin.agent, origin.env, wanted == "training")
            return replace(log, path=path, kind="rlsparse progress.csv")
    for found in _candidates(files, wanted):
        axes, returns = _finite(found.points)
        if len(returns):
            return _log(path, origin, found, axes, returns)
    what = {"auto": "returns", "evaluation": "evaluation returns", "training": "training returns"}
    raise UnreadableLog(f"{path} holds no {what.get(wanted, f'TensorBoard tag {wanted}')} yet")


def _header_is_ours(file: Path) -> bool:
    if file.suffix != ".csv":
        return False
    lines = whole_lines(read_bytes(file))
    return bool(lines) and own.is_progress(lines[0])


def _finite(points: sb3_logs.Points) -> sb3_logs.Points:
    """Points in the order of their steps, without those that are not finite."""
    axes, returns = points
    _, rows = rising(axes["steps"], np.arange(len(returns)))
    rows = rows[np.isfinite(returns[rows])]
    return {name: values[rows] for name, values in axes.items()}, returns[rows]


def _log(path: Path, origin: Origin, found: _Found, axes: dict[Axis, np.ndarray], returns: np.ndarray) -> Log:
    spent = {"train": int(axes["train-steps"][-1])} if "train-steps" in axes else {}
    return Log(
        path=path,
        kind=found.kind,
        agent=origin.agent,
        env=origin.env,
        measure=found.measure,
        accounting=found.accounting,
        curves=(Curve(origin.seed, axes, returns, spent),),
        episodes=found.episodes,
        remarks=found.remarks,
    )


def _candidates(files: list[Path], wanted: Wanted) -> Iterator[_Found]:
    """The curves that the files may hold, best first."""
    if wanted in ("auto", "evaluation"):
        yield from _evaluation(files)
    if wanted in ("auto", "training"):
        yield from _training(files)
    if wanted not in RETURNS:
        yield from _events(files, (wanted,), lambda tag: f"TensorBoard tag {tag}")


def _evaluation(files: list[Path]) -> Iterator[_Found]:
    for file in files:
        if file.suffix == ".npz":
            points, episodes = sb3_logs.read_evaluations(file)
            yield _Found("SB3 evaluations.npz", EVALUATION, points, episodes=(episodes,))
    yield from _progress(files, "evaluation", EVALUATION)
    yield from _events(files, tensorboard_logs.EVALUATION_TAGS, lambda tag: EVALUATION)


def _training(files: list[Path]) -> Iterator[_Found]:
    monitors = [file for file in files if file.name.endswith("monitor.csv")]
    if monitors:
        points, remarks = sb3_logs.read_monitors(monitors)
        yield _Found("SB3 monitor.csv", TRAINING, points, remarks=tuple(remarks))
    yield from _progress(files, "training", TRAINING)
    yield from _events(files, tensorboard_logs.TRAINING_TAGS, lambda tag: TRAINING)


def _progress(files: list[Path], returns: str, measure: str) -> Iterator[_Found]:
    for file in files:
        if file.suffix == ".csv" and not file.name.endswith("monitor.csv"):
            read = sb3_logs.read_progress(file, returns)
            if read is not None:
                points, counted, damaged = read
                accounting = PROBES_COUNTED if counted else PROBES_UNKNOWN
                remarks = (f"{file}: line {damaged[0]} is damaged and left out",) if damaged else ()
                yield _Found("SB3 progress.csv", measure, points, accounting, remarks=remarks)


def _events(files: list[Path], tags: tuple[str, ...], measure: Callable[[str], str]) -> Iterator[_Found]:
    events = [file for file in files if file.name.startswith("events.out.tfevents.")]
    if events and (read := tensorboard_logs.read_events(events, tags)):
        tag, points = read
        yield _Found(f"TensorBoard {tag}", measure(tag), points)


SEED_NAME = re.compile(r"(?:^|[_\-. ])(?:seed|s)[_\-=]?(\d{1,18})$|^(\d{1,18})$", re.IGNORECASE)
CLEANRL_NAME = re.compile(r"(.+)__(.+)__(\d{1,18})__\d+")
COUNTED_NAME = re.compile(r"(.+)_\d+")
ENVIRONMENT_ID = re.compile(r"[\w:/.-]*\w-v\d+")


def origin_of(path: Path) -> Origin:
    """Read what a path says: CleanRL's env__agent__seed__time, rl-zoo's agent/env_1, or .../agent/env/seed_1."""
    names = path.absolute().parts[:0:-1]
    if names and (match := CLEANRL_NAME.fullmatch(names[0])):
        return Origin(match[2], match[1], int(match[3]))
    seed, env, agent = None, None, None
    for depth, name in enumerate(names):
        name = Path(name).stem if depth == 0 and path.suffix in (".csv", ".npz") else name
        if depth < 2 and seed is None and (match := SEED_NAME.search(name)):
            seed = int(match[1] or match[2])
            name = name[: match.start()]
        elif depth == 0 and (match := COUNTED_NAME.fullmatch(name)):
            name = match[1]
        if env is None and depth < 4 and (found := _environment_id(name)):
            env = found
        elif agent is None and name and name not in UNTELLING_NAMES:
            agent = name
    return Origin(agent or path.name, env, seed)


UNTELLING_NAMES = {
    "progress",
    "monitor",
    "evaluations",
    "curve",
    "tb",
    "logs",
    "log",
    "eval",
    "train",
    "results",
    "runs",
}


def _environment_id(name: str) -> str | None:
    return own.environment_in(name) or (name if ENVIRONMENT_ID.fullmatch(name) else None)


ZOO_SEED = re.compile(r"- seed\n\s*- (\d{1,18})\n")


def _logged_origin(origin: Origin, files: list[Path], path: Path) -> Origin:
    """What the files themselves say goes before what the path says."""
    monitors = [file for file in files if file.name.endswith("monitor.csv")]
    if monitors:
        env = sb3_logs.monitored_environment(monitors[0])
        origin = replace(origin, env=env or origin.env)
    for arguments in sorted(path.glob("*/args.yml")) if path.is_dir() else []:
        match = ZOO_SEED.search(read_bytes(arguments).decode("utf-8", "replace"))
        origin = replace(origin, seed=int(match[1]) if match else origin.seed)
    if path.is_dir() and (path / "versions.json").is_file():
        agent = read_json(path / "versions.json").get("agent")
        origin = replace(origin, agent=str(agent) if agent else origin.agent)
    return origin
