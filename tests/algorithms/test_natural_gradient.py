"""The natural gradient: linear systems against dense solutions, the Fisher information against autograd."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlsparse.algorithms.natural_gradient import TrustRegion, conjugate_gradient, line_search, woodbury
from rlsparse.learner.gaussian import gaussian_kl
from rlsparse.learner.layout import actor_critic_layout
from rlsparse.learner.records import Batch

VECTORS = json.loads((Path(__file__).parent.parent / "data" / "trpo.json").read_text())


def systems(seed, members, size, conditions):
    """Positive definite A [S, P, P] with eigenvalues from 1 to each condition, and b [S, P]."""
    rng = np.random.default_rng(seed)
    q = np.linalg.qr(rng.normal(size=(members, size, size)))[0]
    eigenvalues = np.geomspace(1, conditions, size).T
    return q @ (eigenvalues[..., None] * q.mT), rng.normal(size=(members, size))


def product(matrix):
    return lambda v: (matrix @ v[..., None])[..., 0]


@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 8), st.floats(1, 100))
def test_as_many_iterations_as_unknowns_give_the_dense_solution(seed, members, size, condition):
    matrix, b = systems(seed, members, size, [condition] * members)
    x = conjugate_gradient(product(matrix), b, 2 * size)
    np.testing.assert_allclose(x, np.linalg.solve(matrix, b[..., None])[..., 0], rtol=1e-6, atol=1e-9)


def test_iterates_of_the_tiny_gaussian():
    vector = VECTORS["trpo_tiny_gaussian"]
    matrix = np.array(vector["expect"]["fisher"]) + vector["damping"] * np.eye(4)
    b = np.array([vector["expect"]["surrogate_grad"]])
    for k, iterate in enumerate(vector["expect"]["cg_iterates"], 1):
        np.testing.assert_allclose(conjugate_gradient(product(matrix[None]), b, k)[0], iterate, atol=2e-10)


def test_each_member_stops_at_its_own_tolerance():
    matrix, b = systems(0, 3, 12, [1.0, 10.0, 1000.0])
    seen = []

    def watched(v):
        seen.append(v)
        return product(matrix)(v)

    x = conjugate_gradient(watched, b, 50, tolerance=1e-3)
    residual = np.linalg.norm(b - product(matrix)(x), axis=1) / np.linalg.norm(b, axis=1)
    assert (residual <= 1e-3).all()
    assert len(seen) < 50


@pytest.mark.parametrize("tolerance", [0.0, 1e-2])
def test_a_member_is_bitwise_as_if_it_were_alone(tolerance):
    matrix, b = (x.astype(np.float32) for x in systems(1, 4, 9, [1.0, 5.0, 50.0, 500.0]))
    b[2] = 0
    together = conjugate_gradient(product(matrix), b, 12, tolerance)
    for s in range(4):
        one = slice(s, s + 1)
        np.testing.assert_array_equal(together[one], conjugate_gradient(product(matrix[one]), b[one], 12, tolerance))
    assert not together[2].any()


def test_curvature_that_is_not_positive_ends_a_member_where_it_is():
    matrix = np.stack([np.diag([1.0, -3.0]), np.eye(2) * np.nan, np.diag([1.0, 2.0])])
    x = conjugate_gradient(product(matrix), np.ones((3, 2)), 10)
    np.testing.assert_allclose(x, [[0, 0], [0, 0], [1, 0.5]])


def test_a_right_side_that_is_not_finite_gives_no_step():
    b = np.array([[np.nan, 1.0], [np.inf, 1.0], [2.0, 2.0]])
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(conjugate_gradient(lambda v: 2 * v, b, 5), [[0, 0], [0, 0], [1, 1]])


def test_the_inverse_of_a_damped_mean_of_outer_products():
    vector = VECTORS["mfac_ihvp"]
    x = woodbury(np.array([vector["gradients"]]), vector["damping"], np.array([vector["x"]]))
    np.testing.assert_allclose(x, [vector["expect"]], atol=1e-11)


@given(st.integers(0, 1000), st.integers(1, 3), st.integers(1, 6), st.integers(1, 9), st.floats(0.01, 10))
def test_it_is_the_dense_solution_whether_there_are_more_vectors_or_more_unknowns(seed, members, count, size, damping):
    rng = np.random.default_rng(seed)
    vectors, b = rng.normal(size=(members, count, size)), rng.normal(size=(members, size))
    matrix = damping * np.eye(size) + vectors.mT @ vectors / count
    expected = np.linalg.solve(matrix, b[..., None])[..., 0]
    np.testing.assert_allclose(woodbury(vectors, damping, b), expected, rtol=1e-7, atol=1e-9)


def test_the_line_search_takes_each_members_longest_good_step():
    def trial(step):
        return step * np.array([1.0, 1.0, -1.0, 1.0]), step**2 * np.array([1.0, 2.0, 0.0, 100.0])

    taken, gain, cost = line_search(trial, np.array([1.0, 1.0, 1.0, 0.0]), limit=1.0, shrink=0.5, attempts=3)
    np.testing.assert_allclose(taken, [1.0, 0.5, 0.0, 0.0])
    np.testing.assert_allclose(gain, [1.0, 0.5, 0.0, 0.0])
    np.testing.assert_allclose(cost, [1.0, 0.5, 0.0, 0.0])


@given(st.floats(0.05, 0.95), st.integers(1, 8), st.floats(1e-3, 10))
def test_a_step_that_is_taken_keeps_the_limit_and_the_next_longer_one_would_not(shrink, attempts, limit):
    taken, gain, cost = line_search(lambda x: (x, 3 * x**2), np.ones(1), limit, shrink, attempts)
    if taken[0] == 0:
        assert 3 * shrink ** (2 * (attempts - 1)) > limit * (1 - 1e-9)
        return
    assert cost[0] <= limit
    assert gain[0] == taken[0]
    assert taken[0] == 1 or 3 * (taken[0] / shrink) ** 2 > limit * (1 - 1e-9)


def test_numbers_that_are_not_finite_are_not_taken():
    values = iter([(np.nan, 0.1), (1.0, np.nan), (np.inf, np.inf), (1.0, 0.1)])
    taken, _, _ = line_search(lambda x: tuple(map(np.atleast_1d, next(values))), np.ones(1), 1.0, 0.5, 4)
    assert taken[0] == 0.125


def torch_policy(layout, params, obs):
    """The distribution of actions, by torch."""
    x, layers = obs, layout.layers(params, "actor")
    for i, (weight, bias) in enumerate(layers):
        x = torch.einsum("sbi,sio->sbo", x, weight) + bias[:, None]
        if i < len(layers) - 1:
            x = torch.nn.functional.layer_norm(x, x.shape[-1:]) if layout.layer_normalisation else x
            x = getattr(torch.nn.functional, layout.activation)(x)
    return torch.distributions.Normal(x, layout.log_std(params).exp()[:, None])


def torch_kl(layout, old, new, obs):
    """Mean KL(old || new) of every member, [S], by torch's distributions."""
    policies = (torch_policy(layout, params, obs) for params in (old, new))
    return torch.distributions.kl_divergence(*policies).sum(-1).mean(-1)


@pytest.fixture(params=["tanh", "elu", "silu", "relu", "tanh, normalised", "silu, normalised"])
def region(request, new_learner, new_batch):
    """Region, layout, starting policies [S, P], observations: in float64, far from the initial parameters."""
    activation, _, normalised = request.param.partition(", ")
    learner = new_learner(actor_hidden=(8, 7), activation=activation, layer_normalisation=bool(normalised))
    rng = np.random.default_rng(1)
    batch = new_batch(learner, 30, dtype=np.float64)
    start = rng.normal(size=(3, learner.layout.policy.stop)) * 0.4
    return TrustRegion(learner.layout, start, batch, batch.advantage), learner.layout, start, batch


def test_products_are_those_of_double_backward(region):
    trust, layout, start, batch = region
    vector = np.random.default_rng(2).normal(size=start.shape)
    leaf, obs = torch.tensor(start, requires_grad=True), torch.tensor(batch.obs)
    kl = torch_kl(layout, torch.tensor(start), leaf, obs).sum()
    (slope,) = torch.autograd.grad(kl, leaf, create_graph=True)
    (expected,) = torch.autograd.grad((slope * torch.tensor(vector)).sum(), leaf)
    np.testing.assert_allclose(trust.fisher()(vector), expected, rtol=1e-9, atol=1e-12)


def test_products_are_finite_differences_of_the_divergence(region):
    trust, layout, start, _ = region
    # beyond the second order: a kink, or the sharp turns of layer normalisation
    tolerance = 1e-3 if layout.activation == "relu" else 1e-4 if layout.layer_normalisation else 1e-5
    u, v = np.random.default_rng(3).normal(size=(2, *start.shape))
    h = 1e-4

    def kl(a, b):
        return trust(start + h * (a * u + b * v))[1]

    mixed = (kl(1, 1) - kl(1, -1) - kl(-1, 1) + kl(-1, -1)) / (4 * h * h)
    np.testing.assert_allclose((u * trust.fisher()(v)).sum(1), mixed, rtol=tolerance)


def test_products_with_a_subset_are_those_of_its_observations(region):
    trust, layout, start, batch = region
    some = batch.map(lambda x: x[:, 4:10])
    v = np.random.default_rng(4).normal(size=start.shape)
    expected = TrustRegion(layout, start, some, some.advantage).fisher()(v)
    np.testing.assert_allclose(trust.fisher(some)(v), expected, rtol=1e-12)


def test_the_divergence_is_that_of_torch(region):
    trust, layout, start, batch = region
    other = start + 0.1 * np.random.default_rng(5).normal(size=start.shape)
    expected = torch_kl(layout, *map(torch.tensor, (start, other, batch.obs)))
    np.testing.assert_allclose(trust(other)[1], expected, rtol=1e-10)


def test_scores_are_the_gradients_of_each_samples_log_density(region):
    trust, layout, start, batch = region
    leaf = torch.tensor(start, requires_grad=True)
    obs, action = torch.tensor(batch.obs), torch.tensor(batch.action)
    log_prob = torch_policy(layout, leaf, obs).log_prob(action).sum(-1)
    scores = trust.scores(batch)
    for sample in (0, 7, 29):
        (expected,) = torch.autograd.grad(log_prob[:, sample].sum(), leaf, retain_graph=True)
        np.testing.assert_allclose(scores[:, sample], expected, rtol=1e-9, atol=1e-12)


def test_the_mean_outer_product_of_scores_of_own_actions_is_the_fisher_information(region):
    trust, layout, start, batch = region
    rng, copies = np.random.default_rng(7), 4000
    many = batch.map(lambda x: np.repeat(x[:, :5], copies, 1))
    mean = torch_policy(layout, *map(torch.tensor, (start, many.obs))).mean.numpy()
    action = mean + np.exp(layout.log_std(start))[:, None] * rng.normal(size=mean.shape)
    scores = TrustRegion(layout, start, many, many.advantage, 0.5).scores(replace(many, action=action))
    v = rng.normal(size=start.shape)
    exact = TrustRegion(layout, start, many, many.advantage, 0.5).fisher()(v)
    estimate = (scores.mT @ (scores @ v[..., None]))[..., 0] / scores.shape[1]
    assert np.linalg.norm(estimate - exact) < 0.1 * np.linalg.norm(exact)


def test_a_weight_counts_a_sample_so_many_times(region):
    trust, layout, start, batch = region
    times = np.arange(30) % 3
    weighted = replace(batch, weight=np.tile(0.5 * times, (3, 1)))
    repeated = batch.map(lambda x: np.repeat(x, times, 1))
    regions = [TrustRegion(layout, start, b, b.advantage) for b in (weighted, repeated)]
    other = start + 0.1 * np.random.default_rng(6).normal(size=start.shape)
    gradients = [layout.views(np.zeros((3, layout.size))) for _ in regions]
    for one, gradient in zip(regions, gradients, strict=True):
        one.surrogate_gradient(gradient)
    np.testing.assert_allclose(gradients[0].flat, gradients[1].flat, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(*(one(other) for one in regions), rtol=1e-9)
    np.testing.assert_allclose(*(one.fisher()(start) for one in regions), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(*(one.surrogate for one in regions), rtol=1e-9)
    outer = [
        one.scores(b).mT @ one.scores(b) / b.obs.shape[1] for one, b in zip(regions, (weighted, repeated), strict=True)
    ]
    np.testing.assert_allclose(*outer, rtol=1e-9, atol=1e-12)


def test_the_divergence_of_a_policy_from_itself_is_zero():
    log_std = np.array([[-0.5, 0.3]], np.float32)
    np.testing.assert_array_equal(gaussian_kl(np.zeros((1, 4, 2), np.float32), log_std, log_std), [[0, 0]])


def test_the_fisher_matrix_of_the_tiny_gaussian():
    vector = VECTORS["trpo_tiny_gaussian"]
    theta, batch = tiny_gaussian(vector)
    fisher = TrustRegion(actor_critic_layout(2, 1, (), ()), theta, batch, batch.advantage).fisher()
    matrix = np.concatenate([fisher(row[None]) for row in np.eye(4)])
    np.testing.assert_allclose(matrix, vector["expect"]["fisher"], atol=1e-11)


def tiny_gaussian(vector):
    """Parameters [1, 4] and the batch of the vector, with the log-probabilities that it expects."""
    obs, action, advantage = (np.array([vector[name]]) for name in ("states", "actions", "advantages"))
    log_prob = np.array([vector["expect"]["logp_old"]])
    return np.array([vector["theta"]]), Batch(obs, action, log_prob, advantage, np.zeros_like(advantage))
