"""The expected gradient of every estimator that is unbiased is the policy gradient, enumerated over all episodes."""

import numpy as np
import pytest
import torch

from rlsparse.advantage.estimators import GAE, MonteCarlo, NStep, TDLambda
from rlsparse.advantage.group_relative import RLOO, GroupRelative
from rlsparse.advantage.vtrace import VTrace
from rlsparse.learner.records import Rollout


def with_any_critic(paths, rewards):
    """Two episodes of two steps; values are any numbers of the first state, and of the second by how it was reached."""
    values = np.array([[0.7, 0.7], [[-2.0, 5.0][path[0]] for path in paths]])[:, None]
    following = np.concatenate([values[1:], values[:1] * np.nan])
    ended = np.array([[[False] * 2], [[True] * 2]])
    none = np.zeros((2, 1, 2))
    return Rollout(None, None, none, rewards[:, None].astype(np.float32), values, following, ended, ended & False)


UNBIASED = [
    GAE(1.0, 1.0),
    NStep(1.0, 2),
    MonteCarlo(1.0),
    TDLambda(1.0, 1.0, 0.5),
    VTrace(1.0, 1.0),
    GroupRelative(1.0, 2),
    RLOO(group_size=2),
]
"""Those that do not trust the critic, or do without."""


@pytest.mark.parametrize("estimator", UNBIASED, ids=lambda x: type(x).__name__)
def test_the_expected_gradient_is_the_policy_gradient_of_a_task_of_two_steps(estimator):
    """Each step pays for one of two actions, the second step also for what was done in the first: sums over all."""
    logits = torch.tensor([0.3, -0.4], dtype=torch.float64, requires_grad=True)
    pay = torch.tensor([[1.0, 3.0], [2.0, -1.0]], dtype=torch.float64)  # of the first and second action
    both = 1.5  # for taking the second action twice
    paths = [(a, b) for a in (0, 1) for b in (0, 1)]

    def log_probs(path):
        return [torch.nn.functional.logsigmoid(logits[t] * (1 if a else -1)) for t, a in enumerate(path)]

    def reward(path):
        return [float(pay[0, path[0]]), float(pay[1, path[1]]) + both * (path == (1, 1))]

    value = sum(torch.exp(sum(log_probs(p))) * sum(reward(p)) for p in paths)
    (expected,) = torch.autograd.grad(value, logits)

    estimate = torch.zeros(2, dtype=torch.float64)
    for one in paths:
        for other in paths:
            advantage = estimator(with_any_critic([one, other], np.array([reward(one), reward(other)]).T)).advantage[
                :, 0
            ]
            logs = [log_probs(one), log_probs(other)]
            chance = torch.exp(sum(logs[0]) + sum(logs[1])).detach()
            surrogate = sum(float(advantage[t, n]) * logs[n][t] for t in range(2) for n in range(2)) / 2
            estimate += chance * torch.autograd.grad(surrogate, logits)[0]
    np.testing.assert_allclose(estimate, expected, atol=1e-6)
