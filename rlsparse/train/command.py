"""`rlsparse train`: train an agent, or resume a run."""

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlsparse.errors import RlsparseError, UsageError
from rlsparse.run import cards, choose
from rlsparse.run.command_line import fail_in_one_line, ignore_lost_reader, values
from rlsparse.run.flags import ASKED, ResumeFlags, TrainFlags, resume_flags, train_flags
from rlsparse.run.newest import newest_unfinished
from rlsparse.run.reading import read_json
from rlsparse.run.recipe import Recipe, to_toml
from rlsparse.run.reporters import callbacks_of
from rlsparse.run.stop import Stop, StopSignal
from rlsparse.train.training import announce, how_to_resume, planned, reopen, start, train

if TYPE_CHECKING:  # simulation is imported once the command line is known to be good
    from rlsparse.run.session import Session


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exits with the code of what went wrong, if anything did."""
    with fail_in_one_line():
        run_command(sys.argv[1:] if arguments is None else arguments)


def run_command(arguments: Sequence[str]) -> None:
    """Parse and do what `rlsparse train` is told."""
    if "resume" in values(["resume"], arguments):
        _resume_command(resume_flags(arguments))
        return
    agent, recipe, flags = train_flags(arguments)
    _check_shipped_curve(flags.compare_with, recipe)
    plan = planned(*choose.as_asked(recipe, flags.like, values(ASKED, arguments)), flags)
    if flags.dry_run:
        print(f"{to_toml(plan.recipe)}\n{plan.text}")
        return
    with StopSignal() as stop:
        _tell_end(start(plan, agent, flags, flags.callbacks, stop), stop, flags)


def _resume_command(flags: ResumeFlags) -> None:
    with StopSignal() as stop:
        told = callbacks_of(flags.callbacks, stop.ask)
        opened = reopen(flags)
        if opened.run.complete:
            opened.run.release()
            other = newest_unfinished(flags.resume)
            hint = f"; the newest run in {flags.resume} that is not: {other}" if other else ""
            announce(f"{opened.run.given} is finished: nothing is left to do{hint}", flags.quiet)
            _tell_result(read_json(opened.run.path / "summary.json"), opened.run.given, flags.json)
            return
        _tell_end(train(opened, stop, told, flags.quiet, resumed=True, strict=flags.strict), stop, flags)


def _check_shipped_curve(agent: str | None, recipe: Recipe) -> None:
    """Raise UsageError if there is nothing to compare with, before hours are spent on it."""
    if agent is not None and cards.agent(agent).curve_path(recipe.env) is None:
        raise UsageError(f"--compare-with {agent}: it ships no curve on {recipe.env}")
    if agent is not None and (recipe.env_kwargs or recipe.wrappers):
        raise UsageError(f"--compare-with {agent}: its curve is of {recipe.env} without --env-kwargs and --wrappers")


def _tell_end(session: "Session", stop: Stop, flags: TrainFlags | ResumeFlags) -> None:
    """Print how a run ended; one that was stopped by a signal exits with its code."""
    run, steps = session.run, session.total_steps
    if run.state == "interrupted":
        by = "" if stop.received else f" by {stop.reason}"
        how = how_to_resume(run.given, session.recipe)
        how += f" --callbacks {shlex.join(flags.callbacks)}" if flags.callbacks else ""
        announce(f"stopped{by} at {steps:,} steps; go on with: {how}", quiet=False)
        _tell_result({"state": "interrupted", "total_steps": steps}, run.given, flags.json)
        sys.exit(128 + stop.received if stop.received else 0)
    summary = read_json(run.path / "summary.json")
    pictures = [run.given / "curve.png", *_beside_card(run.given, flags)]
    if not (flags.quiet or flags.json):
        from rlsparse.compare.summary import table

        with ignore_lost_reader(sys.stdout):
            print(f"\n{table(summary)}\n\nreward curve: {', '.join(map(str, pictures))}")
    _tell_result(summary, run.given, flags.json)


def _tell_result(result: dict[str, Any], path: Path, as_json: bool) -> None:
    """Print the last line on stdout, which names the run directory."""
    with ignore_lost_reader(sys.stdout):
        print(json.dumps({**result, "run_dir": str(path)}) if as_json else path)


def _beside_card(run: Path, flags: TrainFlags | ResumeFlags) -> list[Path]:
    """Draw the shipped curve that was asked for beside the run's own; a failure costs only the picture."""
    if not isinstance(flags, TrainFlags) or flags.compare_with is None:
        return []
    from rlsparse.compare.beside_card import draw_beside_card

    try:
        return [draw_beside_card(run, cards.agent(flags.compare_with))]
    except RlsparseError as error:
        announce(f"no comparison with {flags.compare_with}: {error}", quiet=False)
        return []
