"""Training from top to bottom: collect, estimate, update, evolve, probe, record, until the budget is spent."""

import time
from collections.abc import Callable

import numpy as np

from rlsparse.errors import DivergenceError, Interrupted
from rlsparse.explore.no_probing import NoProbing
from rlsparse.learner.arrays import namespace, to_numpy
from rlsparse.learner.learner import Learner
from rlsparse.learner.records import EpochStats
from rlsparse.run.no_callbacks import NoCallbacks
from rlsparse.run.recipe import Recipe
from rlsparse.run.safekeeping import finished_kept, policy_kept, whole_or_not_at_all
from rlsparse.run.session import Iteration, Session, evaluate_and_record, record_probe, save
from rlsparse.sim.collect import Collector

SAVE_INTERVAL = 60.0
"""Most seconds between two checkpoints; of large ones, for each second that one takes."""


def train(session: Session, reporters: NoCallbacks, stop: Callable[[], bool]) -> None:
    """Train until the budget is spent; `stop` is asked after every environment step and minibatch.

    Raises Interrupted, after saving, when told to stop; DivergenceError when a number is not finite,
    leaving the last checkpoint as it is and the policy of the last complete iteration.
    """
    saved = time.monotonic()
    while True:
        if session.evaluation_due.any() and not stop():
            with policy_kept(session):
                evaluate_and_record(session, reporters, stop)
            save(session, last=bool(session.finished.all()))
            saved = time.monotonic()
        if session.finished.all() and not session.evaluation_due.any():
            return
        if stop():
            save(session, last=True)
            raise Interrupted
        if (members := session.explorer.due()).size:
            probe(session, members, reporters, stop)
        else:
            with whole_or_not_at_all(session, stop), policy_kept(session), finished_kept(session):
                session.last = iterate(session.recipe, session.learner, session.collector, session.explorer)
            reporters.iteration(session, session.last.stats)
            if session.last.choice is not None:
                record_probe(session, np.arange(session.learner.members), session.last.choice, reporters)
        if time.monotonic() - saved > SAVE_INTERVAL * max(1.0, session.save_seconds) or session.checkpoint_due:
            save(session)
            saved = time.monotonic()


def iterate(recipe: Recipe, learner: Learner, collector: Collector, explorer: NoProbing) -> Iteration:
    """One iteration: collect rollouts, estimate advantages, update, exchange weights of sparse networks.

    The explorer watches the update, and may judge candidates by the rollout.
    """
    algorithm, estimate = recipe.algorithm, recipe.advantage
    learner.begin_iteration(recipe.total_steps)
    if estimate.restarts:
        collector.restart(learner)
    acting = explorer.acting()
    rollouts = algorithm.collect(learner, collector, recipe.rollout_length, estimate.gamma, acting)
    advantages = [estimate(rollout) for rollout in rollouts]
    choice = explorer.judge(rollouts[0], estimate, acting)

    batch = algorithm.batch(learner, rollouts, advantages)
    epochs_left = algorithm.epochs
    for last_epoch in learner.update(algorithm, batch):
        stats = last_epoch
        epochs_left -= 1
        explorer.after_epoch()
    collector.check(learner)
    stats = stats.on_host()
    check_update(learner, stats)

    obs, _ = batch.for_critic
    learner.sparsity.evolve(learner, obs)
    learner.update_obs_moments(rollouts[0])
    explorer.after_iteration(skipped_epochs=epochs_left)
    return Iteration(stats, estimate.metrics(rollouts[0], advantages[0]), choice)


def probe(session: Session, members: np.ndarray, reporters: NoCallbacks, stop: Callable[[], bool]) -> None:
    """Probe with the members whose turn it is; a probe that is interrupted or fails leaves the policies alone."""
    try:
        choice = session.explorer.probe(members, stop)
    except Interrupted:
        save(session, last=True)
        raise
    record_probe(session, members, choice, reporters)


def check_update(learner: Learner, stats: EpochStats) -> None:
    """Raise DivergenceError if a member's gradient or parameters are not finite."""
    finite = np.isfinite(stats.grad_norm) & to_numpy(namespace(learner.params).isfinite(learner.params).all(1))
    if not finite.all():
        member = int(np.flatnonzero(~finite)[0])
        raise DivergenceError(
            f"the gradient of seed {learner.seeds[member]} is not finite after {learner.counters.train[member]} "
            "training steps; the policy of the last complete iteration is kept: try a smaller "
            "--algorithm.learning-rate",
            member,
        )
