"""A run being trained: build it, evaluate it, write down how it goes, save it and put it back."""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from rlsparse import sim
from rlsparse.errors import Interrupted, RunDirectoryError, StorageError
from rlsparse.explore.choice import Choice
from rlsparse.explore.explorer import MemberExplorer
from rlsparse.explore.no_probing import NoProbing
from rlsparse.explore.workers import episode_runner
from rlsparse.learner.actors import Actors
from rlsparse.learner.learner import Learner
from rlsparse.learner.records import EpochStats
from rlsparse.learner.streams import env_seeds
from rlsparse.run import cards, checkpoint, policy_file
from rlsparse.run.best import BestPolicies
from rlsparse.run.checkpoint import Checkpoint
from rlsparse.run.directory import Run
from rlsparse.run.foreign import left_to_workers
from rlsparse.run.no_callbacks import NoCallbacks
from rlsparse.run.recipe import Recipe, to_dict
from rlsparse.run.records import probe_rows, progress_rows
from rlsparse.run.saved import check_arrays, check_values, misfits_told
from rlsparse.run.status import LAST
from rlsparse.run.storage import remove_leftovers
from rlsparse.sim.collect import Collector
from rlsparse.sim.episodes import Scores, evaluate

MOST_FAILED_SAVES = 3
"""So many checkpoints in a row that cannot be written end the run."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Iteration:
    """What one iteration tells."""

    stats: EpochStats
    """Of the last epoch."""
    metrics: dict[str, np.ndarray] = field(default_factory=dict)
    """What the advantage estimator tells of the rollout, [S] each."""
    choice: Choice | None = None
    """The account of a probe that took no steps of its own."""


@dataclass
class Session:
    """A run being trained: the learner, its environments, and where it stands."""

    recipe: Recipe
    run: Run
    learner: Learner
    collector: Collector
    eval_env: VectorEnv
    explorer: NoProbing
    evaluated_at: np.ndarray
    """Steps of each member at its last evaluation, -1 before the first, [S]."""
    best: BestPolicies
    callbacks: NoCallbacks = field(default_factory=NoCallbacks)
    last: Iteration | None = None
    failed_saves: int = 0
    save_seconds: float = 0.0
    """Those of the last checkpoint."""
    saved_at: int = 0
    """Steps at the last checkpoint, whether or not it could be written."""
    seconds_before: float = 0.0
    eval_seconds: float = 0.0
    """Those of `seconds` that went to evaluations."""
    started: float = field(default_factory=time.monotonic)

    @property
    def total_steps(self) -> int:
        """Train + probe steps of the member that has most."""
        return int(self.learner.counters.total.max())

    @property
    def finished(self) -> np.ndarray:
        """Which members have spent their budget, or all of it that their last probes could use, [S] bool."""
        return (self.learner.counters.total >= self.recipe.total_steps) | self.explorer.ended()

    @property
    def checkpoint_due(self) -> bool:
        """Whether a checkpoint is asked for at so many steps."""
        every = self.run.settings.checkpoint_every
        return every is not None and self.total_steps // every > self.saved_at // every

    @property
    def evaluation_due(self) -> np.ndarray:
        """Which members reached a multiple of the evaluation interval, the start or the end since the last one."""
        interval, at, before = self.recipe.eval_interval, self.learner.counters.total, self.evaluated_at
        return (before < 0) | (at // interval > before // interval) | (self.finished & (before != at))

    @property
    def seconds(self) -> float:
        """Seconds spent on this run, in all its sessions."""
        return self.seconds_before + time.monotonic() - self.started

    def append(self, table: str, rows: list[dict[str, Any]], members: np.ndarray) -> None:
        """Add rows to one of the tables; they are of these members, as many of each."""
        self.run.records.append(table, rows)

    def write(self, now: Checkpoint) -> None:
        """Write a checkpoint, and all that it makes good; raises StorageError."""
        write(self.run, self.recipe, self.learner, self.best, now)

    def write_policies(self) -> None:
        """Write the policies as they are; raises StorageError."""
        policy_file.save(self.run.path / LAST, self.recipe, self.learner)


def environments(
    recipe: Recipe, device: str = "cpu", workers: int = 1, timeout: float | None = None
) -> Callable[..., VectorEnv]:
    """Return what makes n environments of a run; they share `workers` processes, and the restarts that it allows."""
    return sim.maker(recipe.environment, recipe.simulator, device, recipe.env_restarts, workers, timeout)


def single_episodes(recipe: Recipe, device: str = "cpu") -> Callable[[int], VectorEnv]:
    """Return what makes n environments that do not reset by themselves."""
    return partial(environments(recipe, device), autoreset=False)


def begin(
    recipe: Recipe, device: str = "cpu", make: Callable[..., VectorEnv] | None = None
) -> tuple[Learner, Collector, NoProbing]:
    """Build the learner, its environments and its explorer as they are before the first step.

    `make` is what `environments` gave, if others are to share restarts with these.
    """
    seeds, num_envs, estimator = recipe.seeds, recipe.num_envs, recipe.advantage
    make = make or environments(recipe, device)
    env = make(len(seeds) * num_envs, autoreset=estimator.autoreset, seeds=seeds)
    learner = new_learner(recipe, env.single_observation_space.shape[0], env.single_action_space.shape[0], device)  # type: ignore[index]
    learner.archive = recipe.algorithm.archive(len(seeds), num_envs, learner.layout)
    wrapped = estimator.wrap(env, learner, cards.about(recipe))
    train_seeds = [s for seed in seeds for s in env_seeds(seed, "train_env", num_envs)]
    simulated_on = learner.simulated_on
    collector = _collector_class(simulated_on)(wrapped, len(seeds), train_seeds, simulated_on)
    if recipe.explore is None:
        return learner, collector, NoProbing()
    single = partial(make, autoreset=False)
    return learner, collector, MemberExplorer(recipe.explore, learner, single, num_envs, recipe.total_steps)


def new_learner(recipe: Recipe, obs_size: int, action_size: int, device: str) -> Learner:
    """Build the learner as it is before the first step; it has no archive yet."""
    return Learner(
        recipe.policy,
        obs_size,
        action_size,
        recipe.seeds,
        device,
        recipe.sparsity,
        recipe.advantage.needs_critic,
        recipe.algorithm.new_optimiser,
        device if recipe.simulator == "warp" else "cpu",
    )


def _collector_class(simulated_on: str) -> type[Collector]:
    if simulated_on == "cpu":
        return Collector
    from rlsparse.sim.collect_device import DeviceCollector

    return DeviceCollector


def open_session(
    recipe: Recipe, run: Run, device: str, callbacks: NoCallbacks | None = None, workers: int = 1
) -> Session:
    """Build a run as it is before its first step; its environments step in `workers` processes."""
    make = environments(recipe, device, workers, left_to_workers(run.settings.env_timeout, workers))
    learner, collector, explorer = begin(recipe, device, make)
    explorer.run_episodes = episode_runner(run.settings.explore_workers, recipe, device, run.settings.env_timeout)
    eval_env = make(recipe.num_seeds * recipe.eval_episodes, autoreset=False, seeds=recipe.seeds)
    never, best = np.full(recipe.num_seeds, -1), BestPolicies(learner)
    return Session(recipe, run, learner, collector, eval_env, explorer, never, best, callbacks or NoCallbacks())


def evaluate_and_record(session: Session, reporters: NoCallbacks, stop: Callable[[], bool]) -> None:
    """Evaluate all members, and write rows of those for whom it is due; saves before it raises Interrupted."""
    learner, recipe = session.learner, session.recipe
    seeds = [s for seed in recipe.seeds for s in env_seeds(seed, "eval_env", recipe.eval_episodes)]
    watch = recipe.advantage.watch(session.eval_env, cards.about(recipe))

    def score(actors: Actors, watch: Callable[[np.ndarray], None] = lambda obs: None) -> Scores:
        return evaluate(session.eval_env, actors, seeds, stop, watch, learner.simulated_on)

    begun = time.monotonic()
    try:
        each = [score(learner.actors(), watch)]
        each += [score(inner) for inner in learner.sparsity.inner_actors(learner.actors())]
    except Interrupted:
        save(session, last=True)
        raise
    session.eval_seconds += time.monotonic() - begun
    due = session.evaluation_due
    for scores in each:
        learner.counters.eval[due] += scores.lengths[due].sum(1)
    session.evaluated_at = np.where(due, learner.counters.total, session.evaluated_at)
    session.best.observe(learner, due, each[0].returns.mean(1))
    metrics = watch.metrics(each[0].lengths) | session.collector.metrics() | learner.metrics()
    members = np.flatnonzero(due)
    rows = [row for row, wanted in zip(progress_rows(session, each[0], metrics), due, strict=True) if wanted]
    if inner_rows := learner.sparsity.inner_rows(learner, each, members):
        session.append("density.csv", inner_rows, members)
    session.append("progress.csv", rows, members)
    learner.archive.reset_counts(due)
    reporters.evaluation(session, rows)


def record_probe(session: Session, members: np.ndarray, choice: Choice, reporters: NoCallbacks) -> None:
    """Write the account of a probe of these members."""
    learner = session.learner
    rows = probe_rows(choice, members, learner.seeds, learner.counters, session.explorer.cycles)
    session.append("probe.csv", rows, members)
    reporters.probe(session, rows)


def save(session: Session, now: Checkpoint | None = None, *, last: bool = False) -> None:
    """Write the policy and a checkpoint of everything the run goes on from, as it is `now` unless given.

    A failure is only warned of, for training may outlive a full disk; the `last` save of a session and
    the third failure in a row raise StorageError.
    """
    session.saved_at, begun = session.total_steps, time.monotonic()
    try:
        session.write(now or state(session))
    except StorageError as error:
        session.failed_saves += 1
        if last or session.failed_saves == MOST_FAILED_SAVES:
            raise
        log.warning("%s; the checkpoint before is kept, training goes on and will save again", error)
    else:
        session.failed_saves = 0
    session.save_seconds = time.monotonic() - begun


def write(run: Run, recipe: Recipe, learner: Learner, best: BestPolicies, now: Checkpoint) -> None:
    """Write a checkpoint of a run, and all that it makes good; raises StorageError."""
    at, settings = int(learner.counters.total.max()), run.settings
    now = Checkpoint(now.arrays, {"recipe": to_dict(recipe), **now.values, **run.records.state()})
    # the checkpoint first: it makes good what comes after it
    checkpoint.save(run.checkpoints, at, now, settings.keep_checkpoints, recipe.total_steps, settings.checkpoint_every)
    run.records.write()
    policy_file.save(run.path / LAST, recipe, learner)
    best.write(run.path, recipe, learner)
    run.write_status("running", at)


def state(session: Session) -> Checkpoint:
    """Return all that the run goes on from beside recipe and tables, as it is now; arrays may be live."""
    learner = session.learner
    own_arrays, own_values = session.callbacks.state()
    arrays = {
        "learner": learner.state_dict(),
        "collector": session.collector.state_dict(),
        "explorer": session.explorer.state_dict(),
        **({"callbacks": own_arrays} if own_arrays else {}),
        "best": session.best.state_dict(),
    }
    values = {
        "random": learner.random_state(),
        "evaluated_at": session.evaluated_at.tolist(),
        "seconds": session.seconds,
        "eval_seconds": session.eval_seconds,
        "callbacks": own_values,
    }
    if session.last is not None:
        arrays |= {"stats": vars(session.last.stats), "metrics": session.last.metrics}
    return Checkpoint(arrays, values)


def load(
    saved: Checkpoint, learner: Learner, collector: Collector, explorer: NoProbing, run_dir: Path, **others: Any
) -> None:
    """Put learner, collector, explorer and others where a checkpoint was; raises RunDirectoryError if one is unlike."""
    parts: dict[str, Any] = {"learner": learner, "collector": collector, "explorer": explorer, **others}
    with misfits_told(run_dir):
        check_arrays(saved, {group: part.state_dict() for group, part in parts.items()}, run_dir)
        for group, part in parts.items():
            part.load_state_dict(saved.arrays[group])
        learner.load_random_state(saved.values["random"])


def start(session: Session) -> None:
    """Put a session that has just been built where its first step is taken: at the trained policy, if it has one."""
    session.recipe.beginning.begin(session.learner, session.recipe, policy_file.load)


def restore(session: Session, strict: bool = False) -> None:
    """Put a session where its newest whole checkpoint was, and make good whatever a save has left half done.

    A run that stopped before its first checkpoint begins anew. Raises RunDirectoryError if no checkpoint is left whole
    (if `strict`, if one is passed over), or if it is of another recipe.
    """
    run = session.run
    saved = taken_up(run, session.recipe, strict)
    if saved is None:
        start(session)
        return
    adopt(session, saved)
    session.write_policies()
    session.best.write(run.path, session.recipe, session.learner)


def taken_up(run: Run, recipe: Recipe, strict: bool = False) -> Checkpoint | None:
    """Return the newest whole checkpoint of a run, whose tables are put back; None if it stopped before its first."""
    for folder in (run.path, run.checkpoints):
        remove_leftovers(folder)
    saved = checkpoint.load_latest(run.checkpoints, strict)
    if saved is None and (run.path / LAST).exists():
        raise RunDirectoryError(f"{run.given} has a policy but no checkpoint any more: there is nothing to go on from")
    if saved is None:
        run.records.restore({}, {})
        return None
    values = check_values(saved.values, recipe, run.given)
    run.records.restore(values.records, values.heads)
    return saved


def adopt(session: Session, saved: Checkpoint) -> None:
    """Put a session that has just been built where a checkpoint was; raises RunDirectoryError if one is unlike."""
    place = session.run.given
    load(saved, session.learner, session.collector, session.explorer, place, best=session.best)
    with misfits_told(place):
        if "stats" in saved.arrays:
            session.last = Iteration(EpochStats(**saved.arrays["stats"]), saved.arrays["metrics"])
        session.evaluated_at = np.array(saved.values["evaluated_at"])
        session.seconds_before, session.eval_seconds = saved.values["seconds"], saved.values["eval_seconds"]
        states = [(x["name"], dict(json.loads(x["state"]))) for x in saved.values["callbacks"]]
    session.saved_at = session.total_steps
    session.callbacks.load(saved.arrays.get("callbacks", {}), states)
