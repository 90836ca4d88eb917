"""Saliency of weights against torch's derivatives and against what their loss really does to a policy."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rlsparse.learner.arrays import to_numpy
from rlsparse.learner.learner import Learner
from rlsparse.learner.network import ActorCritic, action_mean, value
from rlsparse.sparse.budgets import weight_slots
from rlsparse.sparse.config import Sparse
from rlsparse.sparse.rules import SET, Magnitude, RigL
from rlsparse.sparse.saliency import curvature, saliency

POLICY = ActorCritic((9, 8), (7,), log_std_init=-0.4)
LAYOUT = POLICY.layout(5, 3)


@pytest.fixture
def params():
    """Two members; far from initial policies, whose heads are small."""
    params = np.random.default_rng(0).normal(size=(2, LAYOUT.size)) / 2
    LAYOUT.log_std(params)[...] = [[-0.5, 0.1, 0.4], [0.3, -1.0, 0.0]]
    return params


@pytest.fixture
def obs():
    return np.random.default_rng(1).normal(size=(2, 40, 5))


def kl_of(before, after, obs):
    """Mean KL divergence between Gaussian policies of equal deviation."""
    moved = action_mean(LAYOUT, before, obs) - action_mean(LAYOUT, after, obs)
    return 0.5 * np.square(moved / np.exp(LAYOUT.log_std(before))[:, None]).sum(-1).mean(-1)


def value_change(before, after, obs):
    return 0.5 * np.square(value(LAYOUT, before, obs) - value(LAYOUT, after, obs)).mean(-1)


def network(x, scale, biases, activation="tanh", normalised=False):
    """A network as a function of its weights, in torch."""

    def outputs(*weights):
        h = x
        for weight, bias in zip(weights[:-1], biases, strict=False):
            h = h @ weight + torch.tensor(bias)
            h = torch.nn.functional.layer_norm(h, h.shape[-1:]) if normalised else h
            h = getattr(torch.nn.functional, activation)(h)
        return (h @ weights[-1] + torch.tensor(biases[-1])) * scale

    return outputs


@pytest.mark.parametrize("hidden", [("tanh", False), ("elu", False), ("relu", False), ("silu", False), ("elu", True)])
@pytest.mark.parametrize(("group", "outputs"), [("actor", 3), ("critic", 1)])
def test_the_diagonal_of_the_fisher_matrix_is_that_of_automatic_derivatives(group, outputs, hidden, params, obs):
    inv_std = np.random.default_rng(2).uniform(0.5, 2, (2, outputs))
    layers = replace(LAYOUT, activation=hidden[0], layer_normalisation=hidden[1]).layers(params, group)
    found = curvature(layers, obs, inv_std)
    for member in range(2):
        biases = [b[member] for _, b in layers]
        scaled = network(torch.tensor(obs[member]), torch.tensor(inv_std[member]), biases, *hidden)
        weights = tuple(torch.tensor(weight[member]) for weight, _ in layers)
        jacobians = torch.autograd.functional.jacobian(scaled, weights)  # [B, A, in, out] each
        for layer, jacobian in zip(found, jacobians, strict=True):
            np.testing.assert_allclose(layer[member], (jacobian**2).sum(1).mean(0), rtol=1e-10)


@pytest.mark.parametrize(("group", "change"), [("actor", kl_of), ("critic", value_change)])
def test_saliency_foretells_what_dropping_a_weight_does(group, change, params, obs):
    for slot in weight_slots(LAYOUT, group):
        for i in (slot.start, slot.stop - 1):
            params[:, i] = [1e-3, -2e-3]  # small, for the forecast is of second order
            dropped = params.copy()
            dropped[:, i] = 0
            np.testing.assert_allclose(saliency(LAYOUT, params, obs)[:, i], change(params, dropped, obs), rtol=2e-2)


def test_only_weights_have_saliency(params, obs):
    found = saliency(LAYOUT, params, obs)
    weights = np.zeros(LAYOUT.size, bool)
    for group in ("actor", "critic"):
        for slot in weight_slots(LAYOUT, group):
            weights[slot.start : slot.stop] = True
    assert (found[:, weights] > 0).all()
    assert not found[:, ~weights].any()


def test_on_torch_it_is_the_same(params, obs):
    ours = saliency(LAYOUT, torch.tensor(params), torch.tensor(obs))
    np.testing.assert_allclose(ours, saliency(LAYOUT, params, obs), rtol=1e-10)


def test_a_member_has_the_saliency_it_has_alone(params, obs):
    params, obs = params.astype(np.float32), obs.astype(np.float32)
    together = saliency(LAYOUT, params, obs)
    for m in range(2):
        np.testing.assert_array_equal(together[m : m + 1], saliency(LAYOUT, params[m : m + 1], obs[m : m + 1]))


def learner_of(rule, drop_by, device="cpu", **settings):
    return Learner(POLICY, 5, 3, (0, 1), device, Sparse(0.5, rule=rule, drop_by=drop_by, **settings))


@pytest.mark.parametrize("rule", [SET(0.4, every=1), RigL(0.4, every=1), Magnitude(0.0, 0.001)])
@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
def test_weights_go_that_move_the_policy_least(rule, device, obs):
    learner = learner_of(rule, "kl", device=device)
    samples = torch.tensor(obs.astype(np.float32)) if device != "cpu" else obs.astype(np.float32)
    learner.counters.train[:] = 500
    learner.begin_iteration(10**6)
    before = learner.sparsity.masks.active.copy()
    worth = to_numpy(saliency(learner.layout, learner.params, samples))
    learner.sparsity.evolve(learner, samples)
    gone, stayed = before & ~learner.sparsity.masks.active, before & learner.sparsity.masks.active
    assert not to_numpy(learner.params)[~learner.sparsity.masks.active].any()
    for slot, _ in learner.sparsity.masks.config.budgets(learner.layout):
        part = slice(slot.start, slot.stop)
        for m in range(2):
            if gone[m, part].any() and stayed[m, part].any() and not rule.grows:  # what was dropped may grow again
                assert worth[m, part][gone[m, part]].max() <= worth[m, part][stayed[m, part]].min()
    assert gone.any()


def test_the_policy_moves_less_than_by_dropping_the_smallest_weights(obs):
    moved = {}
    for drop_by in ("magnitude", "kl"):
        learner = learner_of(Magnitude(0.0, 0.001), drop_by, init="masked")
        head = LAYOUT.view(learner.params, weight_slots(LAYOUT, "actor")[-1])
        head *= 30 * np.random.default_rng(0).random((8, 1), np.float32) ** 4  # units that matter, and such that do not
        start = learner.params.copy()
        learner.counters.train[:] = 500
        learner.begin_iteration(10**6)
        learner.sparsity.evolve(learner, obs.astype(np.float32))
        moved[drop_by] = kl_of(start, learner.params, obs)
    assert (moved["kl"] < moved["magnitude"]).all()


def test_weights_into_a_unit_that_nothing_listens_to_go_first(obs):
    learner = learner_of(Magnitude(0.0, 0.001), "kl", budget="uniform")
    first, second = weight_slots(LAYOUT, "actor")[:2]
    into, out_of = (LAYOUT.view(np.arange(LAYOUT.size), slot) for slot in (first, second))
    learner.params[:, into[:, 4]] = 5.0  # by magnitude they would stay
    learner.params[:, out_of[4]] = 0.0
    learner.sparsity.masks.active[:, out_of[4]] = False
    learner.counters.train[:] = 500
    learner.begin_iteration(10**6)
    learner.sparsity.evolve(learner, obs.astype(np.float32))
    assert not learner.sparsity.masks.active[:, into[:, 4]].any()
