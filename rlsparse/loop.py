"""The training iteration and what surrounds it: collect, estimate, update, probe; evaluate, record, save."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from gymnasium.vector import VectorEnv

from rlsparse import checkpoint, objectives, policy_file, sim
from rlsparse.advantage.group_relative import GroupRelative
from rlsparse.arrays import to_numpy
from rlsparse.checkpoint import Checkpoint
from rlsparse.data import Advantages, Batch, EpochStats, Rollout
from rlsparse.errors import DivergenceError, Interrupted, RunDirectoryError, StorageError
from rlsparse.evaluate import Scores, evaluate
from rlsparse.explore.choice import Choice
from rlsparse.explorer import Explorer, account
from rlsparse.learner import Learner
from rlsparse.recipe import Recipe, to_dict
from rlsparse.rollout import Collector, by_member, flatten
from rlsparse.runs import Run
from rlsparse.sparse.config import weight_slots
from rlsparse.sparse.sub_networks import SubNetworks
from rlsparse.streams import env_seeds
from rlsparse.variance_reduced import NHARPG, NPGIGT

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
    collector: Collector
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
    eval_env = sim.make(recipe.env, recipe.num_seeds * recipe.eval_episodes, autoreset=False)
    explorer = None
    if recipe.explore is not None:
        explorer = Explorer(recipe.explore, learner, recipe.env, recipe.num_envs, recipe.total_steps)
    return Session(recipe, run, learner, collector, eval_env, explorer, np.full(recipe.num_seeds, -1))


def begin(recipe: Recipe, device: str = "cpu") -> tuple[Learner, Collector]:
    """Build the learner and its environments as they are before the first step."""
    seeds, num_envs = recipe.seeds, recipe.num_envs
    group = recipe.group_size
    env = sim.make(recipe.env, len(seeds) * num_envs, autoreset=group is None)
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
    )
    size = group or 1
    firsts = [env_seed for seed in seeds for env_seed in env_seeds(seed, "train_env", num_envs // size)]
    train_seeds = [first for first in firsts for _ in range(size)]
    return learner, Collector(env, len(seeds), train_seeds, group, objectives.find(recipe, obs_size))


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
    recipe: Recipe, learner: Learner, collector: Collector, explorer: Explorer | None = None
) -> tuple[EpochStats, Choice | None]:
    """One iteration: collect a rollout, estimate advantages, update, exchange weights of sparse networks.

    The explorer watches and may judge the rollout.

    Returns the last epoch's statistics, and the account of a probe that took no steps of its own.
    """
    learner.begin_iteration(recipe.total_steps)
    acting = explorer.acting() if explorer else None
    if isinstance(recipe.advantage, GroupRelative) and recipe.advantage.restarts:
        collector.restart()
    rollout, beside = _collect(recipe, learner, collector, acting)
    advantages = recipe.advantage(rollout)
    choice = explorer.judge(rollout, _as_acted(recipe, rollout, advantages), acting) if explorer else None
    batch = flatten(rollout, advantages, learner)
    epochs_left = recipe.algorithm.epochs
    for stats in recipe.algorithm.update(learner, batch, *beside):
        finite = np.isfinite(stats.grad_norm) & np.isfinite(to_numpy(learner.params)).all(1)
        if not finite.all():
            member = int(np.flatnonzero(~finite)[0])
            raise DivergenceError(
                f"the gradient of seed {learner.seeds[member]} is not finite after {learner.counters.train[member]} "
                "training steps; the policy of the last complete iteration is kept: try a smaller "
                "--algorithm.learning-rate"
            )
        epochs_left -= 1
        if explorer:
            explorer.after_epoch()
    learner.evolve(batch.obs)
    learner.obs_moments.update(by_member(rollout.obs), None if rollout.valid is None else by_member(rollout.valid))
    if explorer:
        explorer.after_iteration(skipped_epochs=epochs_left)
    return stats, choice


def _collect(
    recipe: Recipe, learner: Learner, collector: Collector, acting: np.ndarray | None
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
        each = [evaluate(session.eval_env, learner.actors(), seeds, stop, watch)]
        each += [evaluate(session.eval_env, x, seeds, stop) for x in learner.sub_actors()]
    except Interrupted:
        save(session, last=True)
        raise
    values = objective.values(np.stack(points), each[0].lengths) if objective else None
    due = session.evaluation_due
    for scores in each:
        learner.counters.eval[due] += scores.lengths[due].sum(1)
    session.evaluated_at = np.where(due, learner.counters.total, session.evaluated_at)
    rows = [row for row, wanted in zip(progress_rows(session, each[0], values), due, strict=True) if wanted]
    if learner.sub_networks is not None:
        session.run.append("density.csv", density_rows(learner, learner.sub_networks, each, np.flatnonzero(due)))
    session.run.append("progress.csv", rows)
    reporter.evaluation(session, rows)


def progress_rows(session: Session, scores: Scores, coverage: np.ndarray | None) -> list[dict[str, Any]]:
    """Return one row of progress.csv per member; `coverage` [S, E] are values of a set function, if there is one."""
    learner, counters, collector = session.learner, session.learner.counters, session.collector
    log_std = to_numpy(learner.layout.log_std(learner.params))
    sparsity = learner.sparsity_metrics()
    rows = []
    for member, seed in enumerate(learner.seeds):
        stats = {name: x[member] for name, x in vars(session.stats).items()} if session.stats else {}
        recent = collector.recent_returns[member]
        row = {
            "seed": seed,
            "total_steps": counters.total[member],
            "train_steps": counters.train[member],
            "probe_steps": counters.probe[member],
            "eval_steps": counters.eval[member],
            "seconds": round(session.seconds, 3),
            "return_mean": scores.returns[member].mean(),
            "return_std": scores.returns[member].std(),
            "episodes": scores.returns.shape[1],
            "length_mean": scores.lengths[member].mean(),
            "train_return_mean": np.nanmean(recent) if np.isfinite(recent).any() else np.nan,
            "action_std": np.exp(log_std[member]).mean(),
        }
        row |= {name: stats.get(name, np.nan) for name in EpochStats.__dataclass_fields__}
        row |= {} if coverage is None else {"coverage": coverage[member].mean()}
        rows.append(row | {name: x[member] for name, x in sparsity.items()})
    return rows


def density_rows(
    learner: Learner, networks: SubNetworks, each: list[Scores], members: np.ndarray
) -> list[dict[str, Any]]:
    """Return one row of density.csv for each of these members and each density, the densest first."""
    weights = np.concatenate([np.arange(slot.start, slot.stop) for slot in weight_slots(learner.layout, "actor")])
    return [
        {
            "seed": learner.seeds[member],
            "total_steps": learner.counters.total[member],
            "density": round(density, 6),
            "actor_weights": networks.mask(k)[member, weights].sum(),
            "kl": networks.divergence[member, k],
            "return_mean": each[k].returns[member].mean(),
            "return_std": each[k].returns[member].std(),
            "episodes": each[k].returns.shape[1],
            "length_mean": each[k].lengths[member].mean(),
        }
        for member in members
        for k, density in enumerate(networks.densities)
    ]


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
        arrays["stats"] = vars(session.stats)
    checkpoint.save(session.run.checkpoints, session.total_steps, Checkpoint(arrays, values))
    policy_file.save(session.run.path / "policy.safetensors", session.recipe, learner)
    session.run.write_status("running", session.total_steps)


def restore(session: Session) -> None:
    """Put a session where its newest whole checkpoint was.

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
