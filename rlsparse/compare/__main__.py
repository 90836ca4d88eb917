"""`rlsparse compare`, `python -m rlsparse.compare`: reward curves of several runs, with intervals."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from rlsparse.errors import RunDirectoryError, UsageError
from rlsparse.run.command_line import fail_in_one_line, ignore_lost_reader, parse
from rlsparse.run.reading import printable

if TYPE_CHECKING:  # numpy, scipy and plotting are imported once the command line is known to be good
    from rlsparse.compare.comparison import Comparison

PROG = "rlsparse compare"

GOING_ON = ("running", "")
"""States of runs that may still write; logs of other libraries do not say theirs."""


@dataclass(frozen=True)
class CompareFlags:
    """Compare reward curves at equal environment steps, with intervals over seeds.

    An arm is all runs of one method, which differ in their seeds; methods are compared arm by arm. All words:
    docs/glossary.md.
    """

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[RUN...]")] = ()
    """Run directories, folders of them, logs of Stable-Baselines3, rl-zoo or CleanRL, globs, agent cards, or TOML
    lists of these."""
    group: Annotated[tuple[tuple[str, ...], ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="NAME=GLOB...")] = ()
    """Put the runs that a glob names into one arm of this name; may be given several times."""
    out: Path = Path("comparison")
    """Folder for the pictures, report.html, curves.csv and report.json."""
    figure: tuple[str, ...] = ("report.png",)
    """Pictures to draw, as PNG, PDF or SVG by their names' endings."""
    x: Literal["steps", "train-steps", "updates", "seconds"] = "steps"
    """What curves are compared at equal amounts of: train + probe steps, unless chosen otherwise."""
    returns: str = "auto"
    """evaluation, training or a TensorBoard tag; auto is evaluation where a log has it."""
    statistic: Literal["mean", "iqm"] = "mean"
    """What the lines of the picture are: the mean or the interquartile mean over seeds."""
    baseline: str | None = None
    """The arm that all others are tested against, and that normalises returns over environments."""
    threshold: tuple[str, ...] = ()
    """Return whose first reaching is timed, a number or ENVIRONMENT=NUMBER; the lowest final mean if not given."""
    env: str | None = None
    """Only this environment; logs that do not say theirs are taken to be of it."""
    join: bool = False
    """Join logs of one folder of which one begins where another ends: pieces of one run."""
    allow_mixed: bool = False
    """Compare what is not alike, and say on the figure why it is not."""
    watch: bool = False
    """Draw again while runs go on, until they have ended or Ctrl-C."""
    every: float = 10.0
    """Seconds between two drawings of --watch."""
    quiet: bool = False
    """Only write files."""
    json: bool = False
    """Print report.json instead of the tables."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exits with the code of what went wrong, if anything did."""
    with fail_in_one_line():
        run_command(sys.argv[1:] if arguments is None else arguments)


def run_command(arguments: Sequence[str]) -> None:
    """Parse and do what `rlsparse compare` is told."""
    flags = parse(CompareFlags, arguments, prog=PROG)
    if not flags.runs and not any(flags.group):
        raise UsageError("compare what? e.g. rlsparse compare runs/HalfCheetah-v5, or --group NAME=GLOB")
    if not flags.every > 0:
        raise UsageError(f"--every {flags.every}: expected a number of seconds above 0")

    from threadpoolctl import threadpool_limits

    from rlsparse.compare.report import check_pictures

    check_pictures(flags.figure)
    with threadpool_limits(1, "blas"):  # products this small lose more to waking threads than they gain
        while report_once(flags) and flags.watch:
            try:
                time.sleep(flags.every)
            except KeyboardInterrupt:
                return


def report_once(flags: CompareFlags) -> bool:
    """Read, compare, write and print; returns whether a run may still go on.

    Raises RunDirectoryError if there is nothing to compare, which --watch waits for instead.
    """
    from rlsparse.compare.report import write_report

    try:
        comparison = read_and_compare(flags)
    except RunDirectoryError as error:
        if not flags.watch:
            raise
        print(f"rlsparse: {printable(str(error))}", file=sys.stderr)
        return True
    write_report(comparison, flags.out, flags.statistic, flags.figure)
    show(comparison, flags)
    return any(log.state in GOING_ON for log in comparison.logs)


def read_groups(given: Sequence[Sequence[str]]) -> tuple[dict[str, list[str]], list[str]]:
    """Return the globs of each group, and the runs: what follows a --group from the first word without = on.

    Raises UsageError if the first word after a --group is not NAME=GLOB.
    """
    groups: dict[str, list[str]] = {}
    runs: list[str] = []
    for words in given:
        end = next((i for i, word in enumerate(words) if i and "=" not in word), len(words))
        runs += words[end:]
        for entry in words[:end]:
            name, equals, pattern = entry.partition("=")
            if not (name.strip() and equals and pattern):
                raise UsageError(f"--group {entry}: expected NAME=GLOB, such as tuned='runs/HalfCheetah-v5/ppo/2026*'")
            groups.setdefault(name.strip(), []).append(pattern)
    return groups, runs


def read_thresholds(entries: Sequence[str]) -> dict[str, float]:
    """Return the thresholds by environment, "" for all others; raises UsageError for what is no number."""
    from rlsparse.compare.origin import environment_in

    thresholds = {}
    for entry in entries:
        env, _, text = entry.rpartition("=")
        try:
            thresholds[environment_in(env) or env] = float(text)
        except ValueError:
            raise UsageError(f"--threshold {entry}: expected a number, or ENVIRONMENT=NUMBER") from None
    return thresholds


def read_and_compare(flags: CompareFlags, named: Mapping[str, list[str]] | None = None) -> "Comparison":
    """Read all logs and compare them, those of `named` arms too; raises RunDirectoryError if none can be read."""
    from rlsparse.compare.arms import arrange
    from rlsparse.compare.comparison import compare
    from rlsparse.compare.find import read_list
    from rlsparse.compare.logs import NOT_READ, read_logs

    runs: list[str] = []
    thresholds = read_thresholds(flags.threshold)
    patterns, more_runs = read_groups(flags.group)
    patterns |= named or {}
    for run in (*flags.runs, *more_runs):
        if Path(run).suffix == ".toml" and Path(run).name != "card.toml":
            listed, named = read_list(Path(run))
            runs += listed
            for name, globs in named.items():
                patterns.setdefault(name, []).extend(globs)
        else:
            runs.append(run)
    found = read_logs(runs, flags.returns, flags.join)
    members = {name: read_logs(globs, flags.returns, flags.join) for name, globs in patterns.items()}
    remarks = list(dict.fromkeys(text for one in (found, *members.values()) for text in one.remarks))
    if not found.logs and not any(one.logs for one in members.values()):
        if not remarks:
            raise RunDirectoryError(f"there is no log in {', '.join([*runs, *chain(*patterns.values())])}")
        more = f" (and {len(remarks) - 1} more)" if len(remarks) > 1 else ""
        raise RunDirectoryError(f"no log could be read: {remarks[0].removeprefix(NOT_READ)}{more}")
    arms = arrange(found.logs, {name: one.logs for name, one in members.items() if one.logs}, flags.env)
    return compare(arms, flags.x, flags.baseline, thresholds, flags.allow_mixed, remarks)


def show(comparison: "Comparison", flags: CompareFlags) -> None:
    """Print the report and where it was written."""
    from rlsparse.compare.account import account
    from rlsparse.compare.report import FILES, text

    with ignore_lost_reader(sys.stdout):
        if flags.json:
            print(json.dumps(account(comparison)))
        elif not flags.quiet:
            if flags.watch and sys.stdout.isatty():
                print("\x1b[2J\x1b[H", end="")
            written = printable(f"{flags.out}: {', '.join([*flags.figure, *FILES])}")
            print(f"{text(comparison)}\n\n{written}")


if __name__ == "__main__":
    main()
