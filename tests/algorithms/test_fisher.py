"""The Fisher information against automatic differentiation, finite differences and the tiny vector."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rlsparse.algorithms.natural_gradient import TrustRegion
from rlsparse.learner.gaussian import gaussian_kl
from rlsparse.learner.layout import actor_critic_layout
from rlsparse.learner.records import Batch

VECTORS = json.loads((Path(__file__).parent.parent / "data" / "trpo.json").read_text())


def torch_policy(layout, params, obs):
    """The distribution of actions, by torch."""
    x, layers = obs, layout.layers(params, "actor")
    for i, (weight, bias) in enumerate(layers):
        x = torch.einsum("sbi,sio->sbo", x, weight) + bias[:, None]
        x = torch.tanh(x) if i < len(layers) - 1 else x
    return torch.distributions.Normal(x, layout.log_std(params).exp()[:, None])


def torch_kl(layout, old, new, obs):
    """Mean KL(old || new) of every member, [S], by torch's distributions."""
    policies = (torch_policy(layout, params, obs) for params in (old, new))
    return torch.distributions.kl_divergence(*policies).sum(-1).mean(-1)


@pytest.fixture
def region(new_learner, new_batch):
    """Region, layout, starting policies [S, P], observations: in float64, far from the initial parameters."""
    learner = new_learner(actor_hidden=(8, 7))
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
    trust, _, start, _ = region
    u, v = np.random.default_rng(3).normal(size=(2, *start.shape))
    h = 1e-4

    def kl(a, b):
        return trust(start + h * (a * u + b * v))[1]

    mixed = (kl(1, 1) - kl(1, -1) - kl(-1, 1) + kl(-1, -1)) / (4 * h * h)
    np.testing.assert_allclose((u * trust.fisher()(v)).sum(1), mixed, rtol=1e-5)


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
