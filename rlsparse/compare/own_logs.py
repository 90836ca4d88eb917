"""Curves of our own making: run directories, agent cards' curve.csv, and the progress.csv beside SB3's files."""

import hashlib
import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rlsparse.compare.record import (
    EVALUATION,
    MOST_STEPS,
    PROBES_COUNTED,
    TRAINING,
    Curve,
    Log,
    UnreadableLog,
    rising,
)
from rlsparse.compare.table import lines_of, parse_long_table, read_whole_lines
from rlsparse.errors import UsageError
from rlsparse.run.digests import first_flaw
from rlsparse.run.extension import extensions, in_force
from rlsparse.run.naming import EXTENDED, OF_ENVIRONMENT, flat
from rlsparse.run.reading import MOST_OF_TABLE, MOST_TOML, parse_toml, read_json, read_text

REQUIRED = ("seed", "total_steps", "train_steps", "probe_steps", "return_mean")
KNOWN = (*REQUIRED, "eval_steps", "seconds", "episodes", "train_return_mean")

MOST_SEEDS = 2**10
LONGEST_TEXT = 300
"""What no run exceeds: seeds, characters of a name or a setting."""

DECIDES_ENVIRONMENT = ("simulator", "gymnasium", "mujoco", "mujoco-warp", "envpool", "backend")
"""Packages, and the simulator where a run names one, that decide what an environment computes."""


def read_progress(path: Path, training: bool = False) -> list[Log]:
    """Read a CSV file that has the header of our progress.csv; nothing if it has another. Raises UnreadableLog."""
    header = next(lines_of(read_whole_lines(path, MOST_OF_TABLE)), "")
    if not set(REQUIRED) <= {cell.strip() for cell in header.split(",")}:
        return []
    return [replace(read_progress_file(path, "", None, training), kind="rlsparse progress.csv")]


def read_run(path: Path, training: bool = False) -> Log:
    """Read a run directory: evaluation returns, or the training returns beside them. Raises RunDirectoryError.

    Files that say by a digest what was in them are refused if it is no longer.
    """
    versions, status, summary = (
        read_json(path / f"{name}.json") if (path / f"{name}.json").exists() else {}
        for name in ("versions", "status", "summary")
    )
    settings = _settings(path, versions.get("recipe_sha256"))
    env, packages, files = settings.get("env"), versions.get("packages"), versions.get("files")
    progress = path / "progress.csv"
    steps_per_update = _count(settings, "num_envs") * _count(settings, "rollout_length")
    rows = read_whole_lines(progress, MOST_OF_TABLE) if progress.exists() else b""
    curves, episodes = _curves(rows, progress, training, steps_per_update) if rows else ((), ())
    if status.get("state") == "finished" and not training:
        _refuse_another_end(progress, curves, summary.get("seeds"))
    seeds = range(_count(settings, "seed"), _count(settings, "seed") + min(_count(settings, "num_seeds"), MOST_SEEDS))
    known = {**packages, **versions} if isinstance(packages, dict) else versions
    return Log(
        path=path,
        kind="rlsparse run",
        agent=_text(versions.get("agent")) or path.parent.name,
        env=_environment(_text(env)) or None,
        measure=TRAINING if training else EVALUATION,
        accounting=PROBES_COUNTED,
        curves=curves,
        missing=tuple(sorted(set(seeds) - {curve.seed for curve in curves})),
        state=_state(status),
        reason=_text(status.get("reason")),
        settings=settings,
        versions={name: x for name in DECIDES_ENVIRONMENT if (x := _text(known.get(name)))},
        files={_text(name): _text(x) for name, x in files.items()} if isinstance(files, dict) else {},
        episodes=episodes,
        started=_text(versions.get("started")),
    )


def _refuse_another_end(path: Path, curves: tuple[Curve, ...], told: Any) -> None:
    """Raise UnreadableLog if rows are missing at the end, by what summary.json tells of each seed."""
    rows = [row for row in told if isinstance(row, dict)] if isinstance(told, list) else []
    for seed, steps in ((row.get("seed"), row.get("train_steps")) for row in rows):
        known = isinstance(seed, int) and isinstance(steps, int)
        if known and steps not in [curve.spent["train"] for curve in curves if curve.seed == seed]:
            raise UnreadableLog(f"{path} does not end where summary.json says, at step {steps} of seed {seed}")


def _environment(env_id: str) -> str:
    """The id, or the class of a file whose folder is another on every machine."""
    if ".py:" not in env_id:
        return env_id
    from rlsparse.sim.user_classes import shown_name

    return shown_name(env_id)


def _text(value: Any) -> str:
    """A text, as long as a report can show it, or nothing."""
    return value[:LONGEST_TEXT] if isinstance(value, str) else ""


def _settings(run: Path, digest: Any) -> dict[str, Any]:
    """The recipe by dotted name, if it is what `digest` says, where there is one, or what it became by extensions."""
    path = run / "recipe.toml"
    text = read_text(path, MOST_TOML)
    found = hashlib.sha256(text.encode()).hexdigest()
    extended = in_force(extensions(run), found)
    if isinstance(digest, str) and found != digest and not extended:
        raise UnreadableLog(f"{path} is not as it was written, by its digest in versions.json")
    try:
        settings = flat(parse_toml(text, str(path)))
    except UsageError as error:  # which would be about the command line
        raise UnreadableLog(str(error)) from error
    own = [pair for pair in settings.items() if not pair[0].startswith(OF_ENVIRONMENT)]
    if any(len(str(x)) > LONGEST_TEXT for pair in own for x in pair):
        raise UnreadableLog(f"{path} is damaged: a setting has more than {LONGEST_TEXT} characters")
    return settings | ({EXTENDED: "-".join(str(x.before) for x in extended)} if extended else {})


def read_progress_file(path: Path, agent: str, env: str | None, training: bool = False) -> Log:
    """Read a progress.csv, or a copy of one under another name, that lies alone. Raises UnreadableLog."""
    curves, episodes = _curves(read_whole_lines(path, MOST_OF_TABLE), path, training)
    if not curves:
        raise UnreadableLog(f"{path} has no rows yet")
    measure = TRAINING if training else EVALUATION
    return Log(path, "rlsparse curve", agent, env, measure, curves, PROBES_COUNTED, episodes=episodes)


def _curves(
    content: bytes, path: Path, training: bool, steps_per_update: int = 0
) -> tuple[tuple[Curve, ...], tuple[int, ...]]:
    """Return the curve of every seed, and the numbers of episodes behind its points."""
    if flaw := first_flaw(lines_of(content)):
        raise UnreadableLog(f"{path} is not as it was written, by the digest of line {flaw}")
    table = parse_long_table(lines_of(content), path, KNOWN)
    if table.damaged:  # which the program that writes these files never leaves
        raise UnreadableLog(f"{path} is damaged at line {table.damaged[0]}")
    seed, total, train, probe, evaluation = table.require(path, *REQUIRED)
    if not all(((x >= 0) & (x < MOST_STEPS)).all() for x in (seed, total, train, probe)):
        raise UnreadableLog(f"{path} has a seed or a number of steps that is not a count")
    returns = table.require(path, "train_return_mean")[0] if training else evaluation
    against: dict[Any, np.ndarray] = {"steps": total, "train-steps": train}
    if "seconds" in table.columns:
        against["seconds"] = table.columns["seconds"]
    if steps_per_update:
        against["updates"] = train / steps_per_update
    counted = {"train": train, "probe": probe, "eval": table.columns.get("eval_steps")}
    curves = []
    if len(np.unique(seed)) > MOST_SEEDS:
        raise UnreadableLog(f"{path} has more than {MOST_SEEDS:,} seeds")
    for member in np.unique(seed):
        rows = np.flatnonzero(seed == member)
        rows = rows[rising(total[rows], np.arange(len(rows)))[1]]
        if training:  # no episode has ended yet
            rows = rows[np.isfinite(returns[rows])]
        spent = {name: int(np.nan_to_num(x[rows]).max(initial=0)) for name, x in counted.items() if x is not None}
        finite = int(np.argmin(np.append(np.isfinite(returns[rows]), False)))
        broken = "" if finite == len(rows) else f"its return is not finite at {total[rows[finite]]:,.0f} steps"
        rows = rows[:finite]
        curves.append(Curve(int(member), {name: x[rows] for name, x in against.items()}, returns[rows], spent, broken))
    episodes = np.unique(table.columns.get("episodes", np.array([])))
    return tuple(curves), tuple(int(n) for n in episodes if np.isfinite(n))


def _count(settings: dict[str, Any], name: str) -> int:
    value = settings.get(name)
    return value if isinstance(value, int) and 0 <= value < 2**53 else 0


def _state(status: dict[str, Any]) -> str:
    """The state in status.json; a run that says it is running, but whose process is gone, was killed."""
    state, pid = str(status.get("state", "")), status.get("pid")
    asks = hasattr(os, "killpg")  # on Windows the signal 0 is Ctrl-C
    if asks and state == "running" and status.get("host") == socket.gethostname() and isinstance(pid, int) and pid > 0:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return "killed"
        except (OSError, OverflowError):
            pass
    return state
