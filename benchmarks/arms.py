"""Arms of a learning benchmark: what they are, how they are trained, and how their curves are kept.

- An arm is a dict of what `rlsparse.sweep` takes: an agent card, fields of the recipe, and under "environments" what
  differs there.
- `rlsparse.sweep` trains all arms on all environments as ordinary run directories, below runs/benchmarks or --out. It
  goes on where it was stopped.
- The curves of finished runs are kept in benchmarks/results or --results, as <benchmark>/<steps>/<arm>/<env>.csv. Those
  that are published are committed; a seed that has a curve there is not trained again.
- Reports read the kept curves alone (tables.py); `rlsparse compare` reads the run directories.
"""

import argparse
import csv
import io
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from tables import CurveFile, finals

import rlsparse
from rlsparse.run import cards, digests
from rlsparse.run.command_line import fail_in_one_line
from rlsparse.run.storage import write_atomic

Arms = Mapping[str, Mapping[str, Any]]
"""What an arm asks of `rlsparse.sweep`, by its name."""

RESULTS = Path(__file__).parent / "results"
RUNS = Path("runs") / "benchmarks"


def of_cards(agents: Iterable[str]) -> Arms:
    """Return the arms that are agent cards and nothing else."""
    return {agent: {"agent": agent} for agent in agents}


def train(arms: Arms, envs: Sequence[str], seeds: range, kept: Path, **asked: Any) -> list[str]:
    """Train the seeds that the kept curves lack, and keep theirs; returns why runs failed.

    What else is `asked` goes to `rlsparse.sweep`, such as `out` and `jobs`.
    """
    failures: list[str] = []
    for (first, names), lacking in missing(arms, envs, seeds, curves_in(kept)).items():
        chosen = {name: arms[name] for name in names}
        study = {"envs": lacking, "arms": chosen, "seed": first, "num_seeds": seeds.stop - first}
        result = rlsparse.sweep(**study, **asked)
        for run in result.runs:
            keep(run.path, curves_in(kept)(run.arm, run.recipe.env))
        failures += (f"{x.label} on {x.env}: {x.state} {x.reason}" for x in result.failures)
    return failures


def curves_in(folder: Path) -> CurveFile:
    """Return where the kept curves of one budget are."""
    return lambda arm, env: folder / arm / f"{environment_name(env)}.csv"


def environment_name(env: str) -> str:
    """Return what to call an environment: its id, or its class where that is in a file."""
    return env.rpartition(":")[2]


def missing(
    arms: Iterable[str], envs: Sequence[str], seeds: range, curve_file: CurveFile
) -> dict[tuple[int, tuple[str, ...]], list[str]]:
    """Return where seeds are missing: the environments, by the first missing seed and the arms that miss it there."""
    found: dict[tuple[int, tuple[str, ...]], list[str]] = {}
    for env in envs:
        firsts = {arm: first_missing(curve_file(arm, env), seeds.start) for arm in arms}
        for first in sorted({first for first in firsts.values() if first in seeds}):
            found.setdefault((first, tuple(arm for arm in firsts if firsts[arm] == first)), []).append(env)
    return found


def first_missing(curve: Path, start: int = 0) -> int:
    """Return the first seed from `start` on that a curve lacks, which need not exist."""
    there = finals(curve) if curve.exists() else {}
    return next(seed for seed in count(start) if seed not in there)


def keep(run: Path, curve: Path) -> None:
    """Add what a run's seeds earned to the curve of the others; and its account of probes, without single scores."""
    curve.parent.mkdir(parents=True, exist_ok=True)
    add_rows(run / "progress.csv", curve)
    if (run / "probe.csv").exists():
        add_rows(run / "probe.csv", curve.with_suffix(".probe.csv"), without=("scores", "errors"))


def add_rows(source: Path, target: Path, without: Sequence[str] = ()) -> None:
    """Add a run's rows to those of other seeds, in one step; "nan" stands for what only the others tell.

    Digests, which are of a run's own file, are left out.
    """
    rows = [*csv.DictReader(target.open(newline=""))] if target.exists() else []
    there = {row["seed"] for row in rows}
    rows += [row for row in csv.DictReader(source.open(newline="")) if row["seed"] not in there]
    names = dict.fromkeys(name for row in rows for name in row if name not in (*without, digests.COLUMN))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="nan", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(target, text.getvalue())


@fail_in_one_line()
def main(
    doc: str | None,
    name: str,
    arms: Iterable[str],
    envs: Sequence[str],
    ask: Callable[[argparse.Namespace], Arms],
    report: Callable[[Path], None],
    first_seed: int = 0,
    **usual: int,
) -> None:
    """Do what the command line says: train what is to be asked for its arms, and report every budget."""
    parser = flags(doc, arms, envs, **usual)
    parser.add_argument("what", choices=("run", "report"))
    asked = parser.parse_args()
    if asked.what == "run":
        run(asked, ask(asked), f"{name}/{asked.steps}", first_seed, total_steps=asked.steps)
    for folder in budgets(asked.results / name):
        report(folder)


def flags(
    doc: str | None, arms: Iterable[str], envs: Sequence[str], steps: int = 1_000_000, num_seeds: int = 5
) -> argparse.ArgumentParser:
    """Return the parser of what benchmarks of several arms take."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=steps, help="environment steps of each seed")
    parser.add_argument("--arms", nargs="*", default=list(arms), choices=list(arms), metavar="ARM")
    return with_runs(parser, envs, num_seeds)


def with_runs(parser: argparse.ArgumentParser, envs: Sequence[str], num_seeds: int) -> argparse.ArgumentParser:
    """Add what every benchmark takes that trains."""
    known = {environment_name(env): env for env in envs}
    choice = {"type": lambda name: known.get(name) or cards.resolve_environment(name), "metavar": "ENV"}
    parser.add_argument("--envs", nargs="*", default=envs, **choice)
    parser.add_argument("--num-seeds", type=int, default=num_seeds)
    parser.add_argument("--jobs", type=int, help="processes that train at once")
    parser.add_argument("--on", help="where they run, such as ray: this machine if not given")
    parser.add_argument("--out", type=Path, help="folder of the run directories; in runs/benchmarks if not given")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the curves that are kept and reported")
    return parser


def run(asked: argparse.Namespace, arms: Arms, name: str, first_seed: int = 0, **fields: Any) -> None:
    """Train what the command line asks for and keep the curves; exits with 1 if runs failed, and says why."""
    fields |= where(asked, name)
    seeds = range(first_seed, first_seed + asked.num_seeds)
    if failures := train(arms, asked.envs, seeds, asked.results / name, **fields):
        sys.exit("\n".join(["these runs failed; what others earned is kept:", *failures]))


def where(asked: argparse.Namespace, name: str) -> dict[str, Any]:
    """Return what the command line says of how a sweep is carried out, and that it tells its progress."""
    return {"out": asked.out or RUNS / name, "jobs": asked.jobs, "on": asked.on, "quiet": False}


def budgets(folder: Path) -> list[Path]:
    """Return the folders of kept curves, the smallest number of steps first."""
    return sorted((x for x in folder.glob("[0-9]*") if x.is_dir()), key=lambda x: int(x.name))
