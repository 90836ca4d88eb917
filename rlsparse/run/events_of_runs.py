"""`rlsparse tensorboard`: TensorBoard's events of runs that were trained without it, from their tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Annotated

import tyro

from rlsparse.errors import RunDirectoryError, UsageError, import_extra
from rlsparse.run.command_line import fail_in_one_line, parse
from rlsparse.run.newest import begun, runs_below
from rlsparse.run.storage import make_folder, write_atomic
from rlsparse.sparse.masks import METRICS

TAGS = {
    "return_mean": "eval/mean_reward",
    "length_mean": "eval/mean_ep_length",
    "coverage": "eval/coverage",
    "train_return_mean": "rollout/ep_rew_mean",
    "policy_loss": "train/policy_gradient_loss",
    "action_std": "train/std",
}
"""Of columns of progress.csv; any other is train/<column>, or sparse/<column>."""

NO_TAG = ("seed", "entropy", "total_steps", "train_steps", "eval_steps", "probe_steps", "seconds", "episodes", "digest")
PROBE = ("accepted", "probability", "best_score", "incumbent_score", "steps", "probe_steps")
OURS = "events.out.tfevents.0000000000.from_tables"

Point = tuple[int, float, dict[str, float]]
"""Step, time (s since 1970), numbers by tag."""


@dataclass(frozen=True)
class TensorBoardFlags:
    """Write TensorBoard events into runs that have none, from their progress.csv and probe.csv."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[RUN...]")] = ()
    """Run directories, finished or not, or folders that hold some."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    with fail_in_one_line():
        flags = parse(TensorBoardFlags, arguments, prog="rlsparse tensorboard")
        import_extra("tensorboard", "tb", "rlsparse tensorboard")
        if not flags.runs:
            raise UsageError("which runs? e.g. rlsparse tensorboard runs")
        for path in flags.runs:
            if not (runs := runs_below(path)):
                raise RunDirectoryError(f"{path} holds no run: expected a folder with a recipe.toml in it or below it")
            for run in runs:
                print(f"{run}: {write_events(run)}")


def write_events(run: Path) -> str:
    """Write what the tables of a run tell as events of each seed; return what was done, in words."""
    from rlsparse.run.tensorboard import encoded

    if not (run / "progress.csv").is_file():
        return "nothing is evaluated yet"
    by_seed = _points(run)
    for seed, points in by_seed.items():
        folder = run / "tb" / f"seed-{seed}"
        if (run / "tb").is_symlink() or folder.is_symlink():
            raise RunDirectoryError(f"{folder} is reached through a link, and a run is not written through links")
        if any(file.name != OURS for file in folder.glob("*tfevents*")):
            return "tb/ has events of its training; remove it to write them anew from the tables"
        make_folder(folder, "make the folder")
        write_atomic(folder / OURS, encoded(points))
    seeds = f"{len(by_seed)} seed{'s' * (len(by_seed) != 1)}"
    return f"events of {seeds} are in tb/: tensorboard --logdir {run}"


def _points(run: Path) -> dict[int, list[Point]]:
    """Return what is told of each seed in the order of steps; a probe's time is that of the evaluation before it."""
    from rlsparse.run.directory import read_progress, read_table  # which bring networks

    found: dict[int, list[Point]] = {}
    began = begun(run)
    for row in read_progress(run / "progress.csv"):
        told = {tag(name): x for name, x in row.items() if name not in NO_TAG} | {"train/entropy_loss": -row["entropy"]}
        found.setdefault(int(row["seed"]), []).append((int(row["total_steps"]), began + row["seconds"], told))
    for probe in read_table(run / "probe.csv") if (run / "probe.csv").is_file() else []:
        told = {f"probe/{name}": float(probe[name]) for name in PROBE}
        found[int(probe["seed"])].append((int(probe["total_steps"]), began, told))
    for points in found.values():
        points.sort(key=lambda point: point[0])
        times = accumulate((time for _, time, _ in points), max)
        points[:] = [(step, time, told) for (step, _, told), time in zip(points, times, strict=True)]
    return found


def tag(column: str) -> str:
    """Return the tag of a column of progress.csv, that of training where it has one."""
    return TAGS.get(column, f"{'sparse' if column in METRICS else 'train'}/{column}")
