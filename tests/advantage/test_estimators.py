"""Advantage estimators as parts of a recipe, on a rollout of worked numbers with a member axis."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rlsparse.advantage.estimators import GAE, MonteCarlo, NStep, TDLambda
from rlsparse.advantage.vtrace import VTrace
from rlsparse.learner.records import Rollout

DATA = Path(__file__).parent.parent / "data"
CASE = json.loads((DATA / "gae_5x2.json").read_text())
VTRACE = json.loads((DATA / "advantage.json").read_text())["vtrace_5x2"]
EXPECT, GAMMA, LAM = CASE["expect"], CASE["gamma"], CASE["lam"]
VALUES = np.array(CASE["values"])


def by_member(name):
    """Environments as members of one environment each: [T, S, 1]."""
    return np.array(CASE[name])[:, :, None]


ROLLOUT = Rollout(
    obs=None,
    action=None,
    log_prob=np.zeros((5, 2, 1)),
    reward=by_member("rewards"),
    value=by_member("values"),
    next_value=by_member("next_values"),
    terminated=by_member("terminated"),
    truncated=by_member("truncated"),
)


@pytest.mark.parametrize(
    ("estimator", "targets"),
    [
        (GAE(GAMMA, LAM), EXPECT["td_lambda_returns"]),
        (NStep(GAMMA, 2), EXPECT["nstep_returns_n2"]),
        (NStep(GAMMA, 3), EXPECT["nstep_returns_n3"]),
        (MonteCarlo(GAMMA, 1.0), EXPECT["mc_returns_no_bootstrap"]),
        (TDLambda(GAMMA, LAM, LAM), EXPECT["td_lambda_returns"]),
    ],
    ids=lambda x: repr(x) if not isinstance(x, list) else "",
)
def test_advantages_are_targets_less_values(estimator, targets):
    estimate = estimator(ROLLOUT)
    np.testing.assert_allclose(estimate.value_target[..., 0], targets, rtol=1e-12)
    np.testing.assert_allclose(estimate.advantage[..., 0], np.array(targets) - VALUES, rtol=1e-12, atol=1e-12)
    assert estimate.log_prob is None
    assert estimator.needs_critic


def test_the_lambdas_of_actor_and_critic_are_apart():
    estimate = TDLambda(GAMMA, actor_lambda=0.0, critic_lambda=1.0)(ROLLOUT)
    np.testing.assert_allclose(estimate.advantage[..., 0], EXPECT["deltas"], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(estimate.value_target[..., 0] - VALUES, EXPECT["advantages_lambda1"], atol=1e-12)


@pytest.mark.parametrize(
    ("unseen", "weight"),
    [
        (1.0, [[1, 1], [1, 1], [1, 1], [1, 1], [1, 1]]),
        (0.85, [[1, 1], [1, 1], [1, 1], [1, 0], [0, 0]]),
        (0.7, [[1, 1], [1, 0], [1, 0], [0, 0], [0, 0]]),
        (0.0, [[1, 0], [1, 0], [1, 0], [0, 0], [0, 0]]),
    ],
)
def test_steps_whose_future_is_hidden_have_no_weight(unseen, weight):
    """Environment 0 terminates at 2, the rollout cuts it at 4; environment 1 is cut at 3 and at 4: 0.9^k is hidden."""
    assert MonteCarlo(GAMMA, unseen)(ROLLOUT).weight[..., 0].tolist() == weight


def test_vtrace_corrects_for_who_acted_and_the_ratio_then_begins_at_who_learns():
    behaviour = np.random.default_rng(0).normal(size=(5, 2, 1))
    own = behaviour + np.array(VTRACE["log_rhos"])[:, :, None]
    rollout = replace(ROLLOUT, log_prob=behaviour, own_log_prob=own)
    estimate = VTrace(GAMMA, trace_lambda=1.0)(rollout)
    expected = VTRACE["expect_rho1_c1"]
    np.testing.assert_allclose(estimate.advantage[..., 0], expected["pg_advantages"], rtol=1e-9)
    np.testing.assert_allclose(estimate.value_target[..., 0], expected["vs"], rtol=1e-9)
    assert estimate.log_prob is own


def test_vtrace_of_ones_own_steps_is_gae():
    estimate = VTrace(GAMMA, trace_lambda=1.0)(ROLLOUT)
    np.testing.assert_allclose(estimate.advantage[..., 0], EXPECT["advantages_lambda1"], rtol=1e-12, atol=1e-12)
    assert estimate.log_prob is ROLLOUT.log_prob


def test_many_steps_look_past_steps_of_others_as_far_as_v_trace():
    """V-trace with lambda 1 takes the whole rollout, as n steps do that are no fewer."""
    behaviour = np.random.default_rng(0).normal(size=(5, 2, 1))
    own = behaviour + np.array(VTRACE["log_rhos"])[:, :, None]
    rollout = replace(ROLLOUT, log_prob=behaviour, own_log_prob=own)
    estimate = NStep(GAMMA, n=5)(rollout)
    found = rollout.value + np.minimum(1, np.exp(own - behaviour)) * estimate.advantage
    np.testing.assert_allclose(found, VTrace(GAMMA, 1.0)(rollout).value_target, rtol=1e-9)
    one_step = GAE(GAMMA, 0.0)(rollout).value_target
    np.testing.assert_allclose(NStep(GAMMA, n=1)(rollout).value_target, one_step, rtol=1e-12)


@pytest.mark.parametrize("trace_lambda", [0.0, 0.7, 1.0])
def test_gae_looks_past_steps_of_others_as_far_as_v_trace(trace_lambda):
    """V-trace's value target is V + rho A (Espeholt et al., remark 1), with A cut at every step after the first."""
    behaviour = np.random.default_rng(0).normal(size=(5, 2, 1))
    own = behaviour + np.array(VTRACE["log_rhos"])[:, :, None]
    rollout = replace(ROLLOUT, log_prob=behaviour, own_log_prob=own)
    target = VTrace(GAMMA, trace_lambda)(rollout).value_target
    for estimator in (GAE(GAMMA, trace_lambda), TDLambda(GAMMA, trace_lambda, trace_lambda)):
        estimate = estimator(rollout)
        found = rollout.value + np.minimum(1, np.exp(own - behaviour)) * estimate.advantage
        np.testing.assert_allclose(found, target, rtol=1e-9)
        assert estimate.log_prob is None


def test_the_last_step_of_a_rollout_has_nothing_after_it_to_rely_on():
    behaviour = np.zeros((5, 2, 1))
    rollout = replace(ROLLOUT, log_prob=behaviour, own_log_prob=behaviour - np.arange(10.0).reshape(5, 2, 1))
    assert rollout.trace.shape == (5, 2, 1)
    np.testing.assert_allclose(rollout.trace[:-1], rollout.weight[1:])
    np.testing.assert_allclose(rollout.weight, np.exp(-np.arange(10.0)).reshape(5, 2, 1))
    assert ROLLOUT.trace == 1.0
    assert (ROLLOUT.weight == 1.0).all()
