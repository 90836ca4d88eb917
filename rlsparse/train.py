"""`rlsparse train`, `python -m rlsparse.train`: from a command line to a trained agent and its curve."""

import json
import logging
import shlex
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

from rlsparse.errors import Interrupted, RlsparseError, UsageError
from rlsparse.run import cards, choose, device, trust
from rlsparse.run.command_line import fail_in_one_line, ignore_lost_reader, parse, values
from rlsparse.run.compatibility import check_bounds
from rlsparse.run.foreign import contained
from rlsparse.run.reading import read_json, seal
from rlsparse.run.recipe import Recipe, check, to_toml
from rlsparse.run.status import FEWEST_KEPT, Kept, Seconds, Status
from rlsparse.run.stop import StopSignal
from rlsparse.run.storage import write_atomic

if TYPE_CHECKING:  # simulation and plotting are imported once the command line is known to be good
    from rlsparse.run.directory import Run
    from rlsparse.run.session import Session

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
    keep_checkpoints: Kept = FEWEST_KEPT
    """Checkpoints that stay: the two newest, the others spread evenly over the run, for `rlsparse landscape`."""
    env_timeout: Seconds | None = None
    """Most seconds for one call (make, reset, step) of an environment; a run with one that takes longer ends."""
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
    chosen = values((*choose.CHOOSING, "resume"), arguments)
    if "resume" in chosen:
        resume(_resume_flags(arguments))
        return
    agent, default = choose.chosen_recipe(chosen)
    choose.refuse_flags_of_nothing(default, {name: short[0] for name, short in choose.SHORT_NAMES.items()}, arguments)
    default = choose.with_kinds(default, arguments)
    choose.refuse_flags_of_other_kinds(default, arguments)
    if "env" not in chosen and not {"-h", "--help"}.isdisjoint(arguments):
        default = replace(default, env=tyro.MISSING)  # which the help shows as required
    flags_class = choose.flags_with_kinds(TrainFlags, default)
    flags = parse(flags_class, arguments, prog="rlsparse train", default=flags_class(default))
    if "env" not in chosen:
        raise UsageError("which environment? e.g. --env HalfCheetah (rlsparse envs lists them)")
    recipe = _with_sparsity(replace(flags.recipe, env=default.env), flags.sparsity, arguments)
    check(recipe)
    recipe.advantage.check_environment(cards.about(recipe.env), None, recipe.num_seeds * recipe.num_envs)
    _check_shipped_curve(flags.compare_with, recipe.env)
    check_bounds(Status("running", flags.keep_checkpoints, flags.env_timeout))
    where, why = device.resolve(flags.device, recipe, device.gpu_agent(recipe))
    with contained(flags.env_timeout):
        plan = _make_plan(recipe)
    if flags.dry_run:
        print(f"{to_toml(recipe)}\n{plan}")
    else:
        _announce(why, flags.quiet or not why)
        start(recipe, agent, where, flags)


def _with_sparsity(recipe: Recipe, sparsity: float | None, arguments: Sequence[str]) -> Recipe:
    """Return the recipe with the --sparsity that is given, if any."""
    if sparsity is None:
        return recipe
    if recipe.sparse is None:
        raise UsageError(
            f"--sparsity {sparsity:g} needs --sparse, for example --sparse {choose.SHORT_NAMES['sparse'][0]}"
        )
    if values(["sparse.sparsity"], arguments):
        raise UsageError("--sparsity and --sparse.sparsity are the same: give one of them")
    return replace(recipe, sparse=replace(recipe.sparse, sparsity=sparsity))


def _check_shipped_curve(agent: str | None, env_id: str) -> None:
    """Raise UsageError if there is nothing to compare with, before hours are spent on it."""
    if agent is not None and cards.agent(agent).curve_path(env_id) is None:
        raise UsageError(f"--compare-with {agent}: it ships no curve on {env_id}")


def _make_plan(recipe: Recipe) -> str:
    """Try environment and optimiser, before a run directory is made; warn of what may surprise, return the plan."""
    from rlsparse import sim
    from rlsparse.explore.explorer import horizon
    from rlsparse.run import plan

    if recipe.simulator == "warp":
        from rlsparse.sim.warp_physics import import_warp

        import_warp(on_cpu=False)
    env = sim.make(recipe.env, 1)
    longest = horizon(env)
    obs_size, action_size = env.single_observation_space.shape[0], env.single_action_space.shape[0]  # type: ignore[index]
    recipe.advantage.check_environment(cards.about(recipe.env), obs_size, recipe.num_seeds * recipe.num_envs)
    layout = recipe.layout(obs_size, action_size)
    first, again = (env.reset(seed=0)[0] for _ in range(2))
    if not np.array_equal(first, again, equal_nan=True):
        log.warning(f"{recipe.env} is not deterministic: two episodes with the same seed begin differently")
    env.close()
    recipe.advantage.check_horizon(recipe.rollout_length, longest)
    recipe.algorithm.new_optimiser(np.zeros((1, layout.size), np.float32), layout, False)  # which may not be installed
    for reason in plan.warnings(recipe, layout, longest):
        log.warning(reason)
    return plan.describe(recipe, layout, longest)


@dataclass(frozen=True)
class ResumeFlags:
    """Go on with a run."""

    resume: Path
    """The run directory."""
    env: str | None = None
    """The run's own environment, to be named if its code is neither rlsparse's nor Gymnasium's, for it is run."""
    trust: bool = False
    """Run the code of the environment that the run names, whatever it is; a line says first which that is."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N; auto is where the run has been so far."""
    keep_checkpoints: Kept | None = None
    """Checkpoints that stay, spread over the run; as many as so far if not given."""
    env_timeout: Seconds | None = None
    """Most seconds for one call of an environment; as so far if not given."""
    strict: bool = False
    """End where the newest checkpoint is damaged, instead of going on from the one before it."""
    quiet: bool = False
    """No progress and no table."""
    json: bool = False
    """Print the summary as one JSON object instead of the table."""


def _resume_flags(arguments: Sequence[str]) -> ResumeFlags:
    allowed = "--env, --trust, --device, --keep-checkpoints, --env-timeout, --strict, --quiet and --json"
    hint = f"a resumed run keeps its recipe, so only {allowed} go with --resume"
    flags = parse(ResumeFlags, arguments, prog="rlsparse train", unknown_hint=hint)
    check_bounds(flags)
    return flags


def start(recipe: Recipe, agent: str, where: str, flags: TrainFlags) -> None:
    """Train a new run."""
    from rlsparse.run import directory

    with StopSignal() as stop:
        run = directory.create(recipe, agent, flags.out, flags.run_dir, where, flags.keep_checkpoints)
        run.env_timeout = flags.env_timeout
        _train(run, recipe, agent, where, stop, flags)


def resume(flags: ResumeFlags) -> None:
    """Go on with an interrupted run, as if it had never stopped."""
    from rlsparse.run import directory

    with StopSignal() as stop:
        recipe, begun_on = directory.read_recipe(flags.resume), directory.read_device(flags.resume)
        _check_named(recipe, flags)
        where, why = device.resolve(device.resumed(begun_on, flags.device, recipe), recipe)
        run, _, agent, _ = directory.reopen(flags.resume)
        if run.complete:
            run.release()
            _announce(f"{run.given} is finished: nothing is left to do", flags.quiet)
            _tell_result(read_json(run.path / "summary.json"), run.given, flags.json)
            return
        _announce(why, flags.quiet or not why)
        run.keep_checkpoints = flags.keep_checkpoints or run.keep_checkpoints
        run.env_timeout = flags.env_timeout or run.env_timeout
        _train(run, recipe, agent, where, stop, flags)


def _check_named(recipe: Recipe, flags: ResumeFlags) -> None:
    """Raise UsageError if the run is of another environment than --env says, or of one that nobody trusts."""
    named = None if flags.env is None else cards.resolve_environment(flags.env)
    if named not in (None, recipe.env):
        raise UsageError(f"--env {flags.env}: {flags.resume} is a run on {recipe.env}, and keeps its recipe")
    trust.trust_environment(recipe.env, named, flags.resume / "recipe.toml", flags.trust)


def _announce(text: str, quiet: bool) -> None:
    if not quiet:
        with ignore_lost_reader(sys.stderr):
            print(text, file=sys.stderr)


def _seeds(recipe: Recipe) -> str:
    return f"seeds {recipe.seeds[0]} to {recipe.seeds[-1]}" if recipe.num_seeds > 1 else f"seed {recipe.seed}"


def _train(
    run: "Run", recipe: Recipe, agent: str, where: str, stop: StopSignal, flags: TrainFlags | ResumeFlags
) -> None:
    """Train to the end, or until told to stop: then the exit code is that of the signal."""
    from rlsparse import loop
    from rlsparse.run.reporters import Reporters
    from rlsparse.run.session import open_session, restore

    with run, device.explain_out_of_memory(recipe, where, _resume_command(run.given, recipe)):
        device.prepare(where)
        try:
            with contained(run.env_timeout, run.fail):
                session = open_session(recipe, run, where)
                if isinstance(flags, ResumeFlags):
                    restore(session, flags.strict)
                    begun = f"resuming {run.given} at {session.total_steps:,} steps"
                else:
                    begun = f"{agent} on {recipe.env}, {_seeds(recipe)}, {recipe.total_steps:,} steps each: {run.given}"
                _announce(begun, flags.quiet)
                run.write_status("running", session.total_steps)
                with Reporters(session, flags.quiet) as reporters:
                    loop.train(session, reporters, stop)
        except Interrupted:
            _report_interruption(session, stop.received, flags.json)
            sys.exit(128 + stop.received)
        _finish(session, agent, flags)


def _resume_command(run: Path, recipe: Recipe) -> str:
    named = f" --env {shlex.quote(recipe.env)}" if trust.foreign_module(recipe.env, run) else ""
    return f"rlsparse train --resume {shlex.quote(str(run))}{named}"


def _report_interruption(session: "Session", signal_number: int, as_json: bool) -> None:
    """Say how far the run got and how to go on with it."""
    path, steps = session.run.given, session.total_steps
    session.run.write_status("interrupted", steps, signal.Signals(signal_number).name)
    _announce(f"stopped at {steps:,} steps; go on with: {_resume_command(path, session.recipe)}", quiet=False)
    _tell_result({"state": "interrupted", "total_steps": steps}, path, as_json)


def _tell_result(result: dict[str, Any], path: Path, as_json: bool) -> None:
    """Print the last line on stdout, which names the run directory."""
    with ignore_lost_reader(sys.stdout):
        print(json.dumps({**result, "run_dir": str(path)}) if as_json else path)


def _finish(session: "Session", agent: str, flags: TrainFlags | ResumeFlags) -> None:
    """Draw the curve, write the summary, print the table."""
    from rlsparse.compare.plot import draw_curve
    from rlsparse.compare.summary import summarise, table
    from rlsparse.run.directory import read_probes, read_progress

    run, recipe = session.run, session.recipe
    rows = read_progress(run.progress)
    picture = run.path / "curve.png"
    draw_curve(rows, f"{agent} on {recipe.env}", picture)
    summary = summarise(rows, recipe, agent, session.seconds, read_probes(run.path / "probe.csv"))
    write_atomic(run.path / "summary.json", seal(summary) + "\n")
    run.write_status("finished", session.total_steps)
    pictures = [run.given / picture.name, *_beside_card(run.given, flags)]
    if not (flags.quiet or flags.json):
        with ignore_lost_reader(sys.stdout):
            print(f"\n{table(summary)}\n\nreward curve: {', '.join(map(str, pictures))}")
    _tell_result(summary, run.given, flags.json)


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
