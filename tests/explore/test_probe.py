"""Probing by episodes: who is run when, who is accepted and who never is."""

import numpy as np
import pytest

from rlsparse.explore.evolution import Consensus
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.probe import Episodes
from rlsparse.explore.racing import Racing

INCUMBENT = np.zeros((1, 2))


class Table:
    """Runs episodes of points, whose return is `gain` of the point plus that of the episode, and writes them down.

    From `allowance` episodes on the member's steps are used up; every episode takes ten.
    """

    def __init__(self, gain, luck=None, members=1, allowance=10**9):
        self.gain, self.luck, self.allowance = gain, luck, allowance
        self.calls = []
        self.steps = np.zeros(members, np.int64)
        self.exhausted = np.zeros(members, bool)

    def __call__(self, points, first, count, wanted=None):
        wanted = np.ones(len(points), bool) if wanted is None else wanted
        self.calls.append((points[wanted], first, count))
        starts = 5.0 * np.random.default_rng(0).standard_normal(first + count)[first:]
        returns = np.apply_along_axis(self.gain, 2, points)[..., None] + starts
        if self.luck:
            returns += self.luck * np.random.default_rng(len(self.calls)).standard_normal(returns.shape)
        self.steps += 10 * points.shape[1] * count * wanted
        self.exhausted |= self.steps > 10 * self.allowance
        return np.where((self.exhausted | ~wanted)[:, None, None], np.nan, returns)

    @property
    def run(self):
        return sum(points.shape[0] * points.shape[1] * count for points, _, count in self.calls)


def first(point):
    """The better the first coordinate the better the policy."""
    return point[0]


def propose(*candidates):
    points = np.array(candidates, float)[None]
    return lambda probed: points


WORSE, BETTER, BEST = (-1, 0), (1, 0), (2, 0)
HONEST = [Episodes(4, "posterior"), Episodes(4, "evidence"), Racing((1, 2), 0.4, 4, "evidence")]
honest = pytest.mark.parametrize("probe", HONEST, ids=["posterior", "evidence", "racing"])


@honest
def test_the_best_candidate_is_accepted(probe):
    choice = probe(INCUMBENT, propose(WORSE, BETTER, BEST), 1, Table(first, luck=0.01))
    assert choice.accepted.all()
    assert choice.reason == ("accepted",)
    assert choice.best == 3
    np.testing.assert_array_equal(choice.point, [BEST])
    assert choice.probability > probe.level


@honest
def test_worse_candidates_are_not(probe):
    choice = probe(INCUMBENT, propose(WORSE, (-2, 0), (-3, 0)), 1, Table(first, luck=0.01))
    assert not choice.accepted.any()
    assert choice.reason == ("no evidence",)
    assert choice.best == 1
    np.testing.assert_array_equal(choice.point, INCUMBENT)
    assert not (choice.probability > 0.1).any()


@honest
def test_luck_is_no_evidence(probe):
    choice = probe(INCUMBENT, propose((0.1, 0), (0, 1), (0, 2)), 1, Table(first, luck=3.0))
    assert not choice.accepted.any()


@honest
def test_copies_of_the_incumbent_are_not_accepted(probe):
    assert not probe(INCUMBENT, propose((0, 0), (0, 0)), 1, Table(first)).accepted.any()


@pytest.mark.parametrize("probe", [Episodes(2, "always"), Racing((1, 1), 0.5, 2, "always")])
def test_the_published_protocol_replaces_whatever_it_finds(probe):
    choice = probe(INCUMBENT, propose((-3, 0), WORSE, (-2, 0)), 1, Table(first))
    assert choice.accepted.all() and choice.best == 2
    np.testing.assert_array_equal(choice.point, [WORSE])


def test_the_published_protocol_does_not_score_the_incumbent():
    choice = Episodes(3, "always")(INCUMBENT, propose(WORSE, BETTER), 1, table := Table(first))
    assert table.run == 6
    assert np.isnan(choice.score[:, 0]).all() and np.isfinite(choice.score[:, 1:]).all()


@pytest.mark.parametrize("probe", [Episodes(4, "never"), Racing((1, 2), 0.5, 4, "never")])
def test_never_is_never(probe):
    choice = probe(INCUMBENT, propose(BETTER, BEST), 1, Table(first))
    assert not choice.accepted.any()
    assert choice.reason == ("never accepts",)
    assert choice.best == 2
    np.testing.assert_array_equal(choice.point, INCUMBENT)


@pytest.mark.parametrize("accept", ["always", "evidence", "posterior", "never"])
@pytest.mark.parametrize("rounds", [1, 3])
def test_as_many_episodes_are_run_as_foretold(accept, rounds):
    for probe in (Episodes(3, accept), Racing((1, 2, 3), 0.3, 4, accept), Racing((2,), 0.3, 5, accept)):
        candidates = propose(*np.random.default_rng(0).normal(size=(7, 2)))
        choice = probe(INCUMBENT, candidates, rounds, table := Table(first))
        assert choice.score[0, 1:].max() > first(INCUMBENT[0])
        assert table.run == probe.episodes_for(7 * rounds)
        assert choice.steps == 10 * table.run
        assert choice.score.shape == (1, 1 + 7 * rounds)


@pytest.mark.parametrize("probe", [Episodes(3), Racing((1, 4), 0.5, 2), Racing((1,), 0.5, 9)], ids=repr)
def test_as_many_episodes_run_at_once_as_are_checked_before_the_run(probe):
    probe(INCUMBENT, propose(*np.random.default_rng(0).normal(size=(7, 2))), 2, table := Table(first))
    at_once = max(points.shape[1] * count for points, _, count in table.calls)
    assert ExploRLer(Consensus(particles=7, rounds=2), probe).width == at_once


def test_scores_of_one_round_are_told_to_the_next():
    told = []

    def climb(probed):
        told.append(probed.scores.copy())
        return probed.points[:, -1:] + [[[1.0, 0.0]]]

    choice = Episodes(2, "evidence")(INCUMBENT, climb, 3, Table(first))
    assert [scores.shape[1] for scores in told] == [1, 2, 3]
    np.testing.assert_allclose(told[2] - told[2][:, :1], [[0, 1, 2]])
    np.testing.assert_array_equal(choice.point, [[3, 0]])


# Candidates that fail


def fails_above_one(point):
    return -np.inf if point[0] > 1 else point[0]


@pytest.mark.parametrize("probe", [*HONEST, Episodes(4, "always"), Racing((1, 2), 0.4, 4, "always")], ids=repr)
def test_a_failed_candidate_is_never_chosen(probe):
    choice = probe(INCUMBENT, propose(BEST, BETTER, WORSE), 1, Table(fails_above_one, luck=0.01))
    assert choice.score[0, 1] == -np.inf
    assert choice.best == 2 and choice.accepted.all()


@pytest.mark.parametrize("probe", [*HONEST, Episodes(4, "always"), Racing((1, 2), 0.4, 4, "always")], ids=repr)
@pytest.mark.parametrize("score", [-np.inf, np.nan])
def test_if_all_fail_the_incumbent_stays(probe, score):
    choice = probe(INCUMBENT, propose(BEST, BETTER), 1, Table(lambda point: score if point[0] else 0.0))
    assert not choice.accepted.any()
    assert choice.reason == ("every candidate failed",)
    np.testing.assert_array_equal(choice.point, INCUMBENT)


def test_one_that_fails_in_the_duel_is_not_chosen():
    class FailsLater(Table):
        def __call__(self, points, first, count, wanted=None):
            returns = super().__call__(points, first, count, wanted)
            return np.where(points[..., :1] > 0, -np.inf, returns) if first else returns

    choice = Racing((1,), 1, 4, "always")(INCUMBENT, propose(BEST, BETTER), 1, FailsLater(first))
    assert choice.best == 1 and not choice.accepted.any()
    assert choice.reason == ("every candidate failed",)


# Steps that are used up


@pytest.mark.parametrize("probe", [*HONEST, Episodes(4, "always"), Racing((1, 2), 0.4, 4, "always")], ids=repr)
@pytest.mark.parametrize("allowance", [0, 3, 7, 10])
def test_a_probe_that_ran_out_of_steps_accepts_nothing(probe, allowance):
    choice = probe(INCUMBENT, propose(BETTER, BEST, WORSE), 1, Table(first, allowance=allowance))
    assert not choice.accepted.any()
    assert choice.reason == ("out of steps",)
    np.testing.assert_array_equal(choice.point, INCUMBENT)


def test_of_several_members_only_those_that_ran_out_of_steps_are_left_as_they_are():
    table = Table(first, luck=0.01, members=3)
    table.exhausted[1] = True
    incumbent = np.zeros((3, 2))
    choice = Episodes(4)(incumbent, lambda _: np.tile(np.array([BETTER, BEST], float), (3, 1, 1)), 1, table)
    assert choice.accepted.tolist() == [True, False, True]
    np.testing.assert_array_equal(choice.point, [BEST, (0, 0), BEST])


# The race


def test_a_race_runs_fewer_and_fewer_candidates_and_ends_in_a_duel():
    points = [(gain, 0) for gain in (3, 1, 4, 1.5, 9, 2, 6, 5)]
    table = Table(first)
    Racing((1, 2, 3), 0.25, 4, "evidence")(INCUMBENT, propose(*points), 1, table)
    run = [(call[0, :, 0].tolist(), begin, count) for call, begin, count in table.calls]
    assert run == [
        ([0], 0, 1),
        ([3, 1, 4, 1.5, 9, 2, 6, 5], 0, 1),
        ([0, 9, 6], 1, 2),
        ([0, 9], 3, 3),
        ([0, 9], 6, 4),
    ]


def test_who_left_the_race_does_not_win_it_by_the_fewer_episodes_it_had():
    """The first episode is an easy one: all means of more episodes are lower."""

    class BadLater(Table):
        def __call__(self, points, first, count, wanted=None):
            return super().__call__(points, first, count, wanted) - (100 if first else 0)

    table = BadLater(first)
    choice = Racing((1, 2), 0.5, 2, "evidence")(INCUMBENT, propose((4, 0), (3, 0), (2, 0), (1, 0)), 1, table)
    np.testing.assert_array_equal(table.calls[-1][0], [[(0, 0), (4, 0)]])
    assert choice.best == 1


def test_the_winner_of_a_later_round_need_not_have_led_the_first():
    class Turns(Table):
        def __call__(self, points, first, count, wanted=None):
            return super().__call__(points, first, count, wanted) - (10 * points[..., :1] if first else 0)

    choice = Racing((1, 2), 0.5, 2, "always")(INCUMBENT, propose((4, 0), (3, 0), (2, 0), (1, 0)), 1, Turns(first))
    np.testing.assert_array_equal(choice.point, [(3, 0)])


def test_the_luck_of_the_race_does_not_count_in_the_duel():
    """The candidate's first episode was its lucky one: in those of the duel it is the incumbent's equal."""

    class LuckyOnce(Table):
        def __call__(self, points, first, count, wanted=None):
            return super().__call__(points, first, count, wanted) + (0 if first else 1000 * points[..., 1:])

    choice = Racing((1,), 1, 4, "evidence")(INCUMBENT, propose((0, 1)), 1, LuckyOnce(first))
    assert choice.score[0, 1] > 100
    assert not choice.accepted.any()


def test_there_is_no_duel_where_the_incumbent_is_ahead():
    """For the second member alone: the first has a candidate that is."""
    gains = np.array([[(-1, 0), (1, 0)], [(-1, 0), (-2, 0)]], float)
    table = Table(first, luck=0.01, members=2)
    choice = Racing((1, 2), 0.5, 4, "evidence")(np.zeros((2, 2)), lambda _: gains, 1, table)
    duel, begin, count = table.calls[-1]
    np.testing.assert_array_equal(duel, [[(0, 0), (1, 0)]])
    assert (begin, count) == (3, 4)
    assert choice.accepted.tolist() == [True, False]
    assert choice.reason == ("accepted", "no evidence")
    assert np.isnan(choice.probability[1])
    assert choice.steps.tolist() == [10 * (3 + 4 + 8), 10 * (3 + 4)]


def test_members_race_each_for_itself():
    gains = np.array([[(1, 0), (2, 0), (3, 0)], [(3, 0), (2, 0), (1, 0)]], float)
    table = Table(first, members=2)
    choice = Racing((1, 1), 0.3, 2, "always")(np.zeros((2, 2)), lambda _: gains, 1, table)
    np.testing.assert_array_equal(choice.point, [(3, 0), (3, 0)])
    assert choice.best.tolist() == [3, 1]
