"""`rlsparse compare`, `python -m rlsparse.compare`: reward curves of several runs, with intervals."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from rlsparse.command_line import fail_in_one_line, parse


@dataclass(frozen=True)
class CompareFlags:
    """Compare reward curves at equal environment steps."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")] = ()
    """Run directories, folders of them, logs of other libraries, globs, agent cards, TOML lists."""
    out: Path = Path("comparison")
    """Folder that report.png is written into."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exits with the code of what went wrong, if anything did."""
    with fail_in_one_line():
        run_command(sys.argv[1:] if arguments is None else arguments)


def run_command(arguments: Sequence[str]) -> None:
    """Parse and do what `rlsparse compare` is told."""
    flags = parse(CompareFlags, arguments, prog="rlsparse compare")
    from rlsparse.comparison.arms import arrange
    from rlsparse.comparison.compared import compare
    from rlsparse.curves.find import read_logs
    from rlsparse.report.figure import draw_report, save
    from rlsparse.report.text import report

    found = read_logs(flags.runs)
    comparison = compare(arrange(found.logs, {}))
    flags.out.mkdir(parents=True, exist_ok=True)
    save(draw_report(comparison), flags.out / "report.png", {"runs": comparison.runs})
    print(report(comparison))


if __name__ == "__main__":
    main()
