"""The networks: how they begin, and what they compute forward and backward, against torch."""

import math
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch

from rlsparse import loop
from rlsparse.errors import UsageError
from rlsparse.learner.initial_weights import orthogonal
from rlsparse.learner.network import ActorCritic, action_mean, backward, forward, value
from rlsparse.learner.streams import generator
from rlsparse.run import session as sessions
from rlsparse.run.recipe import check

POLICY = ActorCritic(actor_hidden=(16, 8), critic_hidden=(12,), log_std_init=-0.5)
LAYOUT = POLICY.layout(5, 3)


OF_TORCH = {"tanh": torch.nn.Tanh, "elu": torch.nn.ELU, "relu": torch.nn.ReLU, "silu": torch.nn.SiLU}


def torch_network(layers, member=0, layout=LAYOUT):
    """The same weights in torch's own modules; torch keeps weights as [out, in]."""
    modules = []
    for weight, bias in layers:
        linear = torch.nn.Linear(*weight.shape[1:], dtype=torch.float64)
        linear.weight.data = torch.tensor(np.asarray(weight[member], float).T)
        linear.bias.data = torch.tensor(np.asarray(bias[member], float))
        hidden = [OF_TORCH[layout.activation]()]
        if layout.layer_normalisation:
            hidden.insert(0, torch.nn.LayerNorm(weight.shape[-1], elementwise_affine=False))
        modules.append(torch.nn.Sequential(linear, *hidden))
    return torch.nn.Sequential(*modules[:-1], linear)


def linear_layers(network):
    """The layers with weights of a `torch_network`."""
    return [module for module in network.modules() if isinstance(module, torch.nn.Linear)]


@pytest.mark.parametrize(("rows", "columns"), [(6, 6), (9, 4), (4, 9), (1, 5), (1, 1)])
def test_orthogonal_matrices(rows, columns):
    matrix = orthogonal(rows, columns, 1.5, np.random.default_rng(0))
    gram = matrix.T @ matrix if rows >= columns else matrix @ matrix.T
    assert matrix.shape == (rows, columns)
    np.testing.assert_allclose(gram, 1.5**2 * np.eye(min(rows, columns)), atol=1e-12)


def test_orthogonal_matrices_are_drawn_from_all_sides():
    # QR alone would give one sign only
    signs = [orthogonal(1, 1, 1.0, np.random.default_rng(i))[0, 0] for i in range(40)]
    assert 10 < signs.count(1.0) < 30
    assert signs.count(1.0) + signs.count(-1.0) == 40


def test_initial_gains_biases_and_log_std():
    (params,) = POLICY.init(LAYOUT, [generator(0, "init")])
    assert (params.dtype, params.shape) == (np.float32, (LAYOUT.size,))
    for group, last_gain in (("actor", 0.01), ("critic", 1.0)):
        layers = LAYOUT.layers(params, group)
        gains = [math.sqrt(2)] * (len(layers) - 1) + [last_gain]
        for (weight, bias), gain in zip(layers, gains, strict=True):
            np.testing.assert_allclose(np.linalg.svd(weight, compute_uv=False), gain, rtol=1e-5)
            assert not bias.any()
    assert (LAYOUT.log_std(params) == np.float32(-0.5)).all()


def test_initial_parameters_depend_on_the_seed_alone():
    first, again, other = POLICY.init(LAYOUT, [generator(seed, "init") for seed in (3, 3, 4)])
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.fixture
def params():
    return np.random.default_rng(1).normal(size=(2, LAYOUT.size))


@pytest.fixture
def obs():
    return np.random.default_rng(2).normal(size=(2, 7, 5))


@pytest.fixture(params=[*OF_TORCH, "tanh, normalised", "silu, normalised"])
def layout(request):
    activation, _, normalised = request.param.partition(", ")
    return replace(POLICY, activation=activation, layer_normalisation=bool(normalised)).layout(5, 3)


def test_forward_is_torchs(layout, params, obs):
    for member in range(2):
        layers = (layout.layers(params, group) for group in ("actor", "critic"))
        actor, critic = (torch_network(x, member, layout) for x in layers)
        x = torch.tensor(obs[member])
        np.testing.assert_allclose(action_mean(layout, params, obs)[member], actor(x).detach(), rtol=1e-12)
        np.testing.assert_allclose(value(layout, params, obs)[member], critic(x)[:, 0].detach(), rtol=1e-12)


def test_tensors_of_torch_give_the_same_as_arrays_of_numpy(layout, params, obs):
    tensors = torch.tensor(params)
    results = []
    for x, numbers in ((obs, params), (torch.tensor(obs), tensors)):
        layers = layout.layers(numbers, "actor")
        activations = forward(layers, x)
        gradient = numbers * 0
        backward(layers, activations, activations[-1] * 1, layout.layers(gradient, "actor"))
        results += [np.asarray(activations[-1]), np.asarray(gradient)]
    np.testing.assert_allclose(results[0], results[2], rtol=1e-12)
    np.testing.assert_allclose(results[1], results[3], rtol=1e-12)


def test_forward_leaves_its_input_alone(params, obs):
    kept = obs.copy()
    assert np.shares_memory(forward(LAYOUT.layers(params, "actor"), obs)[0], obs)
    np.testing.assert_array_equal(obs, kept)


@pytest.mark.parametrize("group", ["actor", "critic"])
def test_backward_is_torchs(layout, params, obs, group):
    layers = layout.layers(params, group)
    activations = forward(layers, obs)
    d_output = np.random.default_rng(3).normal(size=activations[-1].shape)
    gradient = np.full_like(params, np.nan)
    backward(layers, activations, d_output, layout.layers(gradient, group))
    for member in range(2):
        network = torch_network(layers, member, layout)
        network(torch.tensor(obs[member])).backward(torch.tensor(d_output[member]))
        written = layout.layers(gradient, group)
        for linear, (d_weight, d_bias) in zip(linear_layers(network), written, strict=True):
            np.testing.assert_allclose(d_weight[member], linear.weight.grad.T, rtol=1e-10, atol=1e-12)
            np.testing.assert_allclose(d_bias[member], linear.bias.grad, rtol=1e-10, atol=1e-12)


def test_without_hidden_layers_the_policy_is_linear():
    layout = ActorCritic(actor_hidden=(), critic_hidden=()).layout(2, 1)
    params = np.zeros((1, layout.size))
    (weight, bias), *_ = layout.layers(params, "actor")
    weight[0], bias[0] = [[2.0], [3.0]], [5.0]
    assert action_mean(layout, params, np.array([[[10.0, 100.0]]])) == 325.0


def test_the_log_std_is_raised_to_its_least_value():
    log_std = np.array([[-3.0, 0.3], [-2.1, -1.0]], np.float32)
    replace(POLICY, log_std_min=-2.0).bound(log_std)
    np.testing.assert_allclose(log_std, [[-2.0, 0.3], [-2.0, -1.0]])


def test_the_log_std_is_lowered_to_its_greatest_value():
    log_std = np.array([[-3.0, 0.3], [-2.1, -1.0]], np.float32)
    replace(POLICY, log_std_min=-2.0, log_std_max=-1.5).bound(log_std)
    np.testing.assert_allclose(log_std, [[-2.0, -1.5], [-2.0, -1.5]])


def test_without_bounds_the_log_std_stays_as_it_is():
    log_std = np.full((1, 2), -9.0, np.float32)
    POLICY.bound(log_std)
    assert (log_std == -9.0).all()


@pytest.mark.parametrize(("field", "bound", "beyond"), [("log_std_min", -0.2, -5.0), ("log_std_max", -3.0, 1.0)])
def test_the_policies_that_act_keep_the_bound(field, bound, beyond):
    recipe = tiny.recipe(policy=replace(tiny.RECIPE.policy, **{field: bound}))
    learner, collector, explorer = sessions.begin(recipe)
    learner.layout.log_std(learner.params)[...] = beyond
    loop.iterate(recipe, learner, collector, explorer)
    assert (np.sign(beyond) * learner.layout.log_std(learner.params) <= np.float32(np.sign(beyond) * bound)).all()


def test_a_greatest_log_std_below_the_least_is_refused():
    with pytest.raises(UsageError, match="--policy.log-std-max is -2.0: expected at least --policy.log-std-min"):
        check(tiny.recipe(policy=replace(tiny.RECIPE.policy, log_std_min=-1.0, log_std_max=-2.0)))


def test_no_step_of_an_update_goes_below_the_bound():
    learner, *_ = sessions.begin(tiny.recipe(policy=replace(tiny.RECIPE.policy, log_std_min=-0.1)))
    learner.step(np.ones_like(learner.params), np.float32([[0.2]]), 1e-8)  # Adam's first step: by the whole rate
    np.testing.assert_allclose(learner.layout.log_std(learner.params), -0.1)


def test_a_policy_that_sees_the_first_observations_alone_ignores_the_others_and_its_critic_does_not(obs):
    policy = replace(POLICY, critic_only=2)
    layout = policy.layout(5, 3)
    params = np.random.default_rng(1).normal(size=(2, layout.size))
    assert layout.layers(params, "actor")[0][0].shape == (2, 3, 16)
    other = obs.copy()
    other[..., 3:] += 1.0
    np.testing.assert_array_equal(action_mean(layout, params, obs), action_mean(layout, params, other))
    assert (value(layout, params, obs) != value(layout, params, other)).all()
    alone = replace(POLICY, critic_only=0).layout(3, 3)
    np.testing.assert_array_equal(
        action_mean(layout, params, obs), action_mean(alone, params[:, layout.policy], obs[..., :3])
    )


def test_a_policy_needs_an_observation_of_its_own():
    with pytest.raises(UsageError, match="--policy.critic-only is 5: expected fewer than the 5 observations"):
        replace(POLICY, critic_only=5).layout(5, 3)
