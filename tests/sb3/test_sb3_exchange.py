"""Weights that come and go under Stable-Baselines3, and what its optimisers and solvers know of them."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from sb3_contrib import TRPO
from sb3_contrib.common.utils import conjugate_gradient_solver
from sparse_models import (
    ROLLOUT,
    VECTORS,
    AfterEveryStep,
    AtEveryRollout,
    dense,
    layers,
    sparse,
)
from stable_baselines3 import A2C, PPO
from torch import nn

from rlsparse.sb3 import masks, moments, sparsify
from rlsparse.sparse.rules import SET, Magnitude, RigL, Static

# Exchanges


def exchanged(weight, mask, score, count):
    """Drop the smallest and grow the best-scored: one weight after the other, as the paper says."""
    mask = mask.clone()
    for _ in range(count):
        mask.view(-1)[torch.where(mask, weight.abs(), torch.inf).argmin()] = False
    for _ in range(count):
        mask.view(-1)[torch.where(mask, -torch.inf, score).argmax()] = True
    return mask


class DenseGradients:
    """Sums of the gradients of a model's loss as they are without masks, by hooks set before those of masks."""

    def __init__(self, model):
        self.sums = [torch.zeros_like(weight) for weight, _ in layers(model)]
        for i, (weight, _) in enumerate(layers(model)):
            weight.register_hook(partial(self._add, i))

    def _add(self, i, gradient):
        self.sums[i] += gradient


@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_weights_grow_where_the_gradient_of_the_whole_update_is_largest(algorithm):
    model = sparse(algorithm, rule=RigL(every=1, drop=0.3, schedule="constant"))
    gradients, before, state = DenseGradients(model), [mask for _, mask in layers(model)], []
    end = {PPO: 6, A2C: 1}[algorithm]
    steps = iter(range(1, 100))

    def look(model):
        if next(steps) == end:
            state.extend(weight.detach().clone() for weight, _ in layers(model))

    model.learn(ROLLOUT, callback=AfterEveryStep(look))
    for weight, mask, score, (after, now) in zip(state, before, gradients.sums, layers(model), strict=True):
        expected = exchanged(weight, mask, score.abs(), int(0.3 * int(mask.sum())))
        assert torch.equal(now, expected)
        torch.testing.assert_close(after.detach(), torch.where(expected & mask, weight, 0.0), rtol=0, atol=0)


def test_under_trpo_weights_of_the_actor_grow_by_the_gradient_of_its_objective():
    model = sparse(TRPO, rule=RigL(every=1, drop=0.5, schedule="constant"))
    before, scores = layers(model)[:3], []

    def end(model):
        buffer = model.rollout_buffer
        advantages = torch.as_tensor(buffer.swap_and_flatten(buffer.advantages)).flatten()
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        obs, action = (torch.as_tensor(buffer.swap_and_flatten(x)) for x in (buffer.observations, buffer.actions))
        policy = copy.deepcopy(model.policy)
        own = masks.tensors(policy, model.sparsity.masks.layout)[:3]
        objective = (advantages * policy.evaluate_actions(obs, action)[1]).mean()  # at ratios of 1
        scores.extend(torch.autograd.grad(objective, own))

    model.learn(ROLLOUT, callback=AtEveryRollout(end=end))
    for (weight, mask), (_, now), score in zip(before, layers(model), scores, strict=False):
        grown, count = now & ~mask, int(0.5 * int(mask.sum()))
        stays = exchanged(weight.detach(), mask, torch.zeros_like(score), 0)
        assert int(now.sum()) == int(stays.sum())
        # what was dropped may grow again; whatever was absent and grew beats whatever was absent and did not
        if grown.any():
            assert score.abs()[grown].min() >= score.abs()[~mask & ~now].max() * (1 - 1e-3)
        assert int(grown.sum()) <= count
    assert sum(int((now & ~mask).sum()) for (_, mask), (_, now) in zip(before, layers(model), strict=False)) > 0


@pytest.mark.parametrize("limit", [None, 1e-4])
def test_an_exchange_moves_the_policy_no_further_than_allowed(limit):
    model = sparse(rule=RigL(every=1, drop=0.5), max_kl=limit)
    with torch.no_grad():
        model.policy.action_net.weight *= 100
    before, moved = [], []

    def mean_action(model):
        with torch.no_grad():
            obs = torch.as_tensor(model.rollout_buffer.observations).reshape(-1, 2)
            return model.policy.get_distribution(obs).distribution.mean

    def compare():
        distance = (mean_action(model) - before[-1]) / model.policy.log_std.detach().exp()
        moved.append(0.5 * distance.square().sum(1).mean().item())

    train = model.train
    model.train = lambda: (train(), compare())
    model.learn(6 * ROLLOUT, callback=AfterEveryStep(lambda model: before.append(mean_action(model))))
    assert len(moved) == 6
    assert max(moved) > (0 if limit else 1e-4)
    assert limit is None or max(moved) <= limit * 1.001
    assert model.sparsity.metrics()["regrown"] > 0


def test_the_kl_divergence_is_that_of_gaussians():
    model = sparse(rule=RigL(every=1), max_kl=0.1)
    model.learn(ROLLOUT)
    movement = model._movement()
    with torch.no_grad():
        obs = torch.as_tensor(model.rollout_buffer.observations)
        before = model.policy.get_distribution(obs).distribution.mean.clone()
        model.policy.action_net.weight += 0.1
        after = model.policy.get_distribution(obs).distribution.mean
        expected = 0.5 * ((after - before) / model.policy.log_std.exp()).square().sum(1).mean()
        torch.testing.assert_close(movement(), expected)


def test_gradual_pruning_begins_dense_and_ends_sparse():
    model = sparse(rule=Magnitude(start=0.0, end=0.5))
    assert model.sparsity.metrics()["density"] == 1
    model.learn(10 * ROLLOUT)
    assert model.sparsity.metrics()["density"] == sparse(rule=Static()).sparsity.metrics()["density"] < 0.22


@pytest.mark.parametrize(("algorithm", "every"), [(PPO, 256), (A2C, 256)])
def test_a_rule_that_is_named_waits_for_four_rollouts_of_2048_steps(algorithm, every):
    assert sparsify(dense(algorithm)).sparsity.masks.config.rule == RigL(every=every)
    assert sparsify(dense(PPO, n_steps=2048), rule="set").sparsity.masks.config.rule == SET(every=4)


# What the optimiser remembers


def test_adam_forgets_exactly_what_was_exchanged():
    model = sparse(rule=RigL(every=4, end=1.0, schedule="constant"))
    model.learn(3 * ROLLOUT)
    before = [mask for _, mask in layers(model)]
    kept_moments = []

    def look(model):
        kept_moments[:] = [copy.deepcopy(model.policy.optimizer.state[weight]) for weight, _ in layers(model)]

    model.learn(ROLLOUT, callback=AfterEveryStep(look), reset_num_timesteps=False)
    changes = 0
    for (weight, mask), old, then in zip(layers(model), before, kept_moments, strict=True):
        changed = mask ^ old
        changes += int(changed.sum())
        for name in ("exp_avg", "exp_avg_sq"):
            expected = torch.where(changed, 0.0, then[name])
            torch.testing.assert_close(model.policy.optimizer.state[weight][name], expected, rtol=0, atol=0)
            assert not expected[~mask].any()
    assert changes > 0


def test_rmsprop_begins_new_weights_with_the_median_of_the_others():
    weight = nn.Parameter(torch.zeros(2, 3))
    optimiser = torch.optim.RMSprop([weight], momentum=0.9)
    weight.grad = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    optimiser.step()
    square = optimiser.state[weight]["square_avg"].clone()
    changed = torch.tensor([[True, False, False], [False, False, True]])
    active = torch.tensor([[True, True, True], [True, True, False]])
    moments.restart(optimiser, weight, changed, active)
    state = optimiser.state[weight]
    expected = square.clone()
    expected[0, 0], expected[1, 2] = square.view(-1)[1:5].median(), 0
    torch.testing.assert_close(state["square_avg"], expected, rtol=0, atol=0)
    assert (state["momentum_buffer"] == 0).tolist() == changed.tolist()


@pytest.mark.parametrize("optimiser", [torch.optim.Adam, partial(torch.optim.AdamW, weight_decay=0.1)])
@pytest.mark.parametrize("amsgrad", [False, True])
def test_a_weight_that_comes_steps_as_under_an_optimiser_of_its_own(optimiser, amsgrad):
    rng = torch.Generator().manual_seed(0)
    ours = nn.Parameter(torch.randn(4, generator=rng))
    adam = optimiser([ours], lr=0.01, amsgrad=amsgrad)

    def step(parameter, its_optimiser, gradient):
        parameter.grad = gradient.clone()
        its_optimiser.step()

    for _ in range(100):
        step(ours, adam, torch.randn(4, generator=rng))
    changed = torch.tensor([False, True, False, True])
    moments.restart(adam, ours, changed, torch.ones(4, dtype=torch.bool))
    with torch.no_grad():
        ours[changed] = 0
    fresh, old = nn.Parameter(torch.zeros(2)), nn.Parameter(ours[~changed].detach().clone())
    its_own = optimiser([fresh], lr=0.01, amsgrad=amsgrad)
    as_ever = optimiser([old], lr=0.01, amsgrad=amsgrad)
    as_ever.state[old] = {name: x[~changed].clone() if x.ndim else x.clone() for name, x in adam.state[ours].items()}
    young = moments.young(adam, [ours], [torch.tensor([moments.GROWN_UP, 0, moments.GROWN_UP, 0])])
    for _ in range(300):
        gradient = torch.randn(4, generator=rng)
        step(ours, adam, gradient)
        young.after_step(adam)
        step(fresh, its_own, gradient[changed])
        step(old, as_ever, gradient[~changed])
    torch.testing.assert_close(ours[changed], fresh, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(ours[~changed], old, rtol=0, atol=0)


@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_steps_in_sparse_layers_are_longer(algorithm):
    """Two runs from the same point, one step each."""
    once = {"n_steps": 16, **({"batch_size": 2 * 16, "n_epochs": 1} if algorithm is PPO else {})}
    steps = []
    for power in (0.0, 0.5, 1.0):
        model = sparse(algorithm, rule=Static(), rate_power=power, max_grad_norm=1e9, **once)
        before = [weight.detach().clone() for weight, _ in layers(model)]
        bias = model.policy.action_net.bias.detach().clone()
        model.learn(ROLLOUT)
        moved = [weight.detach() - then for (weight, _), then in zip(layers(model), before, strict=True)]
        steps.append([*moved, model.policy.action_net.bias.detach() - bias])
    densities = [mask.float().mean().item() for _, mask in layers(model)] + [1.0]
    for plain, half, whole, density in zip(*steps, densities, strict=True):
        torch.testing.assert_close(half, plain / density**0.5, rtol=1e-3, atol=1e-7)
        torch.testing.assert_close(whole, plain / density, rtol=1e-3, atol=1e-7)


def test_without_its_own_age_a_new_weight_would_run_away():
    steps = [(1 - 0.9**k) / (1 - 0.999**k) ** 0.5 for k in range(1, 201)]
    assert (np.argmax(steps), round(max(steps), 2), round(steps[0], 2)) == (11, 6.57, 3.16)
    for young in (False, True):
        weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        adam = torch.optim.Adam([weight], lr=1.0, eps=0.0)
        weight.grad = torch.ones_like(weight)
        adam.step()
        adam.state[weight]["step"] += 10**6
        moments.restart(adam, weight, torch.ones(1, dtype=torch.bool), torch.ones(1, dtype=torch.bool))
        own = moments.young(adam, [weight], [torch.tensor([0])])
        for expected in steps:
            before = weight.item()
            adam.step()
            if young:
                own.after_step(adam)
            assert before - weight.item() == pytest.approx(1.0 if young else expected, rel=1e-6)


# TRPO


@pytest.fixture
def fisher():
    """The vector's Fisher matrix as curvature of four weights of a TRPO's actor, one of which is absent."""
    vector = VECTORS["masked_fvp"]
    model = sparse(TRPO, rule=Static(), policy_kwargs={"net_arch": [4]}, cg_damping=vector["damping"])
    masks, weight = model.sparsity.masks, model.policy.action_net.weight
    (slot,) = (slot for slot in masks.layout.slots if slot.name == "action_net.weight")
    masks.active[0, slot.start : slot.stop] = np.array(vector["mask"]) == 1
    jacobian = torch.tensor(vector["J"])
    with model.sparsity.attached(model.policy, model.policy.optimizer):
        theta = weight.reshape(-1)
        quadratic = (jacobian @ theta).square().sum() / 6
        (gradient,) = torch.autograd.grad(quadratic, weight, create_graph=True)
        yield vector, partial(model.hessian_vector_product, [weight], gradient.reshape(-1))


def test_the_fisher_matrix_is_that_of_present_weights(fisher):
    vector, product = fisher
    v = torch.tensor(vector["v"])
    expected = torch.tensor(vector["expected"]["MFMv"])
    got = product(v)
    assert (v == torch.tensor(vector["v"]) * torch.tensor(vector["mask"])).all()
    torch.testing.assert_close(got - vector["damping"] * v, expected)


def test_the_step_is_solved_for_among_present_weights(fisher):
    vector, product = fisher
    expected = torch.tensor(vector["expected"]["natgrad_subspace"])
    torch.manual_seed(0)
    step = conjugate_gradient_solver(product, torch.tensor(vector["expected"]["g"]), max_iter=20)
    assert step[1] == 0
    torch.testing.assert_close(step, expected, atol=1e-3, rtol=1e-3)
    assert (step - torch.tensor(vector["expected"]["full_then_mask"])).abs().max() > 0.1
