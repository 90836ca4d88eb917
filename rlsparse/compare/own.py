"""Curves of our own making: run directories, agent cards' curve.csv, and the progress.csv beside SB3's files."""

import contextlib
import os
import socket
import tomllib
from pathlib import Path
from typing import Any

import numpy as np

from rlsparse.compare.delimited import Table, parse_table, read_bytes, whole_lines
from rlsparse.compare.record import EVALUATION, PROBES_COUNTED, TRAINING, Axis, Curve, Log, UnreadableLog, rising
from rlsparse.run import cards
from rlsparse.run.directory import read_json

REQUIRED = ("seed", "total_steps", "train_steps", "probe_steps", "return_mean")
KNOWN = (*REQUIRED, "eval_steps", "seconds", "episodes", "train_return_mean")

DECIDES_ENVIRONMENT = ("simulator", "gymnasium", "mujoco", "mujoco-warp", "envpool", "backend")
"""Packages, and the simulator where a run names one, that decide what an environment computes."""


def is_progress(header: str) -> bool:
    """Whether a CSV header is that of our progress.csv."""
    return set(REQUIRED) <= {cell.strip() for cell in header.split(",")}


def read_run(path: Path, training: bool = False) -> Log:
    """Read a run directory: evaluation returns, or the training returns beside them. Raises UnreadableLog."""
    settings = _flat(_toml(path / "recipe.toml"))
    versions = read_json(path / "versions.json") if (path / "versions.json").exists() else {}
    status = read_json(path / "status.json") if (path / "status.json").exists() else {}
    env = settings.get("env")
    seeds = _seeds(settings)
    updates = _steps_per_update(settings)
    progress = path / "progress.csv"
    curves: tuple[Curve, ...] = ()
    episodes: tuple[int, ...] = ()
    if progress.exists() and (lines := whole_lines(read_bytes(progress))):
        curves, episodes = _curves(_table(lines, progress), progress, training, updates)
    packages = versions.get("packages")
    known = {**packages, **versions} if isinstance(packages, dict) else versions
    found = {curve.seed for curve in curves}
    return Log(
        path=path,
        kind="rlsparse run",
        agent=str(versions.get("agent") or path.parent.name),
        env=env if isinstance(env, str) else None,
        measure=TRAINING if training else EVALUATION,
        accounting=PROBES_COUNTED,
        curves=curves,
        missing=tuple(seed for seed in seeds if seed not in found),
        state=_state(status),
        reason=str(status.get("reason", "")),
        settings=settings,
        versions={name: str(known[name]) for name in DECIDES_ENVIRONMENT if name in known},
        episodes=episodes,
        started=str(versions.get("started", "")),
    )


def read_progress_file(path: Path, agent: str, env: str | None, training: bool = False) -> Log:
    """Read a progress.csv, or a copy of one under another name, that lies alone. Raises UnreadableLog."""
    curves, episodes = _curves(_table(whole_lines(read_bytes(path)), path), path, training, None)
    if not curves:
        raise UnreadableLog(f"{path} has no rows yet")
    return Log(
        path=path,
        kind="rlsparse curve",
        agent=agent,
        env=env,
        measure=TRAINING if training else EVALUATION,
        accounting=PROBES_COUNTED,
        curves=curves,
        episodes=episodes,
    )


def _table(lines: list[str], path: Path) -> Table:
    table = parse_table(lines, path, KNOWN)
    if table.damaged:  # which the program that writes these files never leaves
        raise UnreadableLog(f"{path} is damaged at line {table.damaged[0]}")
    return table


def _curves(
    table: Table, path: Path, training: bool, steps_per_update: float | None
) -> tuple[tuple[Curve, ...], tuple[int, ...]]:
    """Return the curve of every seed, and the numbers of episodes behind its points."""
    seed, total, train, probe, evaluation = table.require(path, *REQUIRED)
    if not all(np.isfinite(x).all() and (x >= 0).all() for x in (seed, total, train, probe)):
        raise UnreadableLog(f"{path} has a seed or a number of steps that is not a count")
    returns = table.require(path, "train_return_mean")[0] if training else evaluation
    against: dict[Axis, np.ndarray] = {"steps": total, "train-steps": train}
    if "seconds" in table.columns:
        against["seconds"] = table.columns["seconds"]
    if steps_per_update:
        against["updates"] = train / steps_per_update
    curves = []
    for member in np.unique(seed):
        rows = np.flatnonzero(seed == member)
        rows = rows[rising(total[rows], np.arange(len(rows)))[1]]
        if training:  # no episode has ended yet
            rows = rows[np.isfinite(returns[rows])]
        spent = {name: int(x[rows].max(initial=0)) for name, x in (("train", train), ("probe", probe))}
        if "eval_steps" in table.columns:
            spent["eval"] = int(np.nan_to_num(table.columns["eval_steps"][rows]).max(initial=0))
        finite = int(np.argmin(np.append(np.isfinite(returns[rows]), False)))
        broken = "" if finite == len(rows) else f"its return is not finite at {total[rows[finite]]:,.0f} steps"
        rows = rows[:finite]
        axes = {name: x[rows] for name, x in against.items()}
        curves.append(Curve(int(member), axes, returns[rows], spent, broken))
    episodes = np.unique(table.columns.get("episodes", np.array([])))
    return tuple(curves), tuple(int(n) for n in episodes if np.isfinite(n))


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_bytes(path).decode())
    except ValueError as error:
        raise UnreadableLog(f"{path} is damaged: {error}") from error


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in table.items():
        flat.update(_flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value})
    return flat


def _count(settings: dict[str, Any], name: str) -> int:
    value = settings.get(name)
    return value if isinstance(value, int) and 0 <= value < 2**53 else 0


def _seeds(settings: dict[str, Any]) -> range:
    first = _count(settings, "seed")
    return range(first, first + min(_count(settings, "num_seeds"), 2**16))


def _steps_per_update(settings: dict[str, Any]) -> int | None:
    return _count(settings, "num_envs") * _count(settings, "rollout_length") or None


def _state(status: dict[str, Any]) -> str:
    """The state in status.json; a run that says it is running, but whose process is gone, was killed."""
    state, pid = str(status.get("state", "")), status.get("pid")
    if state == "running" and status.get("host") == socket.gethostname() and isinstance(pid, int) and pid > 0:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return "killed"
        except (OSError, OverflowError):
            pass
    return state


def environment_in(name: str) -> str | None:
    """Return the id of a card that a file or folder name means, or None."""
    with contextlib.suppress(Exception):
        return cards.environment(name).id
    return None
