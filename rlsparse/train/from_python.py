"""`rlsparse.train(...)`: what the command does, in Python."""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlsparse.errors import EnvironmentFailure, RlsparseError
from rlsparse.run import from_python
from rlsparse.run.choose import as_asked
from rlsparse.run.compatibility import check_bounds
from rlsparse.run.flags import ResumeFlags, TrainFlags
from rlsparse.run.recipe import Recipe
from rlsparse.run.reporters import callbacks_of
from rlsparse.run.stop import Stop, StopInterrupt
from rlsparse.train.training import planned, reopen, start, train

if TYPE_CHECKING:
    from rlsparse import Callback
    from rlsparse.run.session import Session
    from rlsparse.trained.result import TrainedRun


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
    env_timeout: float | None = None,
    env_workers: int | None = None,
    explore_workers: str | None = None,
    trust: bool = False,
    quiet: bool = True,
    callbacks: Sequence["Callback"] = (),
    **fields: Any,
) -> "TrainedRun":
    """Train an agent, or go on with a run, to its end: what `rlsparse train` does, with the same names and defaults.

    `env` is an id, a card's name, or a class that another process can import. `fields` are those of the recipe:
    numbers, components (`TRPO(target_kl=0.02)`), names of kinds (`"trpo"`) or dicts of what differs from the agent's
    card (`{"learning_rate": 1e-4}`). With `env_timeout`, the most seconds for a call of an environment, these step in
    `env_workers` processes beside this one, in one if not given. With `explore_workers="ray"` the episodes of probes
    run on a Ray cluster. Ctrl-C saves and then raises KeyboardInterrupt; with `quiet=False` progress is printed. Raises
    what `rlsparse.errors` has, such as UsageError.
    """
    env, text = from_python.class_name(env), from_python.text
    settings = from_python.settings(
        env_timeout, keep_checkpoints=keep_checkpoints, checkpoint_every=checkpoint_every, env_workers=env_workers
    )
    settings |= from_python.workers(explore_workers)
    if resume is None:
        name, recipe = from_python.recipe(env, agent, device, fields, like, trust)
        folder = None if run_dir is None else Path(text("run_dir", run_dir))
        new = TrainFlags(recipe, None, out=Path(text("out", out)), run_dir=folder, device=device, quiet=quiet)
        recipe, asked = as_asked(recipe, like, from_python.asked(fields))
        return _train_new(name, recipe, asked, replace(new, **settings), callbacks)
    wrappers = from_python.class_names(fields.pop("wrappers", None))
    settings |= from_python.settings(total_steps=fields.pop("total_steps", None))
    from_python.refuse_beside_resume(fields, agent=agent, like=like, run_dir=run_dir)
    flags = ResumeFlags(Path(text("resume", resume)), env, wrappers, trust, device=device, quiet=quiet)
    return _go_on(replace(flags, **settings), callbacks)


@contextmanager
def _told_as_failures() -> Iterator[None]:
    """Raise as an EnvironmentFailure, which is public, what ends the processes of environments too."""
    try:
        yield
    except EnvironmentFailure:
        raise
    except RlsparseError as error:
        if error.exit_code != EnvironmentFailure.exit_code:
            raise
        raise EnvironmentFailure(str(error)) from error


@_told_as_failures()
def _train_new(
    agent: str, recipe: Recipe, asked: Collection[str], flags: TrainFlags, callbacks: Sequence["Callback"]
) -> "TrainedRun":
    plan = planned(recipe, asked, flags)
    with StopInterrupt() as stop:
        return _result(start(plan, agent, flags, callbacks, stop), agent, stop)


@_told_as_failures()
def _go_on(flags: ResumeFlags, callbacks: Sequence["Callback"]) -> "TrainedRun":
    from rlsparse.trained.result import TrainedRun

    check_bounds(flags)
    with StopInterrupt() as stop:
        told = callbacks_of(callbacks, stop.ask)
        opened = reopen(flags)
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
