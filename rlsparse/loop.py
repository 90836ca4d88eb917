"""The training iteration and what surrounds it: collect, estimate, update, probe; evaluate, record, save."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from gymnasium.vector import VectorEnv

from rlsparse import sim
from rlsparse.advantage.group_relative import GroupRelative
from rlsparse.algorithms.best_episodes import BestEpisodes
from rlsparse.algorithms.imitation import switched
from rlsparse.algorithms.variance_reduced import NHARPG, NPGIGT
from rlsparse.errors import DivergenceError, Interrupted, RunDirectoryError, StorageError
from rlsparse.explore.choice import Choice
from rlsparse.explore.explorer import Explorer, account
from rlsparse.learner.arrays import namespace, to_numpy
from rlsparse.learner.learner import Learner
from rlsparse.learner.network import Actors
from rlsparse.learner.records import Advantages, Batch, EpochStats, Rollout
from rlsparse.learner.streams import env_seeds
from rlsparse.run import checkpoint, policy_file
from rlsparse.run.checkpoint import Checkpoint
from rlsparse.run.directory import Run
from rlsparse.run.recipe import Recipe, objective_of, to_dict
from rlsparse.run.records import density_rows, progress_rows
from rlsparse.sim.collect import Collector, by_member, flatten
from rlsparse.sim.episodes import Scores, evaluate
from rlsparse.sparse.packed_update import update

if TYPE_CHECKING:
    from rlsparse.sim.device_rollout import DeviceCollector

SAVE_INTERVAL = 60.0
"""Most seconds between two checkpoints."""

MOST_FAILED_SAVES = 3
"""So many checkpoints in a row that cannot be written end the run."""

log = logging.getLogger(__name__)


class Reporter(Protocol):
    """Who is told how training goes."""

    def iteration(self, session: "Session", stats: EpochStats) -> None:
        """One update is done."""

    def evaluation(self, session: "Session", rows: list[dict[str, Any]]) -> None:
        """Members have been evaluated: a progress row of each."""

    def probe(self, session: "Session", rows: list[dict[str, Any]]) -> None:
        """Members have probed: a row of probe.csv of each."""


@dataclass
class Session:
    """A run being trained: the learner, its environments, and where it stands."""

    recipe: Recipe
    run: Run
    learner: Learner
    collector: "Collector | DeviceCollector"
    eval_env: VectorEnv
    explorer: Explorer | None
    evaluated_at: np.ndarray
    """Steps of each member at its last evaluation, -1 before the first, [S]."""
    stats: EpochStats | None = None
    failed_saves: int = 0
    seconds_before: float = 0.0
    started: float = field(default_factory=time.monotonic)

    @property
    def total_steps(self) -> int:
        """Train + probe steps of the member that has most."""
        return int(self.learner.counters.total.max())

    @property
    def finished(self) -> np.ndarray:
        """Which members have spent their budget, or all of it that their last probes could use, [S] bool."""
        spent = self.learner.counters.total >= self.recipe.total_steps
        return spent if self.explorer is None else spent | self.explorer.ended()

    @property
    def evaluation_due(self) -> np.ndarray:
        """Which members reached a multiple of the evaluation interval, the start or the end since the last one."""
        interval, at, before = self.recipe.eval_interval, self.learner.counters.total, self.evaluated_at
        return (before < 0) | (at // interval > before // interval) | (self.finished & (before != at))

    @property
    def seconds(self) -> float:
        """Seconds spent on this run, in all its sessions."""
        return self.seconds_before + time.monotonic() - self.started


def open_session(recipe: Recipe, run: Run, device: str) -> Session:
    """Build a run as it is before its first step."""
    learner, collector = begin(recipe, device)
    make = single_episodes(recipe, device)
    eval_env = make(recipe.num_seeds * recipe.eval_episodes)
    explorer = None
    if recipe.explore is not None:
        explorer = Explorer(recipe.explore, learner, make, recipe.num_envs, recipe.total_steps)
    return Session(recipe, run, learner, collector, eval_env, explorer, np.full(recipe.num_seeds, -1))


def single_episodes(recipe: Recipe, device: str = "cpu") -> Callable[[int], VectorEnv]:
    """Return what makes n environments that do not reset by themselves."""
    return partial(sim.make, recipe.env, autoreset=False, simulator=recipe.simulator, device=device)


def begin(recipe: Recipe, device: str = "cpu") -> tuple[Learner, "Collector | DeviceCollector"]:
    """Build the learner and its environments as they are before the first step."""
    seeds, num_envs = recipe.seeds, recipe.num_envs
    group = recipe.group_size
    env = sim.make(
        recipe.env, len(seeds) * num_envs, autoreset=group is None, simulator=recipe.simulator, device=device
    )
    obs_size, action_size = env.single_observation_space.shape[0], env.single_action_space.shape[0]  # type: ignore[index]
    learner = Learner(
        recipe.policy,
        obs_size,
        action_size,
        seeds,
        device,
        recipe.sparse,
        recipe.advantage.needs_critic,
        recipe.algorithm.new_optimiser,
        device if recipe.simulator == "warp" else "cpu",
    )
    size = group or 1
    firsts = [env_seed for seed in seeds for env_seed in env_seeds(seed, "train_env", num_envs // size)]
    train_seeds = [first for first in firsts for _ in range(size)]
    if recipe.simulator == "warp":
        from rlsparse.sim.device_rollout import DeviceCollector

        return learner, DeviceCollector(env, len(seeds), train_seeds, device)
    objective = objective_of(recipe, obs_size)
    best = None if recipe.cloning is None else BestEpisodes(recipe.cloning, len(seeds), num_envs, obs_size, action_size)
    return learner, Collector(env, len(seeds), train_seeds, group, objective, recipe.scaffold, best)


def train(session: Session, reporter: Reporter, stop: Callable[[], bool]) -> None:
    """Train until the budget is spent; `stop` is asked after every iteration and evaluation step.

    Raises Interrupted, after saving, when told to stop; DivergenceError when a number is not finite,
    leaving the last checkpoint as it is and the policy of the last complete iteration.
    """
    saved = time.monotonic()
    while True:
        if session.evaluation_due.any() and not stop():
            with _policy_kept(session):
                _evaluate_and_record(session, reporter, stop)
            save(session, last=bool(session.finished.all()))
            saved = time.monotonic()
        if session.finished.all() and not session.evaluation_due.any():
            return
        if stop():
            save(session, last=True)
            raise Interrupted
        if session.explorer is not None and session.explorer.due().size:
            _probe_and_record(session, session.explorer, reporter, stop)
        else:
            with _policy_kept(session), _finished_kept(session):
                session.stats, choice = iterate(session.recipe, session.learner, session.collector, session.explorer)
            reporter.iteration(session, session.stats)
            if choice is not None:
                _record_probe(session, np.arange(session.learner.members), choice, reporter)
        if time.monotonic() - saved > SAVE_INTERVAL:
            save(session)
            saved = time.monotonic()


@contextmanager
def _finished_kept(session: Session) -> Iterator[None]:
    """Members whose budget is spent go on computing beside the others, and get their own state back after."""
    learner, done = session.learner, np.flatnonzero(session.finished)
    if not done.size:
        yield
        return
    arrays = [learner.params, *vars(learner.counters).values()]
    moments = learner.obs_moments.state_dict()
    kept = [x[done] + 0 for x in [*arrays, *moments.values()]]
    yield
    for array, rows in zip([*arrays, *learner.obs_moments.state_dict().values()], kept, strict=True):
        array[done] = rows


@contextmanager
def _policy_kept(session: Session) -> Iterator[None]:
    """On divergence, write the policy as it was before: that of the last complete iteration."""
    learner = session.learner
    before = learner.params + 0
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # reported as one error, not as a warning per operation
            yield
    except DivergenceError:
        learner.params[...] = before
        policy_file.save(session.run.path / "policy.safetensors", session.recipe, learner)
        raise


def iterate(
    recipe: Recipe, learner: Learner, collector: "Collector | DeviceCollector", explorer: Explorer | None = None
) -> tuple[EpochStats, Choice | None]:
    """One iteration: collect a rollout, estimate advantages, update, exchange weights of sparse networks.

    The explorer watches and may judge the rollout.

    Returns the last epoch's statistics, and the account of a probe that took no steps of its own.
    """
    learner.begin_iteration(recipe.total_steps)
    acting = explorer.acting() if explorer else None
    groups = recipe.advantage if isinstance(recipe.advantage, GroupRelative) else None
    if groups is not None and groups.restarts:
        assert isinstance(collector, Collector), "groups are simulated on the CPU"
        collector.restart()
    rollout, beside = _collect(recipe, learner, collector, acting)
    advantages = recipe.advantage(rollout)
    choice = explorer.judge(rollout, _as_acted(recipe, rollout, advantages), acting) if explorer else None
    batch, best = flatten(rollout, advantages, learner), collector.best_episodes
    epochs_left = recipe.algorithm.epochs
    for epoch_stats in update(recipe.algorithm, learner, switched(batch, best, learner) if best else batch, *beside):
        last = epoch_stats
        epochs_left -= 1
        if explorer:
            explorer.after_epoch()
    collector.check(learner)
    stats = last.on_host()
    if groups is not None:
        stats = replace(stats, degenerate_groups=groups.degenerate(rollout, advantages))
    _check_update(learner, stats)
    learner.evolve(batch.obs)
    learner.obs_moments.update(by_member(rollout.obs), None if rollout.valid is None else by_member(rollout.valid))
    if explorer:
        explorer.after_iteration(skipped_epochs=epochs_left)
    return stats, choice


def _check_update(learner: Learner, stats: EpochStats) -> None:
    """Raise DivergenceError if a member's gradient or parameters are not finite."""
    finite = np.isfinite(stats.grad_norm) & to_numpy(namespace(learner.params).isfinite(learner.params).all(1))
    if not finite.all():
        member = int(np.flatnonzero(~finite)[0])
        raise DivergenceError(
            f"the gradient of seed {learner.seeds[member]} is not finite after {learner.counters.train[member]} "
            "training steps; the policy of the last complete iteration is kept: try a smaller "
            "--algorithm.learning-rate"
        )


def _collect(
    recipe: Recipe, learner: Learner, collector: "Collector | DeviceCollector", acting: np.ndarray | None
) -> tuple[Rollout, list[Batch]]:
    """Collect the rollout, by the policy or where else the algorithm wants it, and what it learns from beside it."""
    algorithm, length, gamma = recipe.algorithm, recipe.rollout_length, recipe.advantage.gamma
    if isinstance(algorithm, NPGIGT):
        with learner.standing_at(algorithm.sampling_point(learner)):
            return collector.collect(learner, length, gamma, acting), []
    rollout = collector.collect(learner, length, gamma, acting)
    if not isinstance(algorithm, NHARPG):
        return rollout, []
    with learner.standing_at(algorithm.sampling_point(learner)):
        second = collector.collect(learner, algorithm.second_length, gamma)
    return rollout, [flatten(second, recipe.advantage(second), learner)]


def _as_acted(recipe: Recipe, rollout: Rollout, advantages: Advantages) -> Advantages:
    """Advantages by which candidates are judged: not corrected for what the incumbent would have done."""
    if advantages.log_prob is None or rollout.own_log_prob is None:
        return advantages
    return recipe.advantage(replace(rollout, own_log_prob=None))


def _probe_and_record(session: Session, explorer: Explorer, reporter: Reporter, stop: Callable[[], bool]) -> None:
    """Probe with the members whose turn it is; a probe that is interrupted or fails leaves the policies alone."""
    members = explorer.due()
    try:
        choice = explorer.probe(members, stop)
    except Interrupted:
        save(session, last=True)
        raise
    _record_probe(session, members, choice, reporter)


def _record_probe(session: Session, members: np.ndarray, choice: Choice, reporter: Reporter) -> None:
    assert session.explorer is not None
    rows = account(choice, members, session.learner, session.explorer.cycles)
    session.run.append("probe.csv", rows)
    reporter.probe(session, rows)


def _evaluate_and_record(session: Session, reporter: Reporter, stop: Callable[[], bool]) -> None:
    learner, recipe = session.learner, session.recipe
    seeds = [s for seed in recipe.seeds for s in env_seeds(seed, "eval_env", recipe.eval_episodes)]
    objective = session.collector.objective
    points: list[np.ndarray] = []
    watch = (lambda obs: points.append(objective.points(session.eval_env, obs))) if objective else (lambda obs: None)
    try:
        each = [_score(session, learner.actors(), seeds, stop, watch)]
        each += [_score(session, x, seeds, stop) for x in learner.sub_actors()]
    except Interrupted:
        save(session, last=True)
        raise
    values = objective.values(np.stack(points), each[0].lengths) if objective else None
    due = session.evaluation_due
    for scores in each:
        learner.counters.eval[due] += scores.lengths[due].sum(1)
    session.evaluated_at = np.where(due, learner.counters.total, session.evaluated_at)
    recent, best = session.collector.recent_returns, session.collector.best_episodes
    groups = recipe.group_size is not None
    guide = session.collector.guide
    tier, cloned = guide.mean_tier() if guide else None, best.share() if best else None
    every = progress_rows(learner, each[0], session.stats, recent, session.seconds, values, groups, tier, cloned)
    rows = [row for row, wanted in zip(every, due, strict=True) if wanted]
    if learner.sub_networks is not None:
        session.run.append("density.csv", density_rows(learner, learner.sub_networks, each, np.flatnonzero(due)))
    session.run.append("progress.csv", rows)
    if best:
        best.told(due)
    reporter.evaluation(session, rows)


def _score(
    session: Session,
    actors: Actors,
    seeds: list[int],
    stop: Callable[[], bool],
    watch: Callable[[np.ndarray], None] = lambda obs: None,
) -> Scores:
    """Evaluate where the run's environments are; only on the CPU can observations be watched."""
    if session.recipe.simulator == "mujoco":
        return evaluate(session.eval_env, actors, seeds, stop, watch)
    from rlsparse.sim.device_episodes import evaluate_on_device

    return evaluate_on_device(session.eval_env, actors, seeds, stop)


def save(session: Session, *, last: bool = False) -> None:
    """Write the policy and a checkpoint of everything the run goes on from.

    A failure is only warned of, for training may outlive a full disk; the `last` save of a session and
    the third failure in a row raise StorageError.
    """
    try:
        _save(session)
    except StorageError as error:
        session.failed_saves += 1
        if last or session.failed_saves == MOST_FAILED_SAVES:
            raise
        log.warning("%s; the checkpoint before is kept, training goes on and will save again", error)
    else:
        session.failed_saves = 0


def _save(session: Session) -> None:
    learner = session.learner
    arrays = {"learner": learner.state_dict(), "collector": session.collector.state_dict()}
    if session.explorer is not None:
        arrays["explorer"] = session.explorer.state_dict()
    values = {
        "recipe": to_dict(session.recipe),
        "random": learner.random_state(),
        "evaluated_at": session.evaluated_at.tolist(),
        "seconds": session.seconds,
        "records": session.run.records(),
    }
    if session.stats is not None:
        arrays["stats"] = session.stats.present()
    checkpoint.save(session.run.checkpoints, session.total_steps, Checkpoint(arrays, values))
    policy_file.save(session.run.path / "policy.safetensors", session.recipe, learner)
    session.run.write_status("running", session.total_steps)


def restore(session: Session) -> None:
    """Put a session where its newest whole checkpoint was, the policy file too: a save may have been cut before it.

    Raises RunDirectoryError if there is none, or if it was written by another recipe.
    """
    saved = checkpoint.load_latest(session.run.checkpoints)
    if saved.values["recipe"] != to_dict(session.recipe):
        raise RunDirectoryError(
            f"{session.run.path / 'recipe.toml'} was changed after the run began: a resumed run keeps its recipe, "
            "so undo the change or start a new run"
        )
    session.learner.load_state_dict(saved.arrays["learner"])
    session.learner.load_random_state(saved.values["random"])
    session.collector.load_state_dict(saved.arrays["collector"])
    session.stats = EpochStats(**saved.arrays["stats"]) if "stats" in saved.arrays else None
    if session.explorer is not None:
        session.explorer.load_state_dict(saved.arrays["explorer"])
    session.evaluated_at = np.array(saved.values["evaluated_at"])
    session.seconds_before = saved.values["seconds"]
    session.run.restore_records(saved.values["records"])
    policy_file.save(session.run.path / "policy.safetensors", session.recipe, session.learner)
