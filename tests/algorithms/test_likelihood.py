"""Derivatives of the log-likelihood, against automatic differentiation in torch."""

import numpy as np
import pytest
import torch

from rlsparse.algorithms.variance_reduced import LogLikelihood


def log_prob(layout, policy, obs, action):
    """Of one member's samples, [B], for its numbers [P]."""
    x, layers = obs, layout.layers(policy[None], "actor")
    for i, (weight, bias) in enumerate(layers):
        x = x @ weight[0] + bias[0]
        x = torch.tanh(x) if i < len(layers) - 1 else x
    return torch.distributions.Normal(x, layout.log_std(policy).exp()).log_prob(action).sum(-1)


@pytest.mark.parametrize("hidden", [(), (7,), (8, 7)])
def test_first_and_second_derivatives(new_learner, new_batch, hidden):
    learner = new_learner(actor_hidden=hidden)
    layout, rng = learner.layout, np.random.default_rng(0)
    learner.params += rng.standard_normal(learner.params.shape).astype(np.float32) / 3
    policy = learner.params[:, layout.policy].astype(float)
    batch = new_batch(learner, dtype=float)
    coefficient, direction = rng.standard_normal((3, 24)), rng.standard_normal(policy.shape)
    likelihood = LogLikelihood(layout, policy, batch)
    gradient, slope = likelihood.gradient(coefficient), likelihood.slope(direction)
    product = likelihood.hessian_product(coefficient, direction)
    for s in range(3):
        obs, action, weight, at, along = (
            torch.tensor(x[s]) for x in (batch.obs, batch.action, coefficient, policy, direction)
        )

        def of(point, obs=obs, action=action):
            return log_prob(layout, point, obs, action)

        def total(point, of=of, weight=weight):
            return (weight * of(point)).sum()

        np.testing.assert_allclose(slope[s], torch.func.jvp(of, (at,), (along,))[1], atol=1e-10)
        np.testing.assert_allclose(gradient[s], torch.func.grad(total)(at), atol=1e-10)
        hessian = torch.func.jvp(torch.func.grad(total), (at,), (along,))[1]
        np.testing.assert_allclose(product[s], hessian, atol=1e-9)
