"""PPO on the last rollouts: which steps it learns from, with what weights and advantages; members, checkpoints."""

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from tape import tape

from rlsparse import loop
from rlsparse.advantage.estimators import MonteCarlo, TDLambda
from rlsparse.advantage.group_relative import GRPO
from rlsparse.advantage.vtrace import VTrace
from rlsparse.algorithms.ppo import PPO
from rlsparse.algorithms.reuse import Reuse, seen_now, standardised
from rlsparse.errors import UsageError
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.in_rollout import InRollout
from rlsparse.explore.propose import Line
from rlsparse.learner.network import action_mean, value
from rlsparse.run import session as sessions
from rlsparse.run.recipe import check
from rlsparse.sparse.config import Sparse
from rlsparse.sparse.rules import RigL

RECIPE = tiny.recipe(
    env="Hopper-v5",
    num_seeds=2,
    rollout_length=32,
    total_steps=512,
    eval_every=256,
    algorithm=PPO(1e-2, epochs=2, minibatches=4, normalise_advantages=False, objective=Reuse(rollouts=3)),
)
"""Episodes of an untrained policy end in every rollout."""

CASES = {
    "gae": RECIPE,
    "v-trace": replace(RECIPE, advantage=VTrace(gamma=0.9)),
    "two lambdas": replace(RECIPE, advantage=TDLambda(gamma=0.9)),
    "early stops": replace(RECIPE, algorithm=replace(RECIPE.algorithm, target_kl=0.004)),
    "sparse": replace(RECIPE, sparse=Sparse(0.5, rule=RigL(every=1, end=1.0))),
    "in the rollout": replace(
        RECIPE, explore=ExploRLer(Line((0.0, 2.0)), InRollout(share=1.0, move="evolution"), num_anchors=2)
    ),
}


@pytest.fixture(autouse=True)
def do_not_wait_for_the_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)


def after(recipe, iterations, device="cpu"):
    learner, collector, explorer = sessions.begin(recipe, device)
    for _ in range(iterations):
        loop.iterate(recipe, learner, collector, explorer)
    return learner, collector


def next_update(recipe, iterations=3, device="cpu"):
    """Learner, rollouts, advantages and batch of the update after some iterations."""
    learner, collector = after(recipe, iterations, device)
    rollouts = recipe.algorithm.collect(learner, collector, recipe.rollout_length, recipe.advantage.gamma, None)
    advantages = [recipe.advantage(rollout) for rollout in rollouts]
    return learner, rollouts, advantages, recipe.algorithm.batch(learner, rollouts, advantages)


def log_density(learner, obs, action):
    """Of actions [S, B, A] at raw observations [S, B, O], by torch."""
    mean = torch.tensor(action_mean(learner.layout, learner.params, learner.obs_scale()(obs)))
    std = torch.tensor(np.exp(learner.layout.log_std(learner.params)))[:, None]
    return torch.distributions.Normal(mean, std).log_prob(torch.tensor(action)).sum(-1).numpy()


def rows(x):
    """[T, S, N, ...] as [S, T * N, ...]."""
    return x.swapaxes(0, 1).reshape(x.shape[1], -1, *x.shape[3:])


# What is learned from


def test_an_update_learns_from_the_last_rollouts_newest_first():
    learner, collector = after(RECIPE, 0)
    seen = []
    for _ in range(5):
        rollouts = RECIPE.algorithm.collect(learner, collector, 32, 0.9, None)
        seen.append(rollouts[0].obs)
        assert len(rollouts) == min(len(seen), 3)
        for rollout, obs in zip(rollouts, reversed(seen), strict=False):
            np.testing.assert_array_equal(rollout.obs, obs)


def test_a_step_weighs_as_its_action_is_likely_now_but_at_most_one():
    learner, rollouts, _, batch = next_update(RECIPE)
    samples = rollouts[0].reward[:, 0].size
    assert batch.obs.shape[1] == 3 * samples
    assert (batch.weight[:, :samples] == 1).all()
    for k, rollout in enumerate(rollouts):
        part = slice(k * samples, (k + 1) * samples)
        now = log_density(learner, rows(rollout.obs), rows(rollout.action))
        np.testing.assert_allclose(batch.log_prob[:, part], now, rtol=1e-3, atol=1e-3)
        expected = np.minimum(1, np.exp(now - rows(rollout.log_prob)))
        np.testing.assert_allclose(batch.weight[:, part], expected, rtol=1e-2, atol=1e-3)
    assert (batch.weight < 0.99).any()


def test_a_clipped_ratio_to_the_policy_that_acted_has_the_same_gradient():
    """Equation 7 of the source by autograd: its ratio is to the policy that acted, clipped around the weight."""
    learner, rollouts, _, batch = next_update(RECIPE)
    mean = action_mean(learner.layout, learner.params, batch.obs)
    moved = torch.tensor(mean + 0.05, requires_grad=True)
    log_std = learner.layout.log_std(learner.params)
    _, d_mean, _ = RECIPE.algorithm.objective.gradient(moved.detach().numpy(), log_std[:, None], batch, 0.2)

    then = np.concatenate([rows(rollout.log_prob) for rollout in rollouts], 1)
    rare = torch.tensor(batch.log_prob < then)
    policy = torch.distributions.Normal(moved, torch.tensor(np.exp(log_std))[:, None])
    log_prob = policy.log_prob(torch.tensor(batch.action)).sum(-1)
    now = torch.tensor(batch.log_prob)
    ratio = torch.exp(log_prob - torch.where(rare, torch.tensor(then), now).float())
    centre = torch.tensor(batch.weight)
    advantage = torch.tensor(batch.advantage)
    clipped = torch.minimum(torch.maximum(ratio, centre * 0.8), centre * 1.2)
    (-(torch.minimum(ratio * advantage, clipped * advantage).sum(-1) / centre.sum(-1)).sum()).backward()
    np.testing.assert_allclose(d_mean, moved.grad.numpy(), rtol=2e-3, atol=1e-5)


@given(st.integers(0, 2**32 - 1))
def test_advantages_have_weighted_mean_0_and_deviation_1(seed):
    rng = np.random.default_rng(seed)
    x, weight = rng.normal(5.0, 3.0, (2, 50)), rng.uniform(0.0, 1.0, (2, 50))
    found = standardised(x, weight)
    for own, w in zip(found, weight, strict=True):
        assert np.average(own, weights=w) == pytest.approx(0.0, abs=1e-9)
        assert np.average(own**2, weights=w) == pytest.approx(1.0)


def test_equal_advantages_are_zero():
    assert (standardised(np.full((1, 4), 2.0), np.ones((1, 4))) == 0).all()


def test_earlier_rollouts_are_judged_by_the_present_critic():
    learner, collector = after(RECIPE, 4)
    kept = learner.archive.kept[-1]
    now = seen_now(learner, kept)
    scaled = learner.obs_scale()(rows(kept.obs))
    np.testing.assert_allclose(rows(now.value), value(learner.layout, learner.params, scaled), rtol=1e-5, atol=1e-6)
    stays = kept.terminated | kept.truncated
    stays[-1] = True
    assert stays[:-1].any()
    np.testing.assert_array_equal(now.next_value[stays], kept.next_value[stays])
    np.testing.assert_array_equal(now.next_value[:-1][~stays[:-1]], now.value[1:][~stays[:-1]])


def test_v_trace_has_its_weights_in_its_advantages():
    learner, rollouts, advantages, batch = next_update(CASES["v-trace"])
    assert (batch.weight == 1).all()
    together = np.concatenate([rows(x.advantage) for x in advantages], 1)
    centred = together - together.mean(1)[:, None]
    np.testing.assert_allclose(batch.advantage, centred / centred.std(1)[:, None], rtol=1e-3, atol=1e-4)


def test_one_rollout_is_ppo_with_advantages_standardised_over_the_whole_batch():
    algorithm = replace(RECIPE.algorithm, objective=Reuse(rollouts=1))
    *_, advantages, batch = next_update(replace(RECIPE, algorithm=algorithm))
    x = rows(advantages[0].advantage)
    np.testing.assert_allclose(batch.advantage, (x - x.mean(1)[:, None]) / x.std(1)[:, None], rtol=1e-3, atol=1e-4)
    assert (batch.weight == 1).all()


# Members, checkpoints, tensors


@pytest.mark.parametrize("case", CASES)
def test_a_member_is_bitwise_the_run_of_its_seed_alone(case, tmp_path):
    together = tiny.begin(tmp_path / "together", CASES[case])
    tiny.go_on(together)
    for member in range(2):
        alone = tiny.begin(tmp_path / str(member), replace(CASES[case], seed=member, num_seeds=1))
        tiny.go_on(alone)
        for name, x in alone.learner.state_dict().items():
            if name.startswith(("params", "counters.train", "obs_moments.mean", "archive.")):
                np.testing.assert_array_equal(together.learner.state_dict()[name][member], x[0], name)


def test_resumed_at_any_checkpoint_the_run_ends_as_the_uninterrupted_one(tmp_path, monkeypatch):
    copies = tmp_path / "copies"
    expected = tiny.outcome(tiny.train_and_copy(tmp_path / "run", RECIPE, copies, monkeypatch))
    assert "learner/archive.next_value" in expected
    assert len(list(copies.iterdir())) > 5
    for copy in copies.iterdir():
        assert tiny.outcome(tiny.resume(copy)) == expected


@pytest.mark.parametrize("case", ["gae", "v-trace"])
def test_on_tensors_it_is_what_it_is_on_arrays(case):
    found = [after(CASES[case], 3, device)[0].state_dict()["params"] for device in ("cpu", "cpu:0")]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-3, atol=1e-4)


def test_recorded_steps_follow_the_batch_as_it_grows():
    found = []
    for record in (None, tape):
        learner, collector, explorer = sessions.begin(RECIPE, "cpu:0")
        learner.record = record
        for _ in range(4):
            loop.iterate(RECIPE, learner, collector, explorer)
        found.append(learner.state_dict()["params"])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (
            {"advantage": GRPO(group_size=2)},
            "needs an estimator that corrects for them, which --advantage grpo does not",
        ),
        ({"advantage": MonteCarlo()}, "which --advantage monte-carlo does not give: use .*--advantage gae, nstep, td"),
    ],
)
def test_what_it_needs(changed, expected):
    with pytest.raises(UsageError, match=expected):
        check(replace(RECIPE, **changed))
