"""Probing at work: choosing, seeds, anchors, turns and budgets, ends, and probing by rollouts."""

import logging
from functools import partial

import numpy as np
import pytest
import tiny
from aim import BEST, Aim, explorer_of

from rlsparse.errors import Interrupted
from rlsparse.explore.anchors import Probed
from rlsparse.explore.evolution import Consensus
from rlsparse.explore.explorer import searched_slice
from rlsparse.explore.in_rollout import InRollout
from rlsparse.explore.no_probing import NoProbing
from rlsparse.explore.probe import Episodes
from rlsparse.explore.propose import Line
from rlsparse.explore.racing import Racing
from rlsparse.explore.surrogate import Surrogate
from rlsparse.learner.gaussian import gaussian_log_prob
from rlsparse.learner.records import Advantages, Rollout


@pytest.fixture
def build(aim, new_learner):
    """An explorer of two members whose policy is an action, at first 0, after an anchor and a thousand steps."""
    return partial(explorer_of, new_learner)


def probe(explorer, stop=tiny.never):
    return explorer.probe(explorer.due(), stop)


def biases(learner):
    return learner.params[:, 2].tolist()


def allowance(explorer):
    return explorer.schedule.allowance(explorer._learner.counters)


# Choosing


@pytest.mark.parametrize(
    "kind", [Episodes(3), Episodes(3, "evidence"), Racing((1, 1), 0.5, 3), Episodes(3, "always")], ids=repr
)
def test_the_best_candidate_is_gone_on_from(build, kind):
    explorer, learner = build(-0.2, 0.3, BEST, 1.5, probe=kind)
    choice = probe(explorer)
    assert choice.accepted.all() and (choice.best == 3).all()
    assert biases(learner) == [np.float32(BEST)] * 2


@pytest.mark.parametrize("kind", [Episodes(3), Episodes(3, "evidence"), Racing((1, 1), 0.5, 3)], ids=repr)
def test_worse_candidates_leave_the_policy_as_it_is(build, kind):
    explorer, learner = build(-0.2, -0.3, -0.9, probe=kind)
    assert not probe(explorer).accepted.any()
    assert biases(learner) == [0, 0]


def test_nothing_but_the_searched_parameters_of_members_that_accept_is_changed(build):
    explorer, learner = build(0.3)
    learner.params[1, 2] = BEST  # cannot be bettered
    before = {name: x.copy() for name, x in learner.state_dict().items()}
    streams = str(learner.random_state())
    assert probe(explorer).accepted.tolist() == [True, False]
    after = learner.state_dict()
    assert {name for name, x in after.items() if (x != before[name]).any()} == {"params", "counters.probe"}
    assert np.argwhere(after["params"] != before["params"]).tolist() == [[0, 2]]
    assert str(learner.random_state()) == streams


def test_the_action_noise_is_searched_only_if_asked_for(build):
    _, learner = build(0.3)
    actor, log_std = learner.layout.group("actor"), learner.layout.group("log_std")
    assert searched_slice(learner.layout, False) == actor
    assert searched_slice(learner.layout, True) == slice(actor.start, log_std.stop)


@pytest.mark.parametrize(
    "moments, first, second, steps", [("keep", 1, 2, 7), ("reset", 0, 0, 0), ("transport", 0, 2, 7)]
)
def test_adams_moments_of_a_replaced_policy(build, moments, first, second, steps):
    explorer, learner = build(0.3, moments=moments)
    adam = learner.optimiser
    learner.params[1, 2] = BEST
    adam.first[:], adam.second[:], adam.steps[:] = 1, 2, 7
    probe(explorer)
    assert (adam.first[0, :3] == first).all() and (adam.second[0] == second).all() and adam.steps[0] == steps
    assert (adam.first[0, 3:] == (0 if moments == "reset" else 1)).all()
    assert (adam.first[1] == 1).all() and (adam.second[1] == 2).all() and adam.steps[1] == 7


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("accept", ["always", "evidence", "posterior"])
def test_a_candidate_that_is_not_finite_is_never_chosen(build, bad, accept, recwarn):
    explorer, learner = build(bad, 0.3, probe=Episodes(3, accept))
    choice = probe(explorer)
    assert (choice.score[:, 1] == -np.inf).all() and (choice.best == 2).all()
    assert biases(learner) == [np.float32(0.3)] * 2
    assert not recwarn.list
    explorer, learner = build(bad, probe=Episodes(3, accept))
    assert set(probe(explorer).reason) == {"every candidate failed"}
    assert biases(learner) == [0, 0]


# Seeds


def seeds_of_two_cycles(explorer):
    cycles = []
    for _ in range(2):
        Aim.seeds.clear()
        probe(explorer)
        explorer.after_iteration()
        cycles.append(np.array(Aim.seeds).reshape(-1, 2))  # two episodes each
    return cycles


def test_a_cycle_has_the_same_episodes_for_all_and_the_next_has_others(build):
    explorer, _ = build(0.3, 0.2, seeds=(3,), probe=Episodes(2))
    one, other = seeds_of_two_cycles(explorer)
    assert one.shape == other.shape == (3, 2)
    assert (one == one[0]).all() and (other == other[0]).all()
    assert not set(one[0]) & set(other[0])


def test_the_published_protocol_repeats_its_episodes(build):
    explorer, _ = build(0.3, 0.2, seeds=(3,), probe=Episodes(2), fresh_seeds=False)
    one, other = seeds_of_two_cycles(explorer)
    np.testing.assert_array_equal(one, other)


def test_candidates_are_drawn_anew_in_every_cycle(build):
    explorer, _ = build(proposal=Consensus(particles=3, rounds=1, unit="absolute"), num_anchors=2)
    explorer.after_epoch()
    drawn = []
    for _ in range(2):
        explorer._learner.params[:, :3] = [1.0, 2.0, 3.0]  # the anchors differ, hence directions
        drawn.append(explorer._propose(np.arange(2))(Probed.nothing(np.zeros((2, 3)))))
        probe(explorer)
        explorer.after_iteration()
    assert (drawn[0] != drawn[1]).any()
    assert (drawn[0][0] != drawn[0][1]).any()


# Anchors


def anchors_given(explorer, learner):
    explorer._propose(np.arange(2))(None)
    return explorer.config.proposal.given[-1][0, :, 2].tolist()


def epochs(explorer, learner, *values):
    for value in values:
        learner.params[:, 2] = value
        explorer.after_epoch()


def test_anchors_are_the_last_epochs_in_order_of_time(build):
    explorer, learner = build(0.1, num_anchors=3)
    epochs(explorer, learner, 1, 2, 3, 4)
    assert anchors_given(explorer, learner) == [2, 3, 4]


def test_anchors_may_be_iterations(build):
    explorer, learner = build(0.1, num_anchors=2, anchors="iterations")
    for iteration in (1, 2, 3):
        epochs(explorer, learner, 10 * iteration + 1, 10 * iteration + 2)
        explorer.after_iteration()
    assert anchors_given(explorer, learner) == [22, 32]


def test_the_last_anchor_is_always_the_policy_as_it_is(build):
    """Where not every iteration gives an anchor, the newest policy takes the place of the oldest anchor."""
    explorer, learner = build(0.1, num_anchors=3, anchors="iterations", anchor_span=0.3)  # one every 1,000 steps
    given = {}
    for steps in range(1500, 5001, 500):
        learner.counters.train[:], learner.params[:, 2] = steps, steps
        explorer.after_iteration()
        given[steps] = anchors_given(explorer, learner)
    assert given[4000] == [2000, 3000, 4000]
    assert given[4500] == [3000, 4000, 4500]
    assert given[5000] == [3000, 4000, 5000]


def test_one_anchor_is_the_policy(build):
    explorer, learner = build(0.1, num_anchors=1, anchors="iterations", anchor_span=0.1)
    epochs(explorer, learner, 1, 2, 3)
    explorer.after_iteration()
    assert anchors_given(explorer, learner) == [3]


def test_nothing_is_probed_before_there_are_enough_anchors(build):
    explorer, learner = build(0.1, num_anchors=3)
    assert not explorer.due().size
    epochs(explorer, learner, 1)
    assert not explorer.due().size
    epochs(explorer, learner, 2)
    assert explorer.due().tolist() == [0, 1]


def test_epochs_that_an_update_left_out_give_the_anchors_they_would_give_beside_others(build):
    explorer, learner = build(0.1, num_anchors=4)
    epochs(explorer, learner, 1, 2)
    explorer.after_iteration(skipped_epochs=2)
    assert anchors_given(explorer, learner) == [1, 2, 2, 2]


@pytest.mark.parametrize("num_anchors", [1, 4])
@pytest.mark.parametrize("kind", [Episodes(3), Racing((1, 1), 0.5, 3), Episodes(3, "evidence")], ids=repr)
def test_equal_anchors_change_nothing(build, num_anchors, kind):
    explorer, learner = build(proposal=Line(), num_anchors=num_anchors, probe=kind)
    epochs(explorer, learner, 0.5, 0.5, 0.5, 0.5)
    assert not probe(explorer).accepted.any()
    assert biases(learner) == [0.5, 0.5]


# Turns and budgets


def test_probes_are_so_many_iterations_apart(build):
    explorer, _ = build(0.1, every=2)
    turns = []
    for _ in range(6):
        turns.append(bool(explorer.due().size))
        if turns[-1]:
            probe(explorer)
            assert not explorer.due().size  # not twice in the same iteration
        explorer.after_iteration()
    assert turns == [False, True, False, True, False, True]


def test_nothing_is_probed_before_its_start_or_after_the_end(build):
    explorer, learner = build(0.1, start=0.2)
    learner.counters.train[:] = [1999, 2000]
    assert explorer.due().tolist() == [1]
    learner.counters.train[:] = [9999, 10_000]
    learner.counters.probe[:] = 0
    explorer.schedule.longest[:] = 0
    assert explorer.due().tolist() == [0]


def test_the_allowance_is_a_share_of_all_steps_so_far(build):
    explorer, learner = build(0.1, budget_fraction=0.2)
    learner.counters.train[:] = [1000, 10_100]
    assert allowance(explorer).tolist() == [250, 0]
    learner.counters.probe[:] = 100
    assert allowance(explorer).tolist() == [150, 0]
    learner.counters.train[:], learner.counters.probe[:] = 9900, 0
    assert allowance(explorer).tolist() == [100, 100]  # what is left of the budget


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.9])
def test_spending_all_of_the_allowance_does_not_exceed_the_share(build, share):
    explorer, learner = build(0.1, budget_fraction=share, total_steps=10**9)
    for train in range(1, 2000, 7):
        learner.counters.train[:], learner.counters.probe[:] = train, 0
        learner.counters.probe[:] = allowance(explorer)
        assert (learner.counters.probe <= share * learner.counters.total).all()


def test_without_a_limit_all_that_is_left_may_be_spent(build):
    explorer, _ = build(0.1, budget_fraction=1.0)
    assert allowance(explorer).tolist() == [9000, 9000]


def test_only_members_that_can_pay_for_whole_episodes_probe(build):
    explorer, learner = build(0.1, 0.2, probe=Episodes(3))  # nine episodes of five steps
    learner.counters.train[:] = [44, 45]
    assert explorer.due().tolist() == [1]
    assert probe(explorer).steps.tolist() == [45]
    assert learner.counters.probe.tolist() == [0, 45]
    assert Aim.steps == 45


def test_a_probe_that_runs_out_of_steps_accepts_nothing_and_expects_longer_episodes(build):
    explorer, learner = build(0.3, BEST, probe=Episodes(3, "always"))
    explorer.schedule.longest[:] = [1, 5]
    learner.counters.train[:] = [13, 100]
    assert explorer.due().tolist() == [0, 1]
    choice = probe(explorer)
    assert choice.reason == ("out of steps", "accepted")
    assert choice.steps.tolist() == [12, 30] == learner.counters.probe.tolist()
    assert biases(learner) == [0, np.float32(BEST)]
    assert explorer.schedule.longest.tolist() == [4, 5]  # two steps of six, doubled


# Ends


@pytest.mark.parametrize("poll", [1, 4, 6, 9, 10])
def test_an_interrupted_probe_leaves_everything_as_it_was(build, poll):
    """In the incumbent's episodes or the candidates'; taken up again, it finds what it would have found."""
    explorer, learner = build(0.3, BEST)
    before = {**learner.state_dict(), **explorer.state_dict()}
    before = {name: x.copy() for name, x in before.items()}
    asked = iter(range(1, 100))
    with pytest.raises(Interrupted):
        probe(explorer, lambda: next(asked) == poll)
    for name, x in {**learner.state_dict(), **explorer.state_dict()}.items():
        np.testing.assert_array_equal(x, before[name], name)
    again, (undisturbed, _) = probe(explorer), build(0.3, BEST)
    for name, x in vars(probe(undisturbed)).items():
        np.testing.assert_array_equal(vars(again)[name], x, name)


def test_all_that_probing_goes_on_from_is_in_its_state(build):
    """Iterations, anchors and when the last was taken, turns, cycles, lengths of episodes: each decides something."""
    config = {"num_anchors": 2, "anchors": "iterations", "anchor_span": 0.1, "every": 2, "probe": Episodes(2)}
    explorer, learner = build(0.3, **config)
    resumed, _ = build(0.3, **config)
    for steps in (1700, 2300):
        epochs(explorer, learner, steps / 1e4)
        learner.counters.train[:] = steps
        explorer.after_iteration()
    probe(explorer)
    explorer.schedule.longest[1] = 3  # without which member 1 could not pay
    resumed.load_state_dict({name: x.copy() for name, x in explorer.state_dict().items()})
    resumed._learner.load_state_dict(learner.state_dict())
    ends = []
    for one in (explorer, resumed):
        learner, turns = one._learner, []
        for steps in range(2400, 4000, 400):
            epochs(one, learner, steps / 1e4)
            learner.counters.train[:] = steps
            one.after_iteration()
            learner.counters.probe[:] = learner.counters.train - [21, 13]  # what it may spend is almost spent
            turns.append(one.due().tolist())
            learner.counters.probe[:] = 0
            if one.due().size:
                probe(one)
        ends.append((turns, one.anchors.tolist(), Aim.seeds[-2:], {n: x.tolist() for n, x in one.state_dict().items()}))
    assert ends[0] == ends[1]
    assert ends[0][0] == [[], [0, 1], [], [0]]


def test_a_failing_environment_rejects_the_probe_and_what_it_took_is_counted(build, monkeypatch, caplog):
    explorer, learner = build(0.3, BEST)
    monkeypatch.setattr(Aim, "explode_at", 40)
    with caplog.at_level(logging.WARNING):
        choice = probe(explorer)
    assert not choice.accepted.any()
    assert biases(learner) == [0, 0]
    assert Aim.steps == 40
    # thirty for the incumbents, one of twelve for the candidates, who did not all get to take it
    assert learner.counters.probe.tolist() == choice.steps.tolist() == [21, 21]
    (message,) = caplog.messages
    assert message.startswith("a probe of seed 3, seed 4 failed: ") and "the bow, it broke" in message
    assert "\n" not in message
    assert choice.reason[0].startswith("failed: Aim-v0: environment")
    monkeypatch.setattr(Aim, "explode_at", None)
    assert not explorer.due().size
    explorer.after_iteration()
    assert probe(explorer).accepted.all()


# Probing by rollouts


def test_surrogate_scores_are_importance_weighted_advantages(build):
    """Against the densities of the candidates' actions, for one member with observations that are not zero."""
    explorer, learner = build(0.3, -0.2, seeds=(3,), probe=Surrogate(blocks=2, accept="never"))
    rng = np.random.default_rng(0)
    learner.params[0, :3] = [0.5, -1.0, 0.1]
    learner.params[0, 3] = -0.4
    explorer.after_epoch()
    learner.obs_moments.update(rng.normal(1, 2, (1, 50, 2)))
    shape = (6, 1, 4)
    obs, action = rng.normal(1, 2, (*shape, 2)).astype(np.float32), rng.normal(0, 1, (*shape, 1)).astype(np.float32)
    advantage = rng.standard_normal(shape)

    def log_prob(bias):
        x = np.clip((obs - learner.obs_moments.mean[0]) / np.sqrt(learner.obs_moments.var[0] + 1e-8), -10, 10)
        mean = x @ [0.5, -1.0] + 0.1 + bias
        return gaussian_log_prob((action - mean[..., None]) / np.exp(-0.4), np.array([-0.4]))

    behaviour = log_prob(0.05)  # not quite the incumbent
    nothing = np.zeros(shape)
    rollout = Rollout(obs, action, behaviour, nothing, nothing, nothing, nothing > 0, nothing > 0)
    choice = explorer.judge(rollout, lambda _: Advantages(advantage, nothing), None)
    for score, bias in zip(choice.score[0], (0, 0.3, -0.2), strict=True):
        ratio = np.minimum(np.exp(log_prob(bias) - behaviour), 10)
        assert score == pytest.approx((ratio * (advantage - advantage.mean())).mean(), rel=1e-4)
    assert choice.steps.tolist() == [0] and learner.counters.probe.tolist() == [0]
    assert explorer.cycles.tolist() == [1]


def test_candidates_act_in_the_rollout_that_follows(build):
    explorer, learner = build(0.3, probe=InRollout(share=0.5, move="best"))
    acting = explorer.acting()
    np.testing.assert_allclose(acting[0, :, 2], [0, 0, 0.3, -0.3])
    assert not explorer.due().size
    advantage, nothing = np.random.default_rng(0).normal(0, 0.1, (16, 2, 4)), Rollout(*[None] * 8)
    advantage[:, 0, 2] += 1
    advantage[:, 1, 2:] -= 1
    choice = explorer.judge(nothing, lambda _: Advantages(advantage, None), acting)
    assert choice.accepted.tolist() == [True, False]
    np.testing.assert_allclose(biases(learner), [0.3, 0])
    assert explorer.acting() is None  # until the next iteration
    explorer.after_iteration()
    assert explorer.acting() is not None


# No probing


def test_a_run_that_does_not_probe_is_asked_the_same_and_nothing_follows():
    nobody = NoProbing()
    nobody.after_epoch()
    nobody.after_iteration(skipped_epochs=2)
    nobody.load_state_dict(nobody.state_dict())
    assert nobody.acting() is None and nobody.judge(None, None, None) is None
    assert not nobody.due().size and not nobody.ended().any() and not nobody.cycles.any()
    assert nobody.state_dict() == {}


def test_what_the_last_update_went_through_is_known(build):
    """The policy before it and after, anchors without repeats, and candidates from there."""
    explorer, learner = build(0.3, num_anchors=3)
    learner.params[:, 2] = 1
    explorer.judge(None, None, None)  # as every update begins
    epochs(explorer, learner, 2, 2, 4)
    before, after, anchors, propose = explorer.around(1)
    assert (before[2], after[2], anchors[:, 2].tolist()) == (1, 4, [2, 4])
    assert propose(Probed.nothing(after[None]))[0, :, 2].tolist() == [4.3]
