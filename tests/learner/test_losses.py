"""Losses and their gradients in closed form, against torch's distributions and automatic differentiation."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlsparse.algorithms.surrogate import approximate_kl, masked, out_of_range
from rlsparse.learner.gaussian import gaussian_entropy, gaussian_log_prob, squared_error, standardise

RNG = np.random.default_rng(7)
CLIP = 0.2
LOG_RATIO = np.log([[0.5, 0.9, 1.0, 1.1, 1.5, 0.5, 0.9, 1.0, 1.1, 1.5]])
ADVANTAGE = np.array([[2.0] * 5 + [-3.0] * 5])


def clipped_surrogate(log_ratio, advantage, clip_range, weight=None):
    """Loss, gradient, share out of range and approximate KL of PPO's objective."""
    ratio = np.exp(log_ratio)
    terms = masked(ratio, advantage, clip_range, clip_range, weight)
    return *terms, out_of_range(ratio, clip_range, clip_range, weight), approximate_kl(ratio, log_ratio, weight)


def test_log_prob_and_entropy_are_those_of_a_normal_distribution():
    mean, noise, log_std = RNG.normal(size=(2, 6, 3)), RNG.normal(size=(2, 6, 3)), RNG.normal(size=(2, 1, 3))
    normal = torch.distributions.Normal(torch.tensor(mean), torch.tensor(np.exp(log_std)))
    expected = normal.log_prob(torch.tensor(mean + np.exp(log_std) * noise)).sum(-1)
    np.testing.assert_allclose(gaussian_log_prob(noise, log_std), expected, rtol=1e-12)
    np.testing.assert_allclose(gaussian_entropy(log_std[:, 0]), normal.entropy().sum(-1)[:, 0], rtol=1e-12)


def test_squared_error_against_autograd():
    value, target = RNG.normal(size=(2, 3, 8))
    loss, gradient = squared_error(value, target)
    v = torch.tensor(value, requires_grad=True)
    expected = ((v - torch.tensor(target)) ** 2).mean(1)
    expected.sum().backward()
    np.testing.assert_allclose(loss, expected.detach(), rtol=1e-12)
    np.testing.assert_allclose(gradient, v.grad, rtol=1e-12)


def test_standardise_gives_every_row_zero_mean_and_unit_deviation():
    x = RNG.normal(3.0, 5.0, size=(4, 50))
    expected = (x - x.mean(1, keepdims=True)) / x.std(1, ddof=1, keepdims=True)
    np.testing.assert_allclose(standardise(x), expected, rtol=1e-6)


@given(st.floats(-1e6, 1e6, width=32), st.integers(1, 300))
def test_standardise_of_a_constant_is_zero(constant, size):
    assert (standardise(np.full((2, size), constant, np.float32)) == 0).all()


@given(st.floats(-100, 100), st.floats(0.1, 100))
def test_standardise_forgets_shift_and_scale(shift, scale):
    x = np.arange(12.0).reshape(2, 6) ** 2
    np.testing.assert_allclose(standardise(scale * x + shift), standardise(x), atol=1e-6)


def test_log_prob_of_the_mean_action_of_a_unit_gaussian():
    assert gaussian_log_prob(np.zeros((1, 2)), np.zeros((1, 2))) == pytest.approx([-math.log(2 * math.pi)])


# Weights


WEIGHT = np.array([[1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0]])
KEPT = WEIGHT[0] > 0


def test_a_sample_of_weight_zero_is_as_if_it_were_not_there():
    loss, gradient, *others = clipped_surrogate(LOG_RATIO, ADVANTAGE, CLIP, 3 * WEIGHT)
    few_loss, few_gradient, *few_others = clipped_surrogate(LOG_RATIO[:, KEPT], ADVANTAGE[:, KEPT], CLIP)
    np.testing.assert_allclose([loss, *others], [few_loss, *few_others], rtol=1e-12)
    np.testing.assert_allclose(gradient[:, KEPT], few_gradient, rtol=1e-12)
    assert not gradient[:, ~KEPT].any()

    loss, gradient = squared_error(LOG_RATIO, ADVANTAGE, WEIGHT)
    few_loss, few_gradient = squared_error(LOG_RATIO[:, KEPT], ADVANTAGE[:, KEPT])
    np.testing.assert_allclose(loss, few_loss, rtol=1e-12)
    np.testing.assert_allclose(gradient[:, KEPT], few_gradient, rtol=1e-12)
    assert not gradient[:, ~KEPT].any()

    x = RNG.normal(size=(1, 10))
    np.testing.assert_allclose(standardise(x, WEIGHT)[:, KEPT], standardise(x[:, KEPT]), rtol=1e-9)


def test_a_weight_of_two_counts_a_sample_twice():
    twice = np.repeat(np.arange(10), [2, 1, 1, 1, 1, 1, 1, 1, 1, 1])
    weight = np.ones((1, 10))
    weight[:, 0] = 2
    loss, *_, kl = clipped_surrogate(LOG_RATIO, ADVANTAGE, CLIP, weight)
    expected, *_, expected_kl = clipped_surrogate(LOG_RATIO[:, twice], ADVANTAGE[:, twice], CLIP)
    np.testing.assert_allclose([loss, kl], [expected, expected_kl], rtol=1e-12)


def test_without_any_weight_nothing_is_lost_or_learned():
    for terms in (
        clipped_surrogate(LOG_RATIO, ADVANTAGE, CLIP, 0 * WEIGHT),
        squared_error(LOG_RATIO, ADVANTAGE, 0 * WEIGHT),
        (standardise(ADVANTAGE, 0 * WEIGHT),),
    ):
        assert all((x == 0).all() for x in terms)


def test_standardising_what_counts_worked_example():
    case = json.loads((Path(__file__).parent.parent / "data" / "advantage.json").read_text())["masked_normalise"]
    advantage, valid = (np.ravel(case[name])[None] for name in ("advantages", "valid"))
    got = standardise(advantage.astype(float), valid.astype(float))
    np.testing.assert_allclose(got, np.ravel(case["expect"])[None], rtol=1e-12)
    torch_got = standardise(torch.tensor(advantage).double(), torch.tensor(valid).double())
    np.testing.assert_allclose(torch_got, got, rtol=1e-12)


def test_equal_numbers_that_count_standardise_to_zero():
    x = np.where(KEPT, np.float32(0.1), np.float32(7.0))[None]
    assert (standardise(x, WEIGHT.astype(np.float32)) == 0).all()
