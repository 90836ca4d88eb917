"""TRPO's updates, against the tiny vectors, dense solutions and sb3-contrib."""

import json
from dataclasses import replace
from operator import itemgetter
from pathlib import Path

import numpy as np
import peers
import pytest
import sb3_contrib
import torch

from rlsparse.algorithms.natural_gradient import CG, MFAC, TrustRegion, conjugate_gradient
from rlsparse.algorithms.trpo import TRPO
from rlsparse.learner.layout import actor_critic_layout
from rlsparse.learner.learner import Learner
from rlsparse.learner.network import ActorCritic, action_mean, value
from rlsparse.learner.records import Batch
from rlsparse.sparse.config import Sparse
from rlsparse.sparse.rules import RigL, Static

VECTORS = json.loads((Path(__file__).parent.parent / "data" / "trpo.json").read_text())


def zero_gradient(learner):
    return learner.layout.views(np.zeros_like(learner.params))


def kl_of_update(learner, batch, before):
    """What the policy now gains and how far it is from the parameters `before`."""
    layout, part = learner.layout, learner.layout.policy
    return TrustRegion(layout, before[:, part], batch, batch.advantage)(learner.params[:, part])


def test_the_step_of_the_tiny_gaussian(new_learner):
    vector, expect = VECTORS["trpo_tiny_gaussian"], VECTORS["trpo_tiny_gaussian"]["expect"]
    learner = new_learner(seeds=[0], obs_size=2, action_size=1, actor_hidden=(), critic_hidden=())
    assert learner.layout == actor_critic_layout(2, 1, (), ())
    learner.params = learner.params.astype(float)
    learner.params[0, :4] = vector["theta"]
    obs, action, advantage = (np.array([vector[name]]) for name in ("states", "actions", "advantages"))
    batch = Batch(obs, action, np.array([expect["logp_old"]]), advantage, np.zeros((1, 4)))
    trpo = TRPO(target_kl=vector["target_kl"], damping=vector["damping"], normalise_advantages=False, solver=CG(4, 0.0))
    terms = trpo.improve_policy(learner, batch, zero_gradient(learner))
    np.testing.assert_allclose(learner.params[0, :4], expect["accepted"]["theta"], atol=1e-9)
    assert terms["step_fraction"][0] == expect["accepted"]["fraction"]
    assert terms["approx_kl"][0] == pytest.approx(expect["accepted"]["kl"], abs=1e-10)
    assert -terms["policy_loss"][0] == pytest.approx(expect["accepted"]["surrogate"], abs=1e-9)
    assert terms["grad_norm"][0] == pytest.approx(np.linalg.norm(expect["surrogate_grad"]), abs=1e-10)


def test_the_natural_gradient_of_sparse_weights_is_solved_among_them():
    vector = VECTORS["masked_fvp"]
    jacobian, mask = np.array(vector["J"]), np.array(vector["mask"])
    fisher = jacobian.T @ jacobian / 3
    g = np.array([vector["expected"]["g"]])

    def product(v):
        return mask * (v @ fisher) + vector["damping"] * v

    masked = product(np.array([vector["v"]]) * mask) - vector["damping"] * np.array([vector["v"]]) * mask
    np.testing.assert_allclose(masked[0], vector["expected"]["MFMv"], atol=1e-8)
    x = conjugate_gradient(product, g, 10)
    np.testing.assert_allclose(x[0], vector["expected"]["natgrad_subspace"], atol=1e-7)


@pytest.mark.parametrize("normalise_advantages", [False, True])
def test_an_update_is_that_of_sb3_contrib(new_learner, new_batch, monkeypatch, normalise_advantages):
    # its conjugate gradient begins at random numbers of deviation 1e-4, ours at zero
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    size, rate = 256, 1e-3
    learner = new_learner(seeds=[0], actor_hidden=(64, 64), critic_hidden=(64, 64), log_std_init=-0.2)
    layout, batch, before = learner.layout, new_batch(learner, size, distance=0.0), learner.params.copy()
    model = sb3_contrib.TRPO(
        "MlpPolicy",
        peers.Still(),
        learning_rate=rate,
        n_steps=size,
        batch_size=size,
        cg_max_steps=15,
        n_critic_updates=5,
        target_kl=0.01,
        normalize_advantage=normalise_advantages,
        device="cpu",
    )
    peers.take_over(model, learner, batch)
    model.train()

    trpo = TRPO(
        kl_reduction="mean_dims",
        solver=CG(15, 0.0),
        learning_rate=rate,
        critic_epochs=5,
        critic_minibatches=1,
        normalise_advantages=normalise_advantages,
    )
    (stats,) = trpo.update(learner, batch)
    theirs, logged = peers.parameters(model), model.logger.name_to_value
    # theirs is KL(new || old), ours the paper's KL(old || new)
    reverse = TrustRegion(layout, learner.params[:, layout.policy], batch, batch.advantage, 1 / 3)
    assert reverse(before[:, layout.policy])[1][0] == pytest.approx(logged["train/kl_divergence_loss"], rel=5e-3)
    assert -stats.policy_loss[0] == pytest.approx(logged["train/policy_objective"], rel=1e-3)
    assert stats.value_loss[0] == pytest.approx(logged["train/value_loss"], rel=1e-4)
    assert logged["train/is_line_search_success"] == 1
    step = np.concatenate([(theirs[s.name].numpy() - layout.view(before[0], s)).ravel() for s in layout.slots])
    own = learner.params[0] - before[0]
    part = layout.policy
    np.testing.assert_allclose(own[part], step[part], atol=2e-3 * np.abs(step[part]).max())
    np.testing.assert_allclose(own[part.stop :], step[part.stop :], atol=0.02 * rate)


@pytest.mark.parametrize("kl_reduction", ["sum", "mean_dims"])
def test_a_step_improves_within_the_trust_region(new_learner, new_batch, kl_reduction):
    learner = new_learner()
    batch, before = new_batch(learner, 200, distance=0.0), learner.params.copy()
    (stats,) = TRPO(kl_reduction=kl_reduction, normalise_advantages=False, critic_minibatches=4).update(learner, batch)
    gain, kl = kl_of_update(learner, batch, before)
    scale = 3 if kl_reduction == "mean_dims" else 1
    assert (gain > 0).all()
    assert (kl <= 0.01 * scale).all()
    assert (kl > 0.004 * scale).all()
    np.testing.assert_allclose(stats.approx_kl, kl / scale, rtol=1e-4)


def refusing(monkeypatch, members):
    """The line search of these members finds nothing."""
    original = TrustRegion.__call__

    def refuse(self, policy):
        gain, kl = original(self, policy)
        gain[members] = -1.0
        return gain, kl

    monkeypatch.setattr(TrustRegion, "__call__", refuse)


def test_a_policy_whose_line_search_fails_stays_bitwise_as_it_was(new_learner, new_batch, monkeypatch):
    learner = new_learner()
    learner.params[:, :4] = -0.0  # a sum with a step of zero would turn its sign
    batch, before, part = new_batch(learner, distance=0.0), learner.params.copy(), learner.layout.policy
    refusing(monkeypatch, [1])
    (stats,) = TRPO(critic_minibatches=4, critic_epochs=1).update(learner, batch)
    assert learner.params[1, part].tobytes() == before[1, part].tobytes()
    assert (learner.params[[0, 2], part] != before[[0, 2], part]).any(1).all()
    assert (learner.params[:, part.stop :] != before[:, part.stop :]).any(1).all()
    assert stats.step_fraction[1] == stats.approx_kl[1] == 0
    assert (stats.step_fraction[[0, 2]] > 0).all()


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_an_advantage_that_is_not_finite_leaves_the_policy_alone_and_is_seen_in_the_gradient(
    new_learner, new_batch, broken
):
    learner = new_learner()
    batch, before, part = new_batch(learner, distance=0.0), learner.params.copy(), learner.layout.policy
    batch.advantage[1, 3] = broken
    with np.errstate(invalid="ignore", over="ignore"):
        (stats,) = TRPO(critic_minibatches=4).update(learner, batch)
    np.testing.assert_array_equal(learner.params[1, part], before[1, part])
    assert not np.isfinite(stats.grad_norm[1])
    assert np.isfinite(stats.grad_norm[[0, 2]]).all()
    assert np.isfinite(learner.params).all()


def test_equal_advantages_give_no_step(new_learner, new_batch):
    learner = new_learner()
    batch, before, part = new_batch(learner, distance=0.0), learner.params.copy(), learner.layout.policy
    (stats,) = TRPO(critic_minibatches=4).update(learner, replace(batch, advantage=np.ones_like(batch.advantage)))
    np.testing.assert_array_equal(learner.params[:, part], before[:, part])
    np.testing.assert_array_equal(stats.step_fraction, 0)


def test_the_gain_counts_from_the_policy_that_the_update_begins_with_though_another_acted(new_learner, new_batch):
    learner = new_learner()
    batch, before = new_batch(learner, 100, distance=0.4), learner.params.copy()
    (stats,) = TRPO(normalise_advantages=False, critic_minibatches=4).update(learner, batch)
    gain, kl = kl_of_update(learner, batch, before)
    assert (gain > 0).all()
    np.testing.assert_allclose(stats.approx_kl, kl, rtol=1e-4)


@pytest.mark.parametrize("changes", [{}, {"fisher_subsample": 3}, {"solver": CG(10, 1e-2)}, {"solver": MFAC(9)}])
def test_a_member_is_bitwise_as_if_it_were_alone(new_learner, new_batch, changes):
    trpo = TRPO(**{"critic_minibatches": 4} | changes)
    together, alone = new_learner(), [new_learner(seeds=[seed]) for seed in range(3)]
    batch = new_batch(together, distance=0.0)
    stats = list(trpo.update(together, batch))[-1]
    single_stats = []
    for member, learner in enumerate(alone):
        one = batch.map(itemgetter(slice(member, member + 1)))
        single_stats.append(list(trpo.update(learner, one))[-1])
    for name, x in together.state_dict().items():
        np.testing.assert_array_equal(x, np.concatenate([learner.state_dict()[name] for learner in alone]), name)
    assert together.random_state()["minibatch"] == [learner.random_state()["minibatch"][0] for learner in alone]
    for name, x in vars(stats).items():
        np.testing.assert_array_equal(x, np.concatenate([getattr(s, name) for s in single_stats]), name)


def test_a_subsample_is_drawn_only_if_it_is_asked_for(new_learner, new_batch):
    learners = [new_learner() for _ in range(2)]
    for learner, subsample in zip(learners, (1, 2), strict=True):
        trpo = TRPO(fisher_subsample=subsample)
        trpo.improve_policy(learner, new_batch(learner, distance=0.0), zero_gradient(learner))
    whole, part = (learner.random_state()["minibatch"] for learner in learners)
    assert whole == new_learner().random_state()["minibatch"] != part
    assert (learners[0].params != learners[1].params).any(1).all()


def test_the_critic_learns_and_the_actor_has_no_moments(new_learner, new_batch):
    learner = new_learner()
    batch, critic = new_batch(learner, distance=0.0), learner.layout.group("critic")
    target = np.tanh(batch.obs.sum(-1))
    trpo = TRPO(learning_rate=1e-2, critic_epochs=60, critic_minibatches=2)
    (stats,) = trpo.update(learner, replace(batch, value_target=target))
    error = ((value(learner.layout, learner.params, batch.obs) - target) ** 2).mean(1)
    assert (error < 0.1 * target.var(1)).all()
    assert (error < stats.value_loss).all()
    assert not learner.optimiser.first[:, : critic.start].any()
    assert learner.optimiser.first[:, critic].any()
    assert (learner.optimiser.steps == 120).all()


def test_the_critics_learning_rate_decays_with_the_spent_budget(new_learner, new_batch):
    changes = []
    for progress, decay in ((0.75, False), (0.75, True)):
        learner = new_learner()
        learner.progress = np.full(learner.members, progress)
        critic, start = learner.layout.group("critic"), learner.params.copy()
        list(TRPO(critic_epochs=1, critic_minibatches=1, learning_rate_decay=decay).update(learner, new_batch(learner)))
        changes.append((learner.params - start)[:, critic])
    np.testing.assert_allclose(changes[1], changes[0] / 4, atol=1e-7)


def sparse_learner(rule):
    sparse = Sparse(rule=rule, sparsity=0.7)
    return Learner(ActorCritic(actor_hidden=(8, 7), critic_hidden=(6,)), 5, 3, (0, 1, 2), sparse=sparse)


def test_absent_weights_stay_exactly_zero_and_growth_sees_the_whole_gradient(new_batch):
    learner = sparse_learner(RigL(every=1))
    learner.begin_iteration(1000)
    batch, layout = new_batch(learner, distance=0.0), learner.layout
    absent, before = ~learner.sparsity.masks.active, learner.params.copy()
    list(TRPO(critic_minibatches=4).update(learner, batch))
    assert not learner.params[absent].any()
    assert not learner.optimiser.first[absent].any()
    assert (
        learner.sparsity.masks.growth[absent] != 0
    ).mean() > 0.8  # all but those of units without an outgoing weight

    # the actor's growth score is the gradient of the surrogate, present and absent weights alike
    region = TrustRegion(layout, before[:, layout.policy], batch, TRPO().advantages(batch))
    whole = layout.views(np.zeros_like(before))
    region.surrogate_gradient(whole)
    actor = layout.group("actor")
    np.testing.assert_allclose(learner.sparsity.masks.growth[:, actor], whole.flat[:, actor], rtol=1e-5, atol=1e-8)


def test_mfac_solves_with_the_scores_of_its_samples_among_the_weights_that_are_there(new_batch):
    learner = sparse_learner(Static())
    layout, part = learner.layout, learner.layout.policy
    batch, start = new_batch(learner, 40, distance=0.0), learner.params[:, part].astype(float)
    region = TrustRegion(layout, start, batch, TRPO().advantages(batch))
    gradient = layout.views(np.zeros((3, layout.size)))
    region.surrogate_gradient(gradient)
    scores = region.scores(batch) * learner.sparsity.masks.active[:, None, part]
    fisher = 0.1 * np.eye(part.stop) + scores.mT @ scores / 40
    ascent = gradient.flat[:, part] * learner.sparsity.masks.active[:, part]
    expected = np.linalg.solve(fisher, ascent[..., None])[..., 0]
    TRPO(solver=MFAC(40)).improve_policy(learner, batch, zero_gradient(learner))  # all 40, in any order
    step = learner.params[:, part] - start
    assert not step[~learner.sparsity.masks.active[:, part]].any()
    cosine = (step * expected).sum(1) / np.linalg.norm(step, axis=1) / np.linalg.norm(expected, axis=1)
    np.testing.assert_allclose(cosine, 1, atol=1e-4)


def test_the_step_of_sparse_weights_is_the_dense_solution_among_them(new_batch):
    learner = sparse_learner(Static())
    layout, part = learner.layout, learner.layout.policy
    batch, start = new_batch(learner, 100, distance=0.0), learner.params[:, part].astype(float)
    region = TrustRegion(layout, start, batch, TRPO().advantages(batch))
    gradient = layout.views(np.zeros((3, layout.size)))
    region.surrogate_gradient(gradient)
    fisher, trpo = region.fisher(), TRPO(solver=CG(200, 1e-9))
    matrix = np.stack([fisher(np.tile(row, (3, 1))) for row in np.eye(part.stop)], 1)
    trpo.improve_policy(learner, batch, zero_gradient(learner))
    for s in range(3):
        there = np.flatnonzero(learner.sparsity.masks.active[s, part])
        own = matrix[s][np.ix_(there, there)] + 0.1 * np.eye(len(there))
        expected = np.linalg.solve(own, gradient.flat[s, there])
        step = (learner.params[s, part] - start[s])[there]
        cosine = step @ expected / np.linalg.norm(step) / np.linalg.norm(expected)
        assert cosine == pytest.approx(1, abs=1e-4)


def test_the_policy_moves_towards_the_better_actions(new_learner, new_batch):
    learner = new_learner(log_std_init=-0.5)
    goal = np.array([0.3, -0.2, 0.1], np.float32)
    distances = []
    for i in range(20):
        batch = new_batch(learner, 256, distance=0.0, seed=i)
        distances.append(np.abs(action_mean(learner.layout, learner.params, batch.obs) - goal).mean((1, 2)))
        better = replace(batch, advantage=-((batch.action - goal) ** 2).sum(-1))
        list(TRPO(target_kl=0.05, critic_minibatches=4).update(learner, better))
    assert (distances[-1] < 0.7 * distances[0]).all()
