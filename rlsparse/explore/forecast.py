"""What a run that probes will do, before its first step: the schedule, asked as if every episode lasted to its end."""

from collections.abc import Iterator

import numpy as np

from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.schedule import Schedule
from rlsparse.learner.records import Counters
from rlsparse.sim.episodes import STEP_CAP


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
    if any(foresee(config, total_steps, horizon, rollout_steps, epochs)):
        return None
    budget = f"--total-steps {total_steps:,}"
    if not any(foresee(config, total_steps, 0, rollout_steps, epochs)):
        settings = "--explore.num-anchors, --explore.anchor-span, --explore.every and --explore.start"
        return f"there will be no probe: {budget} are over before {settings} let the first one be"
    episodes = config.episodes_per_probe()
    return (
        f"there will be no probe: one may take {episodes * horizon:,} steps ({episodes} episodes of {horizon:,}), "
        f"which --explore.budget-fraction {config.budget_fraction:g} of {budget} cannot pay: raise one of them, or "
        "probe fewer candidates" + ", or register the environment with a max_episode_steps" * (horizon >= STEP_CAP)
    )
