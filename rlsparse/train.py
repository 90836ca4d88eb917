"""`rlsparse train`, `python -m rlsparse.train`: from a command line to a trained agent and its curve."""

import json
import logging
import os
import shlex
import signal
import stat
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np
import tyro

from rlsparse.advantage import find_projection as objectives
from rlsparse.errors import Interrupted, RlsparseError, UsageError
from rlsparse.run import cards, components, device
from rlsparse.run.advantage_limits import check_horizon
from rlsparse.run.choose import CHOOSING, FROM_CARDS, chosen_recipe, gpu_agent
from rlsparse.run.command_line import fail_in_one_line, outlive_reader, parse
from rlsparse.run.recipe import Recipe, check, to_toml

if TYPE_CHECKING:  # simulation and plotting are imported once the command line is known to be good
    from rlsparse.loop import Session
    from rlsparse.run.directory import Run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainFlags:
    """Train an agent; the run directory keeps its curve, its policy and all it needs to be resumed."""

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    agent: str | None = None
    """Agent card whose recipe is the default; the environment card's own if not given."""
    explore: str | None = None
    """How to probe around the policy: none, explorler, or as another agent card does; else as the agent's own does."""
    sparse: str | None = None
    """Which weights are absent: none, by a rule (rigl, set, static, magnitude, dcil, ast), or as an agent card has."""
    sparsity: float | None = None
    """Share of weights that is absent, short for --sparse.sparsity."""
    out: Path = Path("runs")
    """Folder in which run directories are made."""
    run_dir: Path | None = None
    """Exactly this run directory instead."""
    resume: Path | None = None
    """Go on with this run; its recipe cannot be changed."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N. Auto is the GPU for a recipe whose simulator runs there, else the CPU; with cuda, the
    default agent is the one whose simulator does."""
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
    chosen = components.values((*CHOOSING, "resume"), arguments)
    if "resume" in chosen:
        resume(_resume_flags(arguments))
        return
    agent, default = chosen_recipe(chosen)
    components.refuse_flags_of_nothing(default, {name: [*short][0] for name, short in FROM_CARDS.items()}, arguments)
    default = components.choose(default, arguments)
    components.refuse_flags_of_other_kinds(default, arguments)
    if "env" not in chosen and not {"-h", "--help"}.isdisjoint(arguments):
        default = replace(default, env=tyro.MISSING)  # which the help shows as required
    flags_class = components.flags_with_kinds(TrainFlags, default)
    flags = parse(flags_class, arguments, prog="rlsparse train", default=flags_class(default))
    if "env" not in chosen:
        raise UsageError("which environment? e.g. --env HalfCheetah (rlsparse envs lists them)")
    recipe = _with_sparsity(replace(flags.recipe, env=default.env), flags.sparsity, arguments)
    check(recipe)
    objectives.find(recipe)
    _check_shipped_curve(flags.compare_with, recipe.env)
    where, why = device.resolve(flags.device, recipe, gpu_agent(recipe))
    _make_plan(recipe, flags.dry_run)
    if not flags.dry_run:
        _announce(why, flags.quiet or not why)
        start(recipe, agent, where, flags)


def _with_sparsity(recipe: Recipe, sparsity: float | None, arguments: Sequence[str]) -> Recipe:
    """Return the recipe with the --sparsity that is given, if any."""
    if sparsity is None:
        return recipe
    if recipe.sparse is None:
        raise UsageError(f"--sparsity {sparsity:g} needs --sparse, for example --sparse {[*FROM_CARDS['sparse']][0]}")
    if components.values(["sparse.sparsity"], arguments):
        raise UsageError("--sparsity and --sparse.sparsity are the same: give one of them")
    return replace(recipe, sparse=replace(recipe.sparse, sparsity=sparsity))


def _check_shipped_curve(agent: str | None, env_id: str) -> None:
    """Raise UsageError if there is nothing to compare with, before hours are spent on it."""
    if agent is not None and cards.agent(agent).curve_path(env_id) is None:
        raise UsageError(f"--compare-with {agent}: it ships no curve on {env_id}")


def _make_plan(recipe: Recipe, show: bool) -> None:
    """Try environment and optimiser, before a run directory is made; warn of probes that will not be, show the plan."""
    from rlsparse import sim
    from rlsparse.explore.explorer import horizon
    from rlsparse.run import plan

    if recipe.simulator == "warp":
        from rlsparse.sim.warp_physics import import_warp

        import_warp(on_cpu=False)
    env = sim.make(recipe.env, 1)
    longest = horizon(env)
    obs_size, action_size = env.single_observation_space.shape[0], env.single_action_space.shape[0]  # type: ignore[index]
    objectives.find(recipe, obs_size)
    layout = recipe.layout(obs_size, action_size)
    env.close()
    check_horizon(recipe.advantage, recipe.rollout_length, longest)
    recipe.algorithm.new_optimiser(np.zeros((1, layout.size), np.float32), layout, False)  # which may not be installed
    warnings = (plan.warning(recipe, longest), plan.sparse_warning(recipe, layout), plan.slow_warning(recipe))
    for reason in filter(None, warnings):
        log.warning(reason)
    if show:
        print(to_toml(recipe))
        print(plan.describe(recipe, longest))
        if recipe.sparse is not None:
            print(plan.describe_weights(recipe.sparse, layout))


@dataclass(frozen=True)
class ResumeFlags:
    """Go on with a run."""

    resume: Path
    """The run directory."""
    env: str | None = None
    """The run's own environment, to be named if it comes from a module, whose code is run."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N; auto is where the run has been so far."""
    quiet: bool = False
    """No progress and no table."""
    json: bool = False
    """Print the summary as one JSON object instead of the table."""


def _resume_flags(arguments: Sequence[str]) -> ResumeFlags:
    hint = "a resumed run keeps its recipe, so only --env, --device, --quiet and --json go with --resume"
    return parse(ResumeFlags, arguments, prog="rlsparse train", unknown_hint=hint)


def start(recipe: Recipe, agent: str, where: str, flags: TrainFlags) -> None:
    """Train a new run."""
    with StopSignal() as stop:
        from rlsparse.run import directory as runs

        run = runs.create(recipe, agent, flags.out, flags.run_dir, where)
        with run, device.memory_told(recipe, where, _resume_command(run.path, recipe)):
            session = _open_session(recipe, run, where)
            _announce(f"{agent} on {recipe.env}, {_budget(recipe)}: {run.path}", flags.quiet)
            _train(session, agent, stop, flags)


def resume(flags: ResumeFlags) -> None:
    """Go on with an interrupted run, as if it had never stopped."""
    with StopSignal() as stop:
        from rlsparse import loop
        from rlsparse.run import directory as runs

        run, recipe, agent, begun_on = runs.reopen(flags.resume)
        try:
            _check_named(recipe, flags)
            where, why = device.resolve(device.resumed(begun_on, flags.device, recipe), recipe)
        except UsageError:
            run.release()
            raise
        _announce(why, flags.quiet or not why)
        with run, device.memory_told(recipe, where, _resume_command(run.path, recipe)):
            session = _open_session(recipe, run, where)
            loop.restore(session)
            _announce(f"resuming {run.path} at {session.total_steps:,} steps", flags.quiet)
            _train(session, agent, stop, flags)


def _check_named(recipe: Recipe, flags: ResumeFlags) -> None:
    """Raise UsageError if the run is of another environment than --env says, or of a module that it does not name."""
    named = None if flags.env is None else cards.resolve_environment(flags.env)
    if named not in (None, recipe.env):
        raise UsageError(f"--env {flags.env}: {flags.resume} is a run on {recipe.env}, and keeps its recipe")
    cards.trust_environment(recipe.env, named, flags.resume / "recipe.toml")


def _open_session(recipe: Recipe, run: "Run", where: str) -> "Session":
    from rlsparse import loop
    from rlsparse.run import process

    process.prepare(where)
    return loop.open_session(recipe, run, where)


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


def _resume_command(run: Path, recipe: Recipe) -> str:
    named = f" --env {shlex.quote(recipe.env)}" if ":" in recipe.env else ""
    return f"rlsparse train --resume {shlex.quote(str(run))}{named}"


def _report_interruption(session: "Session", signal_number: int, as_json: bool) -> None:
    """Say how far the run got and how to go on with it; the last line on stdout names it, as at the end."""
    path, steps = session.run.path, session.total_steps
    session.run.write_status("interrupted", steps, signal.Signals(signal_number).name)
    _announce(f"stopped at {steps:,} steps; go on with: {_resume_command(path, session.recipe)}", quiet=False)
    with outlive_reader(sys.stdout):
        print(json.dumps({"state": "interrupted", "total_steps": steps, "run_dir": str(path)}) if as_json else path)


class StopSignal:
    """Ctrl-C, SIGTERM or a closed terminal asks to save and stop; the second one stops at once."""

    def __init__(self) -> None:
        self.received = 0
        self._handlers: dict[int, Any] = {}

    def __call__(self) -> bool:
        """Whether a signal came."""
        return self.received != 0

    def __enter__(self) -> Self:
        asking = {signal.SIGINT, signal.SIGTERM}
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup means to outlive the terminal
            asking.add(signal.SIGHUP)
        self._handlers = {number: signal.signal(number, self._receive) for number in asking}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _: object) -> None:
        if self.received:
            os._exit(128 + number)
        self.received = number
        if number == signal.SIGHUP:
            _leave_terminal()
        with suppress(OSError):
            os.write(2, b"\nstopping after this iteration; once more to stop at once\n")


def _leave_terminal() -> None:
    """Let what is still said to a terminal that has closed go nowhere instead of failing; files and pipes stay."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        if stat.S_ISCHR(os.fstat(descriptor).st_mode):
            os.dup2(nowhere, descriptor)
    os.close(nowhere)


class _Reporters:
    """Passes every report to the progress line and to TensorBoard, where there are any."""

    def __init__(self, session: "Session", quiet: bool) -> None:
        from rlsparse.run.progress import ProgressLine

        self._reporters: list[Any] = [] if quiet else [ProgressLine()]
        self._open = ExitStack()
        with suppress(ImportError):
            from rlsparse.run.events import TensorBoard

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
    from rlsparse.compare.plot import draw_curve
    from rlsparse.compare.summary import summarise, table
    from rlsparse.run.directory import read_probes, read_progress
    from rlsparse.run.storage import write_atomic

    run, recipe = session.run, session.recipe
    rows = read_progress(run.progress)
    picture = run.path / "curve.png"
    draw_curve(rows, f"{agent} on {recipe.env}", picture)
    summary = summarise(rows, recipe, agent, session.seconds, read_probes(run.path / "probe.csv"))
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
    from rlsparse.compare.beside_card import draw_beside_card

    try:
        return [draw_beside_card(run, cards.agent(flags.compare_with))]
    except RlsparseError as error:
        _announce(f"no comparison with {flags.compare_with}: {error}", quiet=False)
        return []


if __name__ == "__main__":
    main()
