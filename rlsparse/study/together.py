"""Train runs in one process: those together whose recipes allow it, and what fails does not stop the others."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from rlsparse import loop, sim
from rlsparse.errors import BROKEN, DivergenceError, Interrupted, RunDirectoryError, StorageError, in_one_line
from rlsparse.run import device
from rlsparse.run.checkpoint import Checkpoint, load_latest
from rlsparse.run.foreign import contained, left_to_workers
from rlsparse.run.no_callbacks import NoCallbacks
from rlsparse.run.recipe import Recipe
from rlsparse.run.saved import misfits_told
from rlsparse.run.session import open_session, taken_up
from rlsparse.run.status import Settings
from rlsparse.run.stop import Stop
from rlsparse.study.joint_recipe import joint
from rlsparse.study.members import OF_ALL
from rlsparse.study.population import NotWritten, Population, make_parts, on_each, restore
from rlsparse.study.populations import populations
from rlsparse.train.training import Opened, finish, how_to_resume, train

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """What has ended a run."""

    opened: Opened
    error: BaseException


def train_together(opened: Sequence[Opened], stop: Stop) -> list[Failure]:
    """Train runs to their ends, or until told to stop; returns those that have failed, which have noted it."""
    waiting, failures = _groups(opened)
    while waiting and not stop():
        group = waiting.pop(0)
        try:
            _train(group, stop)
        except BROKEN as error:
            again, failed = _sorted_out(group, error)
            waiting = again + waiting
            failures += [Failure(one, error) for one in failed]
    for run in (x.run for group in waiting for x in group):
        run.release()
    return failures


def _groups(opened: Sequence[Opened]) -> tuple[list[list[Opened]], list[Failure]]:
    """Return runs that may be trained together: by their recipes, at the same step, and carried out alike.

    And those that have no whole checkpoint any more.
    """
    groups, failures = [], []
    for indices in populations([x.recipe for x in opened]):
        alike: dict[Any, list[Opened]] = {}
        for one in (opened[i] for i in indices):
            try:
                at = _stands_at(one)
            except RunDirectoryError as error:
                one.run.fail(str(error))
                one.run.release()
                failures.append(Failure(one, error))
                continue
            settings = Settings().changed_by(one.run.settings)
            alike.setdefault((at, settings, one.device, one.env_workers), []).append(one)
        groups += list(alike.values())
    return groups, failures


def _stands_at(one: Opened) -> tuple[int, ...]:
    """Return the training steps of the member of a run that has most, and what counts for all; nothing if not saved."""
    saved = load_latest(one.run.checkpoints)
    if saved is None:
        return ()
    with misfits_told(one.run.given):
        group, name = OF_ALL
        of_all = saved.arrays[group].get(name, np.zeros(0, np.int64))
        return int(saved.arrays["learner"]["counters.train"].max()), *of_all.tolist()


def _train(group: Sequence[Opened], stop: Stop) -> None:
    if len(group) == 1:
        train(group[0], stop, NoCallbacks(), quiet=True, resumed=True)
        return
    recipe, first = joint([x.recipe for x in group]), group[0]
    settings = first.run.settings

    def fail(reason: str) -> None:
        for one in group:
            one.run.fail(reason)

    with (
        device.explain_out_of_memory(recipe, first.device, how_to_resume(first.run.given, first.recipe)),
        device.prepared(first.device),
        contained(settings.env_timeout, fail),
    ):
        population = _built(group, recipe)
        on_each(group, lambda one: one.run.write_status("running", population.total_steps))
        try:
            loop.train(population, NoCallbacks(), stop)
        except Interrupted:
            reason = stop.reason or f"signal {stop.received}"
            on_each(population.parts, lambda part: part.run.write_status("interrupted", part.total_steps, reason))
        else:
            seconds = population.seconds, population.eval_seconds
            on_each(population.parts, lambda x: finish(x.run, x.recipe, x.agent, x.total_steps, *seconds))
    for one in group:
        one.run.release()


def _built(group: Sequence[Opened], recipe: Recipe) -> Population:
    """Build the population of several runs as it was when they were last saved."""
    first = group[0]
    apart = left_to_workers(first.run.settings.env_timeout, 1) is not None
    given = first.env_workers or (1 if apart else None)
    workers, _ = sim.workers_for(recipe.environment, recipe.num_seeds * recipe.num_envs, given)
    session = open_session(recipe, first.run, first.device, None, workers)
    parts = make_parts([(x.run, x.recipe, x.agent) for x in group], session.learner, first.device)
    population = Population(**{f.name: getattr(session, f.name) for f in fields(session)}, parts=parts)
    saved: list[Checkpoint | None] = []
    on_each(group, lambda one: saved.append(taken_up(one.run, one.recipe)))
    restore(population, saved)
    return population


def _sorted_out(group: Sequence[Opened], error: BaseException) -> tuple[list[list[Opened]], list[Opened]]:
    """Return which of the runs that failed together are to be trained again, in groups, and which have failed.

    Where it is not known whose failure it was, they are trained again in halves.
    """
    if len(group) == 1:
        return [], list(group)  # which has noted it
    if isinstance(error, StorageError):
        errors = error.errors if isinstance(error, NotWritten) else {one.run.path: error for one in group}
        guilty = [one for one in group if one.run.path in errors]
    elif isinstance(error, DivergenceError) and error.member is not None:
        owners = [one for one in group for _ in range(one.recipe.num_seeds)]
        guilty = [owners[error.member]]
    else:
        half = len(group) // 2
        log.warning("%s; %d runs go on in two halves", in_one_line(error), len(group))
        return [list(group[:half]), list(group[half:])], []
    for one in guilty:
        one.run.fail(str(error.errors[one.run.path] if isinstance(error, NotWritten) else error))
        one.run.release()
    others = [one for one in group if one not in guilty]
    return ([others] if others else []), guilty
