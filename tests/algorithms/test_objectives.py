"""What the policy follows: masks, denominators and likelihoods against vectors, autograd and closed forms."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rlsparse.algorithms.cloning import HPT, switch
from rlsparse.algorithms.objectives import A2C, CISPO, GSPO, SSO, Cloning, episode_ratio, target_surrogate
from rlsparse.algorithms.surrogate import Clip, approximate_kl, likelihood_gradient
from rlsparse.learner.records import Batch

CASES = json.loads((Path(__file__).parent.parent / "data" / "objective.json").read_text())
RNG = np.random.default_rng(7)
CLIP = 0.2
LIKELIHOODS = {
    "clip": Clip(),
    "higher": Clip(clip_range_high=0.28),
    "a2c": A2C(),
    "gspo": GSPO(0.05),
    "cispo": CISPO(),
    "cloning": Cloning(),
    "hpt": HPT(),
}
# a probability ratio below, within and above the clip range, for a good and a bad action
RATIO = np.array([[0.5, 0.9, 1.0, 1.1, 1.5, 0.5, 0.9, 1.0, 1.1, 1.5]])
ADVANTAGE = np.array([[2.0] * 5 + [-3.0] * 5])


def batch_of(episode=None):
    return Batch(*[np.zeros((1, 1))] * 5, episode=episode)


def coefficient(objective, ratio, advantage, episode=None, clip_range=CLIP):
    """What grad log pi of every sample is multiplied with, uphill and without 1 / B."""
    _, d_log_prob, _ = objective.weigh(ratio, np.log(ratio), advantage, clip_range, batch_of(episode))
    return -d_log_prob * ratio.shape[-1]


@pytest.mark.parametrize("row", CASES["unified_estimator"]["rows"])
def test_worked_coefficients_of_mask_denominator_and_advantage(row):
    ratio, advantage = np.array([[row["ratio"]]]), np.array([[row["advantage"]]])
    at = {objective: coefficient(objective, ratio, advantage)[0, 0] for objective in (Clip(), CISPO(), A2C())}
    assert list(at.values()) == pytest.approx([row["coef_on_grad_logpi"], row["cispo_coef"], row["advantage"]])
    assert (at[Clip()] != 0) == bool(row["ppo_mask"])
    assert coefficient(Cloning(), ratio, advantage) == float(row["advantage"] > 0)


def test_worked_ratio_of_an_episode():
    case = CASES["gspo"]
    log_ratio = np.array([case["logp_new"]]) - np.array([case["logp_old"]])
    ratio = episode_ratio(log_ratio, np.zeros((1, 3), int))
    np.testing.assert_allclose(ratio[0], case["expect"]["token_ratio_values"], rtol=1e-11)


def test_worked_surrogate_in_the_outputs():
    case = CASES["sso_surrogate"]
    first, slope = np.array(case["z_t"]), np.array(case["loss_grad_wrt_targets"])
    expect = case["expect"]
    value, gradient = target_surrogate(np.array(expect["minimiser"]) - first, slope, 1 / case["eta"])
    assert value == pytest.approx(expect["min_value"])
    np.testing.assert_allclose(gradient, 0, atol=1e-12)
    assert target_surrogate(np.array([0.2, 0.8]) - first, slope, 1 / case["eta"])[0] == pytest.approx(
        expect["value_at_z_0p2_0p8"]
    )


@pytest.mark.parametrize("row", CASES["hpt_switch"]["cases"])
def test_worked_switch_between_policy_gradient_and_cloning(row):
    case = CASES["hpt_switch"]
    weights = switch(np.array([row["successes"] / case["n"]]), case["gate"])
    assert np.concatenate(weights).tolist() == row["expect"]


# Against automatic differentiation


def expected_loss(objective, log_ratio, advantage, episode, share):
    """Each method's loss as its paper writes it, with constants detached, [S]."""
    ratio, sides = log_ratio.exp(), (CLIP, CLIP)
    if isinstance(objective, Clip):
        sides = (CLIP, objective.clip_range_high or CLIP)
    if isinstance(objective, GSPO):
        of_episode = torch.ones_like(ratio)
        for s, e in {(s, int(e)) for s, row in enumerate(episode) for e in row}:
            of_episode[s, episode[s] == e] = log_ratio[s, episode[s] == e].mean().exp().detach()
        ratio, sides = of_episode * (log_ratio - log_ratio.detach()).exp(), (objective.clip_range,) * 2
    if isinstance(objective, Clip | GSPO):
        return -torch.min(ratio * advantage, ratio.clamp(1 - sides[0], 1 + sides[1]) * advantage).mul(share).sum(1)
    constant = {A2C: advantage, Cloning: (advantage > 0).double(), CISPO: ratio.clamp(max=1 + CLIP) * advantage}
    return -(constant[type(objective)].detach() * log_ratio * share).sum(1)


def samples(members=2, size=12, actions=3, distance=0.3, shared=True):
    """Mean [S, B, A] and log-std [S, 1 or B, A] of a policy, and a batch that another one gave, in four episodes."""
    mean = RNG.normal(size=(members, size, actions))
    log_std = 0.2 * RNG.normal(size=(members, 1 if shared else size, actions))
    action = mean + np.exp(log_std) * RNG.normal(size=mean.shape)
    normal = torch.distributions.Normal(torch.tensor(mean), torch.tensor(np.exp(log_std)))
    old = normal.log_prob(torch.tensor(action)).sum(-1).numpy() + distance * RNG.normal(size=(members, size))
    advantage = RNG.normal(size=(members, size))
    batch = Batch(np.zeros((members, size, 1)), action, old, advantage, advantage)
    return mean, log_std, replace(batch, episode=np.sort(RNG.integers(0, 4, (members, size)), 1))


def weighted(batch, weigh):
    """The batch with or without weights of its samples, and their shares of a mean."""
    if not weigh:
        return batch, torch.full(batch.advantage.shape, 1 / batch.advantage.shape[1], dtype=float)
    weight = RNG.integers(0, 3, batch.advantage.shape) + 0.5
    return replace(batch, weight=weight), torch.tensor(weight / weight.sum(1, keepdims=True))


def log_ratio_of(mean, log_std, batch):
    policy = torch.distributions.Normal(mean, log_std.exp())
    return policy.log_prob(torch.tensor(batch.action)).sum(-1) - torch.tensor(batch.log_prob)


@pytest.mark.parametrize(("weigh", "shared"), [(False, True), (True, True), (True, False)])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_loss_and_gradient_of_a_likelihood_against_autograd(name, weigh, shared):
    mean, log_std, batch = samples(shared=shared)
    batch, share = weighted(batch, weigh)
    objective = LIKELIHOODS[name]
    terms, d_mean, d_log_std = objective.gradient(mean, log_std, batch, CLIP)
    leaves = [torch.tensor(x, requires_grad=True) for x in (mean, log_std)]
    log_ratio = log_ratio_of(*leaves, batch)
    loss = expected_loss(objective, log_ratio, torch.tensor(batch.advantage), torch.tensor(batch.episode), share)
    loss.sum().backward()
    np.testing.assert_allclose(terms["policy_loss"], loss.detach(), rtol=1e-9)
    for ours, leaf in zip((d_mean, d_log_std), leaves, strict=True):
        np.testing.assert_allclose(ours, leaf.grad.reshape(ours.shape), rtol=1e-9, atol=1e-12)
    kl = ((log_ratio.exp() - 1 - log_ratio) * share).sum(1).detach()
    np.testing.assert_allclose(terms["approx_kl"], kl, rtol=1e-9)
    assert (terms["clip_fraction"] > 0).all()


@pytest.mark.parametrize("weigh", [False, True])
def test_a_member_that_clones_follows_the_likelihood_of_its_samples_and_no_other_does(weigh):
    mean, log_std, batch = samples()
    batch, share = weighted(replace(batch, cloned=np.repeat([[False], [True]], 12, 1)), weigh)
    terms, *gradient = HPT().gradient(mean, log_std, batch, CLIP)
    clip_terms, *clip_gradient = Clip().gradient(mean, log_std, batch, CLIP)
    leaves = [torch.tensor(x, requires_grad=True) for x in (mean, log_std)]
    loss = -(log_ratio_of(*leaves, batch) * share).sum(1)
    loss.sum().backward()
    assert terms["policy_loss"][0] == clip_terms["policy_loss"][0]
    np.testing.assert_allclose(terms["policy_loss"][1], loss[1].detach(), rtol=1e-9)
    for ours, clipped, leaf in zip(gradient, clip_gradient, leaves, strict=True):
        np.testing.assert_array_equal(ours[0], clipped[0])
        np.testing.assert_allclose(ours[1], leaf.grad[1].reshape(ours[1].shape), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("weigh", "shared"), [(False, True), (True, True), (True, False)])
def test_loss_and_gradient_of_the_surrogate_in_the_outputs_against_autograd(weigh, shared):
    first_mean, first_log_std, batch = samples(shared=shared)
    mean, log_std = first_mean + 0.1 * RNG.normal(size=first_mean.shape), first_log_std + 0.05
    outputs = np.concatenate([first_mean, np.zeros_like(first_mean) + first_log_std], -1)
    (batch, share), objective = weighted(replace(batch, outputs=outputs), weigh), SSO(0.3)
    terms, d_mean, d_log_std = objective.gradient(mean, log_std, batch, CLIP)

    at = [torch.tensor(x, requires_grad=True) for x in (first_mean, first_log_std)]
    each = [x.expand_as(at[0]) for x in at]
    policy = torch.distributions.Normal(each[0], each[1].exp())
    ratio = (policy.log_prob(torch.tensor(batch.action)).sum(-1) - torch.tensor(batch.log_prob)).exp()
    slopes = torch.autograd.grad(-(ratio * torch.tensor(batch.advantage)).sum(), each)
    leaves = [torch.tensor(x, requires_grad=True) for x in (mean, log_std)]
    change = [leaves[0] - at[0].detach(), leaves[1] - each[1].detach()]
    loss = sum((s * c + c**2 / 0.6).sum(-1) for s, c in zip(slopes, change, strict=True)).mul(share).sum(1)
    loss.sum().backward()
    np.testing.assert_allclose(terms["policy_loss"], loss.detach(), rtol=1e-9)
    for ours, leaf in zip((d_mean, d_log_std), leaves, strict=True):
        np.testing.assert_allclose(ours, leaf.grad.reshape(ours.shape), rtol=1e-9, atol=1e-12)


# What follows from the definitions


def test_at_the_policy_that_acted_all_but_cloning_are_the_policy_gradient():
    mean, log_std, batch = samples(distance=0.0)
    outputs = np.concatenate([mean, np.zeros_like(mean) + log_std], -1)
    batch = replace(batch, outputs=outputs)
    expected = A2C().gradient(mean, log_std, batch, CLIP)
    for objective in (Clip(), GSPO(), CISPO(), SSO()):
        terms, *gradient = objective.gradient(mean, log_std, batch, CLIP)
        for ours, other in zip(gradient, expected[1:], strict=True):
            np.testing.assert_allclose(ours, other, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(terms["approx_kl"], 0, atol=1e-12)


def test_the_policy_gradient_of_two_steps_is_the_derivative_of_the_expected_return():
    """a0 ~ N(m, s), then a1 ~ N(m, s), return -(a0 + a1 - 1)^2: its expectation is -(2 m - 1)^2 - 2 s^2."""
    m, s, count = 0.3, 0.5, 400_000
    action = m + s * np.random.default_rng(0).normal(size=(1, 2 * count, 1))
    returns = -np.square(action[:, :count, 0] + action[:, count:, 0] - 1)
    advantage = np.tile(returns - returns.mean(), 2)
    log_prob = torch.distributions.Normal(m, s).log_prob(torch.tensor(action[..., 0])).numpy()
    batch = Batch(action, action, log_prob, advantage, advantage)
    _, d_mean, d_log_std = A2C().gradient(np.full_like(action, m), np.log([[[s]]]), batch, CLIP)
    # the mean over both steps' samples is half of the sum over the steps of an episode
    assert -2 * d_mean.sum() == pytest.approx(-4 * (2 * m - 1), rel=0.02)
    assert -2 * d_log_std[0, 0] == pytest.approx(-4 * s * s, rel=0.02)


def test_clipping_rewards_nothing_beyond_the_range():
    gradient = coefficient(Clip(), RATIO, ADVANTAGE)
    # a good action made likelier than allowed, or a bad one made unlikelier, pulls no further
    assert (gradient[0] == 0).tolist() == [False] * 4 + [True] * 2 + [False] * 4
    assert Clip().weigh(RATIO, np.log(RATIO), ADVANTAGE, CLIP, batch_of())[2] == pytest.approx([0.4])


def test_a_higher_upper_side_lets_good_actions_become_likelier_and_changes_nothing_below():
    ratio, advantage = np.array([[1.25, 1.3, 0.75, 0.85]]), np.array([[1.0, 1.0, -1.0, -1.0]])
    assert (coefficient(Clip(0.28), ratio, advantage)[0] != 0).tolist() == [True, False, False, True]
    assert Clip(0.28).weigh(ratio, np.log(ratio), advantage, CLIP, batch_of())[2] == pytest.approx([0.5])


def test_cloning_weighs_all_samples_alike_however_likely_or_good_they_are():
    batch = replace(batch_of(), cloned=np.ones_like(RATIO, dtype=bool))
    _, d_log_prob, _ = HPT().weigh(RATIO, np.log(RATIO), ADVANTAGE, CLIP, batch)
    np.testing.assert_allclose(-d_log_prob * RATIO.shape[-1], 1.0)


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_switch_is_one_or_the_other_and_clones_up_to_the_gate(success, gate):
    alpha, beta = switch(np.array([success, np.nan]), gate)
    assert (alpha + beta).tolist() == [1, 1]
    assert beta.tolist() == [success <= gate, 0]


def test_the_share_out_of_range_tells_how_far_unmasked_policies_went():
    for objective in (A2C(), CISPO(), Cloning()):
        assert objective.weigh(RATIO, np.log(RATIO), ADVANTAGE, CLIP, batch_of())[2] == pytest.approx([0.4])


def test_episodes_of_one_step_are_clipped_as_steps():
    ratio, advantage = np.exp(RNG.normal(0, 0.3, (2, 9))), RNG.normal(size=(2, 9))
    ours = coefficient(GSPO(CLIP), ratio, advantage, np.stack([RNG.permutation(9)] * 2))
    np.testing.assert_allclose(ours, coefficient(Clip(), ratio, advantage), rtol=1e-12)


@given(arrays(np.int64, (2, 10), elements=st.integers(0, 30)), st.integers(0, 2**31))
def test_the_ratio_of_an_episode_knows_nothing_of_other_episodes_members_or_their_order(episode, seed):
    rng = np.random.default_rng(seed)
    log_ratio, order = rng.normal(size=(2, 10)), rng.permutation(10)
    ratio = episode_ratio(log_ratio, episode)
    for s, e in np.ndindex(2, 31):
        of = episode[s] == e
        np.testing.assert_allclose(ratio[s, of], np.exp(log_ratio[s, of].mean()) if of.any() else [], rtol=1e-12)
    np.testing.assert_allclose(episode_ratio(log_ratio[:, order], episode[:, order]), ratio[:, order], rtol=1e-12)
    np.testing.assert_array_equal(episode_ratio(log_ratio[1:], episode[1:]), ratio[1:])
    np.testing.assert_allclose(episode_ratio(torch.tensor(log_ratio), torch.tensor(episode)), ratio, rtol=1e-12)


def test_approximate_kl_is_zero_without_a_change_and_estimates_the_kl_divergence():
    assert approximate_kl(np.ones((1, 4)), np.zeros((1, 4))) == 0
    # KL(N(0, 1) || N(0.3, 1)) = 0.045
    x = np.random.default_rng(0).normal(size=(1, 100_000))
    log_ratio = -0.5 * (x - 0.3) ** 2 + 0.5 * x**2
    assert approximate_kl(np.exp(log_ratio), log_ratio) == pytest.approx([0.045], rel=0.02)


@pytest.mark.parametrize("shared", [True, False])
def test_the_likelihood_gradient_is_that_of_a_normal_distribution(shared):
    mean, log_std, batch = samples(distance=0.0, shared=shared)
    weights = RNG.normal(size=(2, 12))
    noise, inv_std = (batch.action - mean) / np.exp(log_std), np.exp(-log_std)
    leaves = [torch.tensor(x, requires_grad=True) for x in (mean, log_std)]
    (torch.tensor(weights) * log_ratio_of(*leaves, batch)).sum().backward()
    for ours, leaf in zip(likelihood_gradient(weights, noise, inv_std), leaves, strict=True):
        np.testing.assert_allclose(ours, leaf.grad.reshape(ours.shape), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_float32_stays_float32(name):
    mean, log_std, batch = samples()
    numbers = [x.astype(np.float32) for x in (mean, log_std)]
    batch = batch.map(lambda x: x.astype(np.float32) if x.dtype == float else x)
    terms, *gradient = LIKELIHOODS[name].gradient(*numbers, batch, CLIP)
    assert {x.dtype for x in gradient} == {np.dtype(np.float32)}
    assert terms["policy_loss"].dtype == np.float32
