"""Whole runs with each advantage estimator: chosen by flags, the same alone and together, judged as they acted."""

import shlex
from dataclasses import replace

import numpy as np
import pytest
import tiny

from rlsparse import loop, train
from rlsparse.advantage.estimators import MonteCarlo, NStep, TDLambda
from rlsparse.advantage.group_relative import GroupRelative
from rlsparse.advantage.vtrace import VTrace
from rlsparse.errors import UsageError
from rlsparse.explore.explorer import MemberExplorer
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.in_rollout import InRollout
from rlsparse.explore.propose import Line
from rlsparse.learner.records import Rollout
from rlsparse.run.recipe import from_toml, to_toml

HOPPER = tiny.recipe(env="Hopper-v5", num_envs=2, rollout_length=32, total_steps=192, eval_every=10**6)
ESTIMATORS = [NStep(n=5), MonteCarlo(gamma=0.9, unseen=0.3), TDLambda(), VTrace(trace_lambda=0.9)]


@pytest.fixture(autouse=True)
def do_not_wait_for_the_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.mark.parametrize(
    ("flags", "estimator"),
    [
        ("--advantage nstep --advantage.n 4", NStep(n=4)),
        ("--advantage monte-carlo --advantage.unseen 0.2 --algorithm.objective clip", MonteCarlo(unseen=0.2)),
        ("--advantage td-lambda --advantage.critic-lambda 0.9", TDLambda(critic_lambda=0.9)),
        ("--advantage.rho-bar 2 --advantage vtrace", VTrace(rho_bar=2.0)),
    ],
)
def test_flags_choose_an_estimator_and_its_settings(flags, estimator, capsys):
    train.main([*tiny.FLAGS, *shlex.split(flags), "--dry-run"])
    plan = capsys.readouterr().out
    assert to_toml(tiny.recipe(advantage=estimator)).partition("[advantage]")[2].partition("\n\n")[0] in plan


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda x: type(x).__name__)
def test_a_document_names_the_estimator(estimator):
    recipe = tiny.recipe(advantage=estimator)
    assert from_toml(to_toml(recipe), "recipe.toml") == recipe


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--advantage td", "--advantage td: expected one of gae, nstep, monte-carlo, td-lambda, vtrace"),
        ("--advantage nstep --advantage.n 0", "--advantage.n is 0: expected a positive whole number"),
        ("--advantage nstep --advantage.gae-lambda 0.9", "unknown flag --advantage.gae-lambda"),
        ("--advantage vtrace --advantage.rho-bar 0", "--advantage.rho-bar is 0.0: expected a positive number"),
    ],
)
def test_what_an_estimator_does_not_take_is_told(flags, message):
    with pytest.raises(UsageError) as error:
        train.run_command([*tiny.FLAGS, *shlex.split(flags)])
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda x: type(x).__name__)
def test_a_member_is_bitwise_the_run_of_its_seed_alone(estimator, tmp_path):
    recipe = replace(HOPPER, advantage=estimator)
    together = tiny.begin(tmp_path / "together", replace(recipe, num_seeds=2))
    tiny.go_on(together)
    for member in range(2):
        alone = tiny.begin(tmp_path / str(member), replace(recipe, seed=member))
        tiny.go_on(alone)
        np.testing.assert_array_equal(together.learner.params[member], alone.learner.params[0])
        assert (alone.learner.params != tiny.begin(tmp_path / f"new {member}", recipe).learner.params).any()


@pytest.mark.parametrize("estimator", [MonteCarlo(), GroupRelative(group_size=2)], ids=lambda x: type(x).__name__)
def test_rollouts_of_which_no_step_would_count_are_refused(estimator):
    """With gamma 0.99 the future beyond 68 steps is more than half of a return, 0.99^68 = 0.505."""
    for length, counts in ((68, False), (69, True)):
        zeros, never = np.zeros((length, 1, 2), np.float32), np.zeros((length, 1, 2), bool)
        rollout = Rollout(zeros[..., None], zeros[..., None], zeros, zeros + 1, zeros, zeros, never, never)
        assert estimator(rollout).weight.any() == counts
    estimator.check_horizon(69, 1000)
    estimator.check_horizon(68, 68)  # episodes end in time
    replace(estimator, unseen=1.0).check_horizon(1, 1000)
    with pytest.raises(UsageError, match="use --rollout-length 69 or more, or raise --advantage.unseen"):
        estimator.check_horizon(68, 1000)
    with pytest.raises(UsageError, match="use a smaller --advantage.gamma, or raise --advantage.unseen"):
        replace(estimator, gamma=1.0).check_horizon(68, 1000)


def in_rollout(estimator):
    explore = ExploRLer(Line((0.0, 2.0)), InRollout(move="none"), num_anchors=2)
    return tiny.recipe(num_envs=4, explore=explore, advantage=estimator)


def test_candidates_are_judged_by_what_they_did_though_the_update_is_corrected_for_it(tmp_path, monkeypatch):
    seen, update, judge = [], type(tiny.RECIPE.algorithm).update, MemberExplorer.judge

    def judged(self, rollout, estimate, acting):
        given = []
        choice = judge(self, rollout, lambda x: given.append(estimate(x)) or given[-1], acting)
        seen.append((rollout, *given))
        return choice

    def updated(self, learner, batch):
        seen[-1] += (batch,)
        yield from update(self, learner, batch)

    monkeypatch.setattr(MemberExplorer, "judge", judged)
    monkeypatch.setattr(type(tiny.RECIPE.algorithm), "update", updated)
    estimator = VTrace(gamma=0.9)
    session = tiny.begin(tmp_path / "run", in_rollout(estimator))
    for _ in range(3):
        loop.iterate(session.recipe, session.learner, session.collector, session.explorer)
    rollout, judged_by, batch = seen[-1]
    assert (rollout.own_log_prob[:, :, 2:] != rollout.log_prob[:, :, 2:]).any()
    uncorrected, corrected = estimator(replace(rollout, own_log_prob=None)), estimator(rollout)
    np.testing.assert_array_equal(judged_by.advantage, uncorrected.advantage)
    assert (uncorrected.advantage != corrected.advantage).any()
    np.testing.assert_array_equal(batch.advantage[0], corrected.advantage[:, 0].ravel())
    np.testing.assert_array_equal(batch.log_prob[0], rollout.own_log_prob[:, 0].ravel())
