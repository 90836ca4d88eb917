"""Training from first to last: check, plan, begin or go on, train, and tell how it ended."""

import logging
import shlex
import signal
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlsparse.errors import Interrupted
from rlsparse.explore.workers import check_workers
from rlsparse.run import cards, device, trust
from rlsparse.run.command_line import say
from rlsparse.run.compatibility import check_bounds
from rlsparse.run.flags import ResumeFlags, TrainFlags
from rlsparse.run.foreign import contained, left_to_workers
from rlsparse.run.newest import newest_run
from rlsparse.run.reading import seal
from rlsparse.run.recipe import Recipe, check
from rlsparse.run.reporters import callbacks_of
from rlsparse.run.status import Settings
from rlsparse.run.stop import Stop
from rlsparse.run.storage import write_atomic

if TYPE_CHECKING:  # simulation and plotting are imported once the command line is known to be good
    from rlsparse.run.directory import Run
    from rlsparse.run.no_callbacks import NoCallbacks
    from rlsparse.run.session import Session

log = logging.getLogger(__name__)


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


@dataclass(frozen=True)
class Planned:
    """A new run that was checked."""

    recipe: Recipe
    """The one that is paid for."""
    unfitted: dict[str, Any]
    """What the budget may have changed in it, as it was before."""
    device: str
    text: str
    """What it will take."""


def planned(recipe: Recipe, asked: Collection[str], flags: TrainFlags) -> Planned:
    """Check a new run, in which what is `asked` for stays as it is; raises UsageError or EnvironmentFailure."""
    check(recipe)
    recipe.advantage.check_environment(cards.about(recipe), None, recipe.num_seeds * recipe.num_envs)
    check_bounds(flags)
    stay = flags.keep_checkpoints + recipe.total_steps // (flags.checkpoint_every or recipe.total_steps + 1)
    where, why = device.resolve(flags.device, recipe, device.gpu_agent(recipe))
    check_workers(flags.explore_workers, recipe, where)
    with contained(flags.env_timeout):
        kept = stay, flags.run_dir or flags.out
        paid, text = _make_plan(recipe, asked, kept, left_to_workers(flags.env_timeout, 1))
    announce(why, flags.quiet or flags.dry_run)
    from rlsparse.run.plan import unfitted  # not before the command line is known to be good

    return Planned(paid, unfitted(recipe, asked), where, text)


def _make_plan(
    recipe: Recipe, asked: Collection[str], kept: tuple[int, Path], timeout: float | None
) -> tuple[Recipe, str]:
    """Try environment and optimiser, before a run directory is made; return the recipe that is paid for, and its plan.

    Warns of what may surprise, such as the disk that so many checkpoints take in the folder where they are `kept`.
    """
    from rlsparse import sim
    from rlsparse.explore.explorer import horizon
    from rlsparse.run import plan, policy_file

    if recipe.simulator == "warp":
        from rlsparse.sim.warp_physics import import_warp

        import_warp(on_cpu=False)
    env = sim.maker(recipe.environment, "mujoco", "cpu", timeout=timeout)(1)
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
    plan.check_size(recipe, layout)
    reasons = [change, *plan.warnings(recipe, layout, longest), plan.disk(recipe, layout, *kept)]
    reasons.append(device.foresee_out_of_memory(recipe, layout))
    reasons += recipe.beginning.remarks(recipe, layout, policy_file.load)
    for reason in filter(None, reasons):
        log.warning(reason)
    return recipe, plan.describe(recipe, layout, longest)


def start(plan: Planned, agent: str, flags: TrainFlags, callbacks: Sequence[object], stop: Stop) -> "Session":
    """Train a new run."""
    from rlsparse.run import directory

    told = callbacks_of(callbacks, stop.ask)
    settings = Settings().changed_by(flags)
    run = directory.create(plan.recipe, agent, flags.out, flags.run_dir, plan.device, settings, plan.unfitted)
    return train(Opened(run, plan.recipe, agent, plan.device, flags.env_workers), stop, told, flags.quiet)


def reopen(flags: ResumeFlags) -> Opened:
    """Open a run that goes on, and say why it computes where it does, if that needs saying."""
    from rlsparse.run import directory
    from rlsparse.run.extension import extend

    flags = replace(flags, resume=newest_run(flags.resume))
    recipe, begun_on = directory.read_recipe(flags.resume), directory.read_device(flags.resume)
    trust.trust_run(flags.resume, recipe.environment, flags.env, flags.wrappers, flags.trust)
    where, why = device.resolve(device.resumed(begun_on, flags.device, recipe), recipe)
    run, begun, agent, _ = directory.reopen(flags.resume)
    run.settings = run.settings.changed_by(flags)
    with run.released_on_error():
        if not run.complete:
            check_workers(run.settings.explore_workers, begun, where)
        recipe = extend(run, begun, flags.total_steps)
    if recipe != begun:
        log.warning(
            f"{run.given} goes on to {recipe.total_steps:,} steps instead of {begun.total_steps:,}: schedules follow "
            "the new budget from here on, so it will not equal a run that began with it"
        )
    if not run.complete:
        announce(why, flags.quiet)
    return Opened(run, recipe, agent, where, flags.env_workers)


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
    with run, device.explain_out_of_memory(recipe, where, how_to_resume(run.given, recipe)), device.prepared(where):
        try:
            with contained(run.settings.env_timeout, run.fail):
                num_envs = recipe.num_seeds * recipe.num_envs
                apart = left_to_workers(run.settings.env_timeout, 1) is not None  # to measure would be to step here
                given = opened.env_workers or (1 if apart else None)
                workers, told = sim.workers_for(recipe.environment, num_envs, given)
                announce(told, quiet)
                session = open_session(recipe, run, where, callbacks, workers)
                if resumed:
                    restore(session, strict)
                    announce(f"resuming {run.given} at {session.total_steps:,} steps", quiet)
                else:
                    start(session)
                    steps = f"{_seeds(recipe)}, {recipe.total_steps:,} steps each{recipe.beginning.title}"
                    announce(f"{opened.agent} on {recipe.env}, {steps}: {run.given}", quiet)
                run.write_status("running", session.total_steps)
                with Reporters(session, quiet) as reporters:
                    loop.train(session, reporters, stop)
        except Interrupted:
            reason = signal.Signals(stop.received).name if stop.received else stop.reason
            run.write_status("interrupted", session.total_steps, reason)
        else:
            finish(run, recipe, opened.agent, session.total_steps, session.seconds, session.eval_seconds)
    return session


def finish(run: "Run", recipe: Recipe, agent: str, total_steps: int, seconds: float, eval_seconds: float) -> None:
    """Draw the curve, write the summary."""
    from rlsparse.compare.plot import draw_curve
    from rlsparse.compare.summary import COLUMNS, summarise
    from rlsparse.run.directory import read_probes, read_progress

    rows = read_progress(run.progress, COLUMNS)
    draw_curve(rows, f"{agent} on {recipe.env}", run.path / "curve.png")
    probes = read_probes(run.path / "probe.csv")
    summary = summarise(rows, recipe, agent, seconds, probes, eval_seconds)
    write_atomic(run.path / "summary.json", seal(summary) + "\n")
    run.write_status("finished", total_steps)


def _seeds(recipe: Recipe) -> str:
    return f"seeds {recipe.seeds[0]} to {recipe.seeds[-1]}" if recipe.num_seeds > 1 else f"seed {recipe.seed}"


def how_to_resume(run: Path, recipe: Recipe) -> str:
    """Return the command that goes on with a run; it names the environment if its code is a user's own."""
    named = trust.flags_that_name(recipe.environment, trust.foreign_code(recipe.environment, run))
    return f"rlsparse train --resume {shlex.quote(str(run))} {named}".rstrip()


def announce(text: str, quiet: bool) -> None:
    """Print a line on stderr, if there is anything to say."""
    if text and not quiet:
        say(text)
