"""`rlsparse train`, `python -m rlsparse.train`: from a command line to a trained agent and its curve."""

import argparse
import json
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import tyro

from rlsparse import cards
from rlsparse.command_line import fail_in_one_line, outlive_reader, parse
from rlsparse.errors import Interrupted, RlsparseError, UsageError
from rlsparse.recipe import Recipe, check, from_dict, to_toml

if TYPE_CHECKING:  # simulation and plotting are imported once the command line is known to be good
    from rlsparse.loop import Session

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class TrainFlags:
    """Train an agent; the run directory keeps its curve, its policy and all it needs to be resumed."""

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    agent: str | None = None
    """Agent card whose recipe is the default; the environment card's own if not given."""
    out: Path = Path("runs")
    """Folder in which run directories are made."""
    run_dir: Path | None = None
    """Exactly this run directory instead."""
    resume: Path | None = None
    """Go on with this run; its recipe cannot be changed."""
    device: Device = "auto"
    """Where networks live; auto is the CPU, which is faster for networks of this size."""
    compare_with: str | None = None
    """Agent card whose shipped curve is drawn beside the run's own at the end."""
    dry_run: bool = False
    """Print the resolved recipe, rollouts, updates and steps, and do nothing."""
    quiet: bool = False
    """No progress and no table."""
    json: bool = False
    """Print the summary as one JSON object instead of the table."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exits with the code of what went wrong, if anything did."""
    with fail_in_one_line():
        run_command(sys.argv[1:] if arguments is None else arguments)


def run_command(arguments: Sequence[str]) -> None:
    """Parse and do what `rlsparse train` is told."""
    chosen, _ = _early_parser().parse_known_args(arguments)
    if chosen.resume is not None:
        resume(_resume_flags(arguments))
        return
    agent, default = _default_recipe(chosen.env, chosen.agent)
    if chosen.env is None and not {"-h", "--help"}.isdisjoint(arguments):
        default = replace(default, env=tyro.MISSING)  # which the help shows as required
    flags = parse(TrainFlags, arguments, prog="rlsparse train", default=TrainFlags(default))
    if chosen.env is None:
        raise UsageError("which environment? e.g. --env HalfCheetah (rlsparse envs lists them)")
    recipe = replace(flags.recipe, env=default.env)
    check(recipe)
    _check_shipped_curve(flags.compare_with, recipe.env)
    device = resolve_device(flags.device)
    _try_environment(recipe.env)
    if flags.dry_run:
        print_plan(recipe)
        return
    start(recipe, agent, device, flags)


def _early_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for flag in ("--env", "--agent", "--resume"):
        parser.add_argument(flag, nargs="?")
    return parser


def _default_recipe(env: str | None, agent: str | None) -> tuple[str, Recipe]:
    """Return the agent's name and its recipe for the environment."""
    if env is None:
        card = cards.agent(agent or "ppo")
        return card.name, from_dict({"env": "", **card.recipe}, str(card.path))
    env_id = cards.resolve_environment(env)
    known = cards.environments().get(env_id)
    card = cards.agent(agent or (known.default_agent if known else "ppo"))
    budget = {"total_steps": known.total_steps} if known else {}
    return card.name, from_dict({"env": env_id, **budget, **card.recipe_for(env_id)}, str(card.path))


def _check_shipped_curve(agent: str | None, env_id: str) -> None:
    """Raise UsageError if there is nothing to compare with, before hours are spent on it."""
    if agent is not None and cards.agent(agent).curve_path(env_id) is None:
        raise UsageError(f"--compare-with {agent}: it ships no curve on {env_id}")


def _try_environment(env_id: str) -> None:
    """Raise what is wrong with an environment, before a run directory is made for it."""
    from rlsparse import sim

    sim.make(env_id, 1).close()


@dataclass(frozen=True)
class ResumeFlags:
    """Go on with a run."""

    resume: Path
    """The run directory."""
    device: Device = "auto"
    """Where networks live; auto is where they lived so far."""
    quiet: bool = False
    """No progress and no table."""
    json: bool = False
    """Print the summary as one JSON object instead of the table."""


def _resume_flags(arguments: Sequence[str]) -> ResumeFlags:
    hint = "a resumed run keeps its recipe, so only --device, --quiet and --json go with --resume"
    return parse(ResumeFlags, arguments, prog="rlsparse train", unknown_hint=hint)


def resolve_device(device: str) -> str:
    """Return "cpu" or "cuda"; raises UsageError for a GPU that is not there."""
    if device != "cuda":
        return "cpu"
    import torch

    if not torch.cuda.is_available():
        raise UsageError("--device cuda: torch sees no CUDA device here; use --device cpu")
    return device


def print_plan(recipe: Recipe) -> None:
    """Print what a run would do."""
    steps = recipe.iterations * recipe.batch_size
    algorithm = recipe.algorithm
    print(to_toml(recipe))
    print(f"rollouts         {recipe.iterations:,} per seed, {recipe.num_envs} x {recipe.rollout_length} steps each")
    print(f"updates          {recipe.iterations * algorithm.epochs * algorithm.minibatches:,} gradient steps per seed")
    print(f"training steps   {steps:,} per seed, {steps * recipe.num_seeds:,} in all (probe steps: 0)")
    print(
        f"evaluations      {_evaluations(recipe):,} of {recipe.eval_episodes} episodes per seed, not part of the budget"
    )


def _evaluations(recipe: Recipe) -> int:
    """Return how many evaluations there are: at the start, once per interval or rollout, and at the end."""
    steps, interval = recipe.iterations * recipe.batch_size, recipe.eval_interval
    intervals_before_last = (steps - recipe.batch_size) // interval
    return 1 + min(recipe.iterations - 1, intervals_before_last) + 1


def start(recipe: Recipe, agent: str, device: str, flags: TrainFlags) -> None:
    """Train a new run."""
    with StopSignal() as stop:
        from rlsparse import loop, process, runs

        process.prepare()
        with runs.create(recipe, agent, flags.out, flags.run_dir, device) as run:
            session = loop.open_session(recipe, run, device)
            _announce(f"{agent} on {recipe.env}, {_budget(recipe)}: {run.path}", flags.quiet)
            _train(session, agent, stop, flags)


def resume(flags: ResumeFlags) -> None:
    """Go on with an interrupted run, as if it had never stopped."""
    with StopSignal() as stop:
        from rlsparse import loop, process, runs

        process.prepare()
        run, recipe, agent, begun_on = runs.reopen(flags.resume)
        with run:
            device = resolve_device(begun_on if flags.device == "auto" else flags.device)
            session = loop.open_session(recipe, run, device)
            loop.restore(session)
            _announce(f"resuming {run.path} at {session.total_steps:,} steps", flags.quiet)
            _train(session, agent, stop, flags)


def _announce(text: str, quiet: bool) -> None:
    if not quiet:
        with outlive_reader(sys.stderr):
            print(text, file=sys.stderr)


def _budget(recipe: Recipe) -> str:
    seeds = f"seeds {recipe.seeds[0]} to {recipe.seeds[-1]}" if recipe.num_seeds > 1 else f"seed {recipe.seed}"
    return f"{seeds}, {recipe.total_steps:,} steps each"


def _train(session: "Session", agent: str, stop: "StopSignal", flags: TrainFlags | ResumeFlags) -> None:
    """Train to the end, or until told to stop: then the exit code is that of the signal."""
    from rlsparse import loop

    session.run.write_status("running", session.total_steps)
    try:
        with _Reporters(session, flags.quiet) as reporters:
            loop.train(session, reporters, stop)
    except Interrupted:
        _report_interruption(session, stop.received, flags.json)
        sys.exit(128 + stop.received)
    _finish(session, agent, flags)


def _report_interruption(session: "Session", signal_number: int, as_json: bool) -> None:
    """Say how far the run got and how to go on with it; the last line on stdout names it, as at the end."""
    path, steps = session.run.path, session.total_steps
    session.run.write_status("interrupted", steps, signal.Signals(signal_number).name)
    command = f"rlsparse train --resume {shlex.quote(str(path))}"
    _announce(f"stopped at {steps:,} steps; go on with: {command}", quiet=False)
    with outlive_reader(sys.stdout):
        print(json.dumps({"state": "interrupted", "total_steps": steps, "run_dir": str(path)}) if as_json else path)


class StopSignal:
    """Ctrl-C or SIGTERM asks to save and stop; the second one stops at once."""

    def __init__(self) -> None:
        self.received = 0
        self._handlers: dict[int, Any] = {}

    def __call__(self) -> bool:
        """Whether a signal came."""
        return self.received != 0

    def __enter__(self) -> Self:
        self._handlers = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _: object) -> None:
        if self.received:
            os._exit(128 + number)
        self.received = number
        with suppress(OSError):
            os.write(2, b"\nstopping after this iteration; once more to stop at once\n")


class _Reporters:
    """Passes every report to the progress line and to TensorBoard, where there are any."""

    def __init__(self, session: "Session", quiet: bool) -> None:
        from rlsparse.progress import ProgressLine

        self._reporters: list[Any] = [] if quiet else [ProgressLine()]
        self._open = ExitStack()
        with suppress(ImportError):
            from rlsparse.events import TensorBoard

            self._reporters.append(self._open.enter_context(TensorBoard(session.run.path / "tb", session)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def iteration(self, session: "Session", stats: Any) -> None:
        with outlive_reader(sys.stderr):
            for reporter in self._reporters:
                reporter.iteration(session, stats)

    def evaluation(self, session: "Session", rows: list[dict[str, Any]]) -> None:
        with outlive_reader(sys.stderr):
            for reporter in self._reporters:
                reporter.evaluation(session, rows)

    def probe(self, session: "Session", rows: list[dict[str, Any]]) -> None:
        with outlive_reader(sys.stderr):
            for reporter in self._reporters:
                reporter.probe(session, rows)


def _finish(session: "Session", agent: str, flags: TrainFlags | ResumeFlags) -> None:
    """Draw the curve, write the summary, print the table; the last line names the run directory."""
    from rlsparse.plot import draw_curve
    from rlsparse.runs import read_progress
    from rlsparse.storage import write_atomic
    from rlsparse.summary import summarise, table

    run, recipe = session.run, session.recipe
    rows = read_progress(run.progress)
    picture = run.path / "curve.png"
    draw_curve(rows, f"{agent} on {recipe.env}", picture)
    summary = summarise(rows, recipe, agent, session.seconds)
    write_atomic(run.path / "summary.json", json.dumps(summary, indent=1) + "\n")
    run.write_status("finished", session.total_steps)
    pictures = [picture, *_beside_card(run.path, flags)]
    with outlive_reader(sys.stdout):
        if flags.json:
            print(json.dumps({**summary, "run_dir": str(run.path)}))
            return
        if not flags.quiet:
            print(f"\n{table(summary)}\n\nreward curve: {', '.join(map(str, pictures))}")
        print(run.path)


def _beside_card(run: Path, flags: TrainFlags | ResumeFlags) -> list[Path]:
    """Draw the shipped curve that was asked for beside the run's own; a failure costs only the picture."""
    if not isinstance(flags, TrainFlags) or flags.compare_with is None:
        return []
    from rlsparse.compare import draw_beside_card

    try:
        return [draw_beside_card(run, cards.agent(flags.compare_with))]
    except RlsparseError as error:
        _announce(f"no comparison with {flags.compare_with}: {error}", quiet=False)
        return []


if __name__ == "__main__":
    main()
