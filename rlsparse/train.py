"""Training from first to last: `rlsparse train` on a command line, `rlsparse.train(...)` in Python.

This module is callable, so that `rlsparse.train` is both, whichever is imported first.
"""

import json
import logging
import os
import shlex
import signal
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlsparse.errors import Interrupted, RlsparseError, UsageError
from rlsparse.run import cards, device, from_python, trust
from rlsparse.run.callable_module import make_callable
from rlsparse.run.command_line import fail_in_one_line, ignore_lost_reader, values
from rlsparse.run.compatibility import check_bounds
from rlsparse.run.flags import ASKED, ResumeFlags, TrainFlags, resume_flags, train_flags
from rlsparse.run.foreign import class_named, contained
from rlsparse.run.newest import newest_run, newest_unfinished
from rlsparse.run.reading import read_json, seal
from rlsparse.run.recipe import Recipe, check, to_toml
from rlsparse.run.reporters import callbacks_of
from rlsparse.run.status import FEWEST_KEPT, Settings
from rlsparse.run.stop import Stop, StopInterrupt, StopSignal
from rlsparse.run.storage import write_atomic

if TYPE_CHECKING:  # simulation and plotting are imported once the command line is known to be good
    from rlsparse import Callback
    from rlsparse.run.directory import Run
    from rlsparse.run.no_callbacks import NoCallbacks
    from rlsparse.run.session import Session
    from rlsparse.trained.result import TrainedRun

log = logging.getLogger(__name__)


# On a command line


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
    asked = ASKED if flags.like else values(ASKED, arguments)
    recipe, where, plan = _planned(recipe, flags, asked)
    if flags.dry_run:
        print(f"{to_toml(recipe)}\n{plan}")
        return
    with StopSignal() as stop:
        _tell_end(_start(recipe, agent, where, flags, flags.callbacks, stop), stop, flags)


def _resume_command(flags: ResumeFlags) -> None:
    with StopSignal() as stop:
        told = callbacks_of(flags.callbacks, stop.ask)
        opened = _reopen(flags)
        if opened.run.complete:
            opened.run.release()
            other = newest_unfinished(flags.resume)
            hint = f"; the newest run in {flags.resume} that is not: {other}" if other else ""
            _announce(f"{opened.run.given} is finished: nothing is left to do{hint}", flags.quiet)
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
        how = _how_to_resume(run.given, session.recipe)
        how += f" --callbacks {shlex.join(flags.callbacks)}" if flags.callbacks else ""
        _announce(f"stopped{by} at {steps:,} steps; go on with: {how}", quiet=False)
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
        _announce(f"no comparison with {flags.compare_with}: {error}", quiet=False)
        return []


# In Python


def from_script(
    env: str | Callable[..., Any] | None = None,
    *,
    agent: str | None = None,
    like: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] = "runs",
    run_dir: str | os.PathLike[str] | None = None,
    resume: str | os.PathLike[str] | None = None,
    device: str = "auto",
    keep_checkpoints: int | None = None,
    checkpoint_every: int | None = None,
    env_workers: int | None = None,
    trust: bool = False,
    quiet: bool = True,
    callbacks: Sequence["Callback"] = (),
    **fields: Any,
) -> "TrainedRun":
    """Train an agent, or go on with a run, to its end: what `rlsparse train` does, with the same names and defaults.

    `env` is an id, a card's name, or a class that another process can import. `fields` are those of the recipe:
    numbers, components (`TRPO(target_kl=0.02)`), names of kinds (`"trpo"`) or dicts of what differs from the agent's
    card (`{"learning_rate": 1e-4}`). Ctrl-C saves and then raises KeyboardInterrupt; with `quiet=False` progress is
    printed. Raises what `rlsparse.errors` has, such as UsageError for arguments that do not fit.
    """
    env, text = from_python.name_of(env), from_python.text
    if resume is None:
        name, recipe = from_python.recipe(env, agent, device, fields, like, trust)
        folder = None if run_dir is None else Path(text("run_dir", run_dir))
        keep = FEWEST_KEPT if keep_checkpoints is None else keep_checkpoints
        new = TrainFlags(recipe, None, out=Path(text("out", out)), run_dir=folder, device=device, keep_checkpoints=keep)
        new = replace(new, checkpoint_every=checkpoint_every, env_workers=env_workers, quiet=quiet)
        return _train_new(name, new, callbacks, ASKED if like is not None else from_python.asked(fields))
    wrappers, total_steps = from_python.names_of(fields.pop("wrappers", None)), fields.pop("total_steps", None)
    from_python.refuse_beside_resume(fields, agent=agent, like=like, run_dir=run_dir)
    flags = ResumeFlags(Path(text("resume", resume)), env, wrappers, trust, total_steps, device, keep_checkpoints)
    flags = replace(flags, checkpoint_every=checkpoint_every, env_workers=env_workers, quiet=quiet)
    return _go_on(flags, callbacks)


def _train_new(agent: str, flags: TrainFlags, callbacks: Sequence["Callback"], asked: Collection[str]) -> "TrainedRun":
    recipe, where, _ = _planned(flags.recipe, flags, asked)
    with StopInterrupt() as stop:
        return _result(_start(recipe, agent, where, flags, callbacks, stop), agent, stop)


def _go_on(flags: ResumeFlags, callbacks: Sequence["Callback"]) -> "TrainedRun":
    from rlsparse.trained.result import TrainedRun

    check_bounds(flags)
    with StopInterrupt() as stop:
        told = callbacks_of(callbacks, stop.ask)
        opened = _reopen(flags)
        if opened.run.complete:
            opened.run.release()
            return TrainedRun(opened.run.path, opened.recipe, opened.agent, opened.run.state)
        return _result(train(opened, stop, told, flags.quiet, resumed=True), opened.agent, stop)


def _result(session: "Session", agent: str, stop: Stop) -> "TrainedRun":
    from rlsparse.trained.result import TrainedRun

    if stop.received:
        done = f"stopped at {session.total_steps:,} steps"
        raise KeyboardInterrupt(f"{done}; go on with rlsparse.train(resume={str(session.run.given)!r})")
    return TrainedRun(session.run.path, session.recipe, agent, session.run.state)


# What both do


@dataclass(frozen=True)
class Opened:
    """A run that this process holds, to be trained."""

    run: "Run"
    recipe: Recipe
    agent: str
    device: str
    """Where its networks live."""
    env_workers: int | None
    """Processes in which its environments step, to be measured if None."""


def _planned(recipe: Recipe, flags: TrainFlags, asked: Collection[str]) -> tuple[Recipe, str, str]:
    """Check a new run; return the recipe that is paid for, its device, and its plan as text.

    Raises UsageError or EnvironmentFailure.
    """
    check(recipe)
    recipe.advantage.check_environment(cards.about(recipe), None, recipe.num_seeds * recipe.num_envs)
    check_bounds(flags)
    stay = flags.keep_checkpoints + recipe.total_steps // (flags.checkpoint_every or recipe.total_steps + 1)
    where, why = device.resolve(flags.device, recipe, device.gpu_agent(recipe))
    with contained(flags.env_timeout):
        recipe, plan = _make_plan(recipe, asked, stay)
    _announce(why, flags.quiet or flags.dry_run)
    return recipe, where, plan


def _make_plan(recipe: Recipe, asked: Collection[str], checkpoints: int) -> tuple[Recipe, str]:
    """Try environment and optimiser, before a run directory is made; return the recipe that is paid for, and its plan.

    Warns of what may surprise, such as the disk that so many `checkpoints` take.
    """
    from rlsparse import sim
    from rlsparse.explore.explorer import horizon
    from rlsparse.run import plan, policy_file

    if recipe.simulator == "warp":
        from rlsparse.sim.warp_physics import import_warp

        import_warp(on_cpu=False)
    env = sim.make(recipe.environment, 1)
    longest = horizon(env)
    obs_size, action_size = env.single_observation_space.shape[0], env.single_action_space.shape[0]  # type: ignore[index]
    recipe.advantage.check_environment(cards.about(recipe), obs_size, recipe.num_seeds * recipe.num_envs)
    layout = recipe.layout(obs_size, action_size)
    first, again = (env.reset(seed=0)[0] for _ in range(2))
    if not np.array_equal(first, again, equal_nan=True):
        log.warning(f"{recipe.env} is not deterministic: two episodes with the same seed begin differently")
    env.close()
    recipe.advantage.check_horizon(recipe.rollout_length, longest)
    recipe.algorithm.new_optimiser(np.zeros((1, layout.size), np.float32), layout, False)  # which may not be installed
    recipe, change = plan.fitted(recipe, longest, asked)
    reasons = [change, *plan.warnings(recipe, layout, longest), plan.disk(recipe, layout, checkpoints)]
    reasons += recipe.beginning.remarks(recipe, layout, policy_file.load)
    for reason in filter(None, reasons):
        log.warning(reason)
    return recipe, plan.describe(recipe, layout, longest)


def _start(
    recipe: Recipe, agent: str, where: str, flags: TrainFlags, callbacks: Sequence[object], stop: Stop
) -> "Session":
    """Train a new run."""
    from rlsparse.run import directory

    told = callbacks_of(callbacks, stop.ask)
    run = directory.create(recipe, agent, flags.out, flags.run_dir, where, Settings().changed_by(flags))
    return train(Opened(run, recipe, agent, where, flags.env_workers), stop, told, flags.quiet)


def _reopen(flags: ResumeFlags) -> Opened:
    """Open a run that goes on, and say why it computes where it does, if that needs saying."""
    from rlsparse.run import directory
    from rlsparse.run.extension import extend

    flags = replace(flags, resume=newest_run(flags.resume))
    recipe, begun_on = directory.read_recipe(flags.resume), directory.read_device(flags.resume)
    _check_named(recipe, flags)
    where, why = device.resolve(device.resumed(begun_on, flags.device, recipe), recipe)
    run, begun, agent, _ = directory.reopen(flags.resume)
    with run.released_on_error():
        recipe = extend(run, begun, flags.total_steps)
    if recipe != begun:
        log.warning(
            f"{run.given} goes on to {recipe.total_steps:,} steps instead of {begun.total_steps:,}: schedules follow "
            "the new budget from here on, so it will not equal a run that began with it"
        )
    run.settings = run.settings.changed_by(flags)
    if not run.complete:
        _announce(why, flags.quiet)
    return Opened(run, recipe, agent, where, flags.env_workers)


def _check_named(recipe: Recipe, flags: ResumeFlags) -> None:
    """Raise UsageError if the run is of another environment than --env says, or of one that nobody trusts."""
    named = None if flags.env is None else cards.resolve_environment(flags.env)
    if named not in (None, recipe.env):
        raise UsageError(f"--env {flags.env}: {flags.resume} is a run on {recipe.env}, and keeps its recipe")
    if flags.wrappers is not None and tuple(map(class_named, flags.wrappers)) != recipe.wrappers:
        own = " ".join(recipe.wrappers) or "none"
        raise UsageError(f"--wrappers: {flags.resume} is a run with {own}, and keeps its recipe")
    trust.trust_environment(recipe.environment, named, flags.resume / "recipe.toml", flags.trust, flags.wrappers)


def train(
    opened: Opened,
    stop: Stop,
    callbacks: "NoCallbacks",
    quiet: bool,
    *,
    resumed: bool = False,
    strict: bool = False,
) -> "Session":
    """Train a run to its end, or until told to stop; its `state` says which."""
    from rlsparse import loop, sim
    from rlsparse.run.reporters import Reporters
    from rlsparse.run.session import open_session, restore, start

    run, recipe, where = opened.run, opened.recipe, opened.device
    with run, device.explain_out_of_memory(recipe, where, _how_to_resume(run.given, recipe)), device.prepared(where):
        try:
            with contained(run.settings.env_timeout, run.fail):
                num_envs = recipe.num_seeds * recipe.num_envs
                workers, told = sim.workers_for(recipe.environment, num_envs, opened.env_workers)
                _announce(told, quiet)
                session = open_session(recipe, run, where, callbacks, workers)
                if resumed:
                    restore(session, strict)
                    begun = f"resuming {run.given} at {session.total_steps:,} steps"
                else:
                    start(session)
                    first = f", beginning with {recipe.init.policy}" if recipe.init else ""
                    steps = f"{_seeds(recipe)}, {recipe.total_steps:,} steps each{first}"
                    begun = f"{opened.agent} on {recipe.env}, {steps}: {run.given}"
                _announce(begun, quiet)
                run.write_status("running", session.total_steps)
                with Reporters(session, quiet) as reporters:
                    loop.train(session, reporters, stop)
        except Interrupted:
            reason = signal.Signals(stop.received).name if stop.received else stop.reason
            run.write_status("interrupted", session.total_steps, reason)
        else:
            _finish(session, opened.agent)
    return session


def _finish(session: "Session", agent: str) -> None:
    """Draw the curve, write the summary."""
    from rlsparse.compare.plot import draw_curve
    from rlsparse.compare.summary import summarise
    from rlsparse.run.directory import read_probes, read_progress

    run, recipe = session.run, session.recipe
    rows = read_progress(run.progress)
    draw_curve(rows, f"{agent} on {recipe.env}", run.path / "curve.png")
    probes = read_probes(run.path / "probe.csv")
    summary = summarise(rows, recipe, agent, session.seconds, probes, session.eval_seconds)
    write_atomic(run.path / "summary.json", seal(summary) + "\n")
    run.write_status("finished", session.total_steps)


def _seeds(recipe: Recipe) -> str:
    return f"seeds {recipe.seeds[0]} to {recipe.seeds[-1]}" if recipe.num_seeds > 1 else f"seed {recipe.seed}"


def _how_to_resume(run: Path, recipe: Recipe) -> str:
    named = trust.flags_that_name(recipe.environment, trust.foreign_code(recipe.environment, run))
    return f"rlsparse train --resume {shlex.quote(str(run))} {named}".rstrip()


def _announce(text: str, quiet: bool) -> None:
    if text and not quiet:
        with ignore_lost_reader(sys.stderr):
            print(text, file=sys.stderr)


make_callable(__name__, from_script)


if __name__ == "__main__":
    main()
