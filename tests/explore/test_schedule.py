"""The schedule of probing: when anchors are taken, who probes, what it may cost, and what a whole run will do."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.forecast import foresee, why_never
from rlsparse.explore.in_rollout import InRollout
from rlsparse.explore.probe import Episodes
from rlsparse.explore.propose import Line
from rlsparse.explore.schedule import Schedule
from rlsparse.explore.surrogate import Surrogate
from rlsparse.learner.records import Counters
from rlsparse.run.probe_report import waits_for

CONFIG = ExploRLer(Line((0.5, 2.0)), Episodes(2, "always"), num_anchors=3, budget_fraction=0.5)
"""Four episodes a probe."""

FIRST = np.zeros(1, np.int64)


def begin(members=1, horizon=10, kept_for_training=0, **config):
    return Schedule.begin(replace(CONFIG, **config), 10_000, horizon, members, kept_for_training)


def steps(train, probe=0):
    train, probe = np.broadcast_arrays(np.atleast_1d(train), np.atleast_1d(probe))
    return Counters(train, probe, 0 * train)


def probed(schedule, took=40, longest=10, exhausted=False, members=FIRST):
    return schedule.after_episodes(members, *(np.full(len(members), x) for x in (took, longest, exhausted)))


# Anchors


def test_with_epochs_as_anchors_no_iteration_takes_one():
    assert not begin(anchors="epochs").takes_anchor(5000)


@pytest.mark.parametrize("span, expected", [(0.0, [300, 600, 900, 1200]), (0.15, [600, 1200])])
def test_iterations_are_anchors_a_share_of_the_budget_apart(span, expected):
    """The span of all three anchors together, in 10,000 steps: 500 steps between two."""
    schedule, taken = begin(anchors="iterations", anchor_span=span), []
    for train in range(300, 1201, 300):
        taken += [train] * schedule.takes_anchor(train)
        schedule = schedule.after_iteration(train)
    assert taken == expected
    assert schedule.iterations == 4


# Turns


def test_it_is_a_members_turn_after_its_start_with_all_anchors_and_before_the_end():
    schedule = begin(4, start=0.2).after_iteration(0)
    assert schedule.ready(steps([1999, 2000, 9999, 10_000]), 3).tolist() == [False, True, True, False]
    assert not schedule.ready(steps([1999, 2000, 9999, 10_000]), 2).any()


def test_two_probes_are_so_many_iterations_apart_unless_probes_end_the_run():
    for finish, expected in ((False, [False, False, True]), (True, [True, True, True])):
        schedule = begin(every=2, finish=finish)
        for _ in range(2):
            schedule = schedule.after_iteration(0)
        schedule, turns = schedule.after_probe(FIRST), []
        for _ in range(3):
            turns.append(bool(schedule.ready(steps(1000), 3)[0]))
            schedule = schedule.after_iteration(0)
        assert turns == expected


def test_only_what_probes_is_counted_and_the_schedule_before_stays_as_it_was():
    before = begin(3).after_iteration(0)
    after = probed(before, members=np.array([1]))
    assert (before.cycles.tolist(), before.last_probe.tolist()) == ([0, 0, 0], [0, 0, 0])
    assert (after.cycles.tolist(), after.last_probe.tolist()) == ([0, 1, 0], [0, 1, 0])


# Costs


def test_the_allowance_keeps_probing_below_its_share_and_within_the_budget():
    schedule = begin(5, budget_fraction=0.2)
    assert schedule.allowance(steps([1000, 1000, 100, 9900, 12_000], [0, 100, 100, 0, 0])).tolist() == [
        *(250, 150, 0, 100, 0)
    ]
    assert begin(budget_fraction=1.0).allowance(steps(1000, 500)) == 8500


def test_steps_that_are_kept_for_training_are_not_spent():
    schedule = begin(2, kept_for_training=8, budget_fraction=1.0)
    assert schedule.allowance(steps([9000, 9995])).tolist() == [992, 0]
    assert schedule.left(steps([9000, 9995])).tolist() == [992, 0]


def test_a_probe_is_due_when_episodes_as_long_as_the_last_ones_can_be_paid():
    schedule = begin(2).after_iteration(0)
    assert schedule.cost().tolist() == [40, 40]
    assert schedule.due(steps([39, 40]), 3).tolist() == [False, True]
    shorter = probed(schedule, longest=3, members=np.array([0])).after_iteration(0)
    assert shorter.cost().tolist() == [12, 40]
    assert shorter.due(steps([12, 39]), 3).tolist() == [True, False]


@pytest.mark.parametrize(
    "longest, exhausted, expected", [(3, False, 3), (3, True, 6), (9, True, 10), (0, False, 7), (0, True, 7)]
)
def test_what_a_probe_tells_of_the_next_ones_episodes(longest, exhausted, expected):
    """Cut short, they may be twice as long, but no longer than an episode can be; nothing seen, nothing learned."""
    schedule = probed(probed(begin(), longest=7), longest=longest, exhausted=exhausted)
    assert schedule.cost() == 4 * expected


@pytest.mark.parametrize("probe", [InRollout(), Surrogate()], ids=repr)
def test_what_costs_nothing_is_never_due_but_may_be_ready(probe):
    schedule = begin(probe=probe).after_iteration(0)
    assert schedule.ready(steps(1000), 3) and not schedule.due(steps(1000), 3)


# Ends


def test_a_run_that_ends_by_probing_has_ended_when_no_further_probe_can_be_paid():
    schedule = begin(finish=True, budget_fraction=1.0)
    assert not schedule.ended(steps(9990), 3)  # without a probe it goes on learning
    schedule = probed(schedule)
    assert [bool(schedule.ended(steps(train), 3)) for train in (9960, 9961)] == [False, True]
    assert not probed(begin()).ended(steps(10_000), 3)  # then its budget ends it


def test_a_probe_that_took_no_step_is_not_repeated_where_nothing_comes_in_between():
    assert probed(begin(finish=True, budget_fraction=1.0), took=0, longest=0).ended(steps(1000), 3)
    assert probed(begin(), took=0, longest=0).after_iteration(0).due(steps(1000), 3)


# In words


@pytest.mark.parametrize(
    "config, train, anchors, reason",
    [
        ({}, 1000, 2, "2 of 3 anchors so far"),
        ({"start": 0.5}, 1000, 3, "probing begins at 5,000 steps"),
        ({"every": 4}, 1000, 3, "probing every 4 updates"),
        ({}, 39, 3, "a probe may take 40 steps, and 39 may be spent"),
        ({}, 40, 3, ""),
        ({}, 10_000, 3, ""),
    ],
)
def test_why_there_is_no_probe_yet(config, train, anchors, reason):
    schedule = begin(**config).after_iteration(0)
    assert waits_for(schedule, steps(train), anchors) == reason
    assert bool(schedule.due(steps(train), anchors)[0]) == (not reason and train < 10_000)


# A whole run


def foreseen(config, total_steps=1000, horizon=10, rollout_steps=100, epochs=3):
    return list(foresee(config, total_steps, horizon, rollout_steps, epochs))


def test_probes_follow_every_update_that_pays_for_them():
    turns = foreseen(CONFIG)
    assert turns[:4] == [False, True, False, True]
    count = Counter(turns)
    assert 100 * (count[False] - 1) + 40 * count[True] < 1000 <= 100 * count[False] + 40 * count[True]


def test_a_run_that_ends_by_probing_probes_to_the_end():
    turns = foreseen(replace(CONFIG, start=0.5, finish=True, budget_fraction=1.0))
    assert turns == [False] * 5 + [True] * 12  # 500 steps, 40 each


@pytest.mark.parametrize("probe, probes", [(InRollout(), 9), (Surrogate(), 8)], ids=repr)
def test_probes_by_the_rollout_cost_nothing(probe, probes):
    """Candidates act in every rollout but the first; after the last, which a surrogate would see, learning is over."""
    assert Counter(foreseen(replace(CONFIG, probe=probe))) == {False: 10, True: probes}


def test_why_a_run_makes_no_probe():
    assert why_never(CONFIG, 1000, 10, 100, 3) is None
    poor = replace(CONFIG, budget_fraction=0.01)
    assert why_never(poor, 1000, 10, 100, 3).startswith("there will be no probe: one may take 40 steps (4 episodes of")
    late = replace(CONFIG, num_anchors=99)
    assert "are over before --explore.num-anchors" in why_never(late, 1000, 10, 100, 3)
