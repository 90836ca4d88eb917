"""What a run that probes will do, before its first step: the schedule, asked as if every episode lasted to its end."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.schedule import Schedule
from rlsparse.learner.records import Counters
from rlsparse.sim.episodes import STEP_CAP

TRIED = 40
"""Budgets that are tried in search of one that is large enough."""


def foresee(config: ExploRLer, total_steps: int, horizon: int, rollout_steps: int, epochs: int) -> Iterator[bool]:
    """Yield what a member does in turn: True for a probe, False for a rollout of `rollout_steps` and its update.

    Every episode is taken to last `horizon` steps, and every update to have all its `epochs`. A probe by the rollout,
    which costs no step, comes before the rollout.
    """
    steps, first, anchors = Counters.zeros(1), np.zeros(1, np.int64), 0
    schedule = Schedule.begin(config, total_steps, horizon, 1)
    cost = np.array([config.episodes_per_probe() * horizon])
    while steps.total[0] < total_steps:
        ready = schedule.ready(steps, anchors)[0]
        if ready and schedule.due(steps, anchors)[0]:
            yield True
            steps.probe += cost
            schedule = schedule.after_episodes(first, cost, first + horizon, np.zeros(1, bool))
            continue
        if schedule.cycles[0] and schedule.ended(steps, anchors)[0]:
            return
        steps.train += rollout_steps
        if not config.probe.spends and (ready if config.probe.acts else schedule.ready(steps, anchors)[0]):
            yield True
            schedule = schedule.after_probe(first)
        yield False
        taken = epochs if config.anchors == "epochs" else schedule.takes_anchor(int(steps.train[0]))
        anchors = min(anchors + taken, config.num_anchors)
        schedule = schedule.after_iteration(int(steps.train[0]))


def why_never(config: ExploRLer, total_steps: int, horizon: int, rollout_steps: int, epochs: int) -> str | None:
    """Return why a run makes no probe if every episode lasts `horizon` steps, or None if it makes one."""
    if _probes(config, total_steps, horizon, rollout_steps, epochs):
        return None
    budget = f"--total-steps {total_steps:,}"
    if not _probes(config, total_steps, 0, rollout_steps, epochs):
        settings = "--explore.num-anchors, --explore.anchor-span, --explore.every and --explore.start"
        return f"there will be no probe: {budget} are over before {settings} let the first one be"
    works = (n for n in _budgets(config, horizon) if n > total_steps)
    steps = next((n for n in works if _probes(config, n, horizon, rollout_steps, epochs)), None)
    start = latest_start(config, total_steps, horizon, rollout_steps, epochs)
    remedies = [] if steps is None else [f"--total-steps {steps:,}"]
    remedies += [] if start is None else [f"--explore.start {start:g}"]
    if horizon >= STEP_CAP:
        remedies += ["an environment that is registered with a max_episode_steps"]
    why = _too_much(config, total_steps, horizon)
    return f"there will be no probe: one may take {why}: use {', '.join([*remedies, 'or fewer candidates'])}"


def latest_start(config: ExploRLer, total_steps: int, horizon: int, rollout_steps: int, epochs: int) -> float | None:
    """Return the latest `start`, in hundredths and before the config's own, from which a probe can be paid, or None."""
    last = min(round(100 * config.start) - 1, int(100 - 100 * _cost(config, horizon) / total_steps))
    starts = (hundredths / 100 for hundredths in range(last, -1, -1))
    fits = (s for s in starts if _probes(replace(config, start=s), total_steps, horizon, rollout_steps, epochs))
    return next(fits, None)


def moved(config: ExploRLer, start: float, total_steps: int, horizon: int) -> str:
    """Say that probing begins at an earlier `start`, and why."""
    why = _too_much(config, total_steps, horizon)
    return f"probing begins after {start:g} of the budget, not after {config.start:g}, for a probe may take {why}"


def _share(config: ExploRLer) -> float:
    """Most of the budget that probing can take."""
    return min(config.budget_fraction, 1.0 - config.start)


def _too_much(config: ExploRLer, total_steps: int, horizon: int) -> str:
    return (
        f"{_cost(config, horizon):,} steps ({config.episodes_per_probe()} episodes of {horizon:,}), and probing has "
        f"{round(_share(config) * total_steps):,} of --total-steps {total_steps:,}"
    )


def _probes(config: ExploRLer, total_steps: int, horizon: int, rollout_steps: int, epochs: int) -> bool:
    return any(foresee(config, total_steps, horizon, rollout_steps, epochs))


def _cost(config: ExploRLer, horizon: int) -> int:
    return config.episodes_per_probe() * horizon


def _budgets(config: ExploRLer, horizon: int) -> Iterator[int]:
    """Yield round budgets, from the smallest that may pay for a probe."""
    least = _cost(config, horizon) / _share(config)
    digit = 10 ** max(0, len(str(int(least))) - 2)
    first = math.ceil(least / digit)
    yield from (digit * n for n in range(first, first + TRIED))
