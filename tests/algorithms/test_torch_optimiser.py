"""Optimisers of pytorch-optimizer on the flat vector, against the package on plain torch parameters."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytorch_optimizer = pytest.importorskip("pytorch_optimizer")

from rlsparse.algorithms.torch_optimiser import OPTIMISERS, TorchOptimiser  # noqa: E402
from rlsparse.errors import UsageError  # noqa: E402
from rlsparse.learner.layout import Layout, Slot, actor_critic_layout  # noqa: E402

LAYOUT = actor_critic_layout(4, 2, (6, 5), (3,))
MEMBERS, RATE, EPSILON = 3, 0.01, 1e-5
DIFFGRAD = json.loads((Path(__file__).parent.parent / "data" / "objective.json").read_text())["diffgrad"]


def numbers(seed, count=1):
    return np.random.default_rng(seed).normal(size=(count, MEMBERS, LAYOUT.size)).astype(np.float32)


def trained(name, gradients, members=slice(None), rate=RATE):
    params = numbers(0)[0][members].copy()
    optimiser = TorchOptimiser(name, params, LAYOUT)
    for gradient in gradients:
        optimiser.step(params, gradient[members].copy(), rate, EPSILON)
    return params, optimiser


def as_torch_has_them(flat):
    """The layers of one member's numbers [D] as torch tensors of their own, weights as [out, in]."""
    return [torch.tensor(LAYOUT.view(flat, slot).T.copy()) for slot in LAYOUT.slots]


def test_worked_example_of_diffgrad():
    layout = Layout(1, 1, (Slot("actor.0.bias", (2,), "actor", 0, 2),))
    params = np.array([DIFFGRAD["param0"]])
    optimiser = TorchOptimiser("diffgrad", params, layout)
    for gradient, expect in zip(DIFFGRAD["grads"], DIFFGRAD["expect"], strict=True):
        optimiser.step(params, np.array([gradient]), DIFFGRAD["lr"], DIFFGRAD["eps"])
        np.testing.assert_allclose(params[0], expect["param"], atol=1e-6)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_steps_are_those_of_the_package_on_the_layers_of_a_torch_network(name):
    gradients = numbers(1, 20)
    params, optimiser = trained(name, gradients)
    cls, remembered, settings = OPTIMISERS[name]
    for member in range(MEMBERS):
        plain = [torch.nn.Parameter(x) for x in as_torch_has_them(numbers(0)[0][member])]
        package = getattr(pytorch_optimizer, cls)(plain, lr=RATE, eps=EPSILON, **settings)
        for gradient in gradients:
            for parameter, of_layer in zip(plain, as_torch_has_them(gradient[member]), strict=True):
                parameter.grad = of_layer
            package.step()
        ours, first = (as_torch_has_them(x[member]) for x in (params, optimiser.first))
        for i, parameter in enumerate(plain):
            torch.testing.assert_close(ours[i], parameter.detach(), rtol=0, atol=0)
            torch.testing.assert_close(first[i], package.state[parameter][remembered[0]], rtol=0, atol=0)
            assert set(package.state[parameter]) == set(remembered)


@pytest.mark.parametrize("name", ["adamp", "sgdp"])
def test_a_gradient_across_the_weights_does_not_make_them_longer(name):
    """Rows (3, 4) with gradients (4, -3): what the step would add along the rows is taken away."""
    layout = Layout(2, 1, (Slot("actor.0.weight", (2, 1), "actor", 0, 2),))
    params = np.array([[3.0, 4.0]])
    TorchOptimiser(name, params, layout).step(params, np.array([[4.0, -3.0]]), 0.1, 1e-8)
    step = params[0] - [3.0, 4.0]
    assert step @ [3.0, 4.0] == pytest.approx(0, abs=1e-6)
    assert np.linalg.norm(step) > 0.01


@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_member_is_optimised_as_if_it_were_alone(name):
    gradients = numbers(2, 10)
    together, _ = trained(name, gradients)
    for member in range(MEMBERS):
        np.testing.assert_array_equal(together[member : member + 1], trained(name, gradients, [member])[0])


@pytest.mark.parametrize("name", OPTIMISERS)
def test_members_and_layers_may_have_rates_of_their_own(name):
    gradients = numbers(3, 5)
    rates = np.array([[0.01], [0.02], [0.0]], np.float32)
    params, _ = trained(name, gradients, rate=rates)
    by_layer = np.repeat(rates, LAYOUT.size, 1)
    critic = LAYOUT.group("critic")
    by_layer[:, critic] *= 2
    other, _ = trained(name, gradients, rate=by_layer)
    np.testing.assert_array_equal(other[:, : critic.start], params[:, : critic.start])
    np.testing.assert_array_equal(params[2], numbers(0)[0][2])
    for member, rate in ((0, 0.02), (1, 0.04)):
        alone, _ = trained(name, gradients, [member], float(np.float32(rate)))
        np.testing.assert_allclose(other[member, critic], alone[0, critic], rtol=1e-6)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_absent_weights_stay_and_weights_that_begin_anew_have_no_past(name):
    absent = np.random.default_rng(4).random((MEMBERS, LAYOUT.size)) < 0.3
    params = np.where(absent, 0, numbers(0)[0])
    optimiser = TorchOptimiser(name, params, LAYOUT)
    for gradient in numbers(5, 5):
        optimiser.step(params, np.where(absent, 0, gradient), RATE, EPSILON)
    assert (params[absent] == 0).all()
    params[:, :7] = 0.0
    where = np.zeros_like(absent)
    where[:, :7] = True
    before = optimiser.first.copy()
    optimiser.restart(where)
    np.testing.assert_array_equal(optimiser.first, np.where(where, 0, before))
    still = np.where(where | absent, 0, numbers(6)[0])
    optimiser.step(params, still, RATE, EPSILON)
    assert (params[:, :7] == 0).all()


@pytest.mark.parametrize("name", OPTIMISERS)
def test_state_goes_on_where_it_was(name):
    gradients = numbers(7, 6)
    expected, _ = trained(name, gradients)
    params, optimiser = trained(name, gradients[:3])
    resumed = TorchOptimiser(name, params, LAYOUT)
    resumed.load_state_dict({key: x.copy() for key, x in optimiser.state_dict().items()})
    for gradient in gradients[3:]:
        resumed.step(params, gradient.copy(), RATE, EPSILON)
    np.testing.assert_array_equal(params, expected)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_policy_moved_by_another_hand_loses_as_much_of_the_past_as_is_asked_for(name):
    _, optimiser = trained(name, numbers(8, 3))
    kept = {key: x.copy() for key, x in optimiser.state_dict().items()}
    first, actor = optimiser.first.copy(), LAYOUT.group("actor")
    optimiser.forget(1, "keep", actor)
    for key, x in optimiser.state_dict().items():
        np.testing.assert_array_equal(x, kept[key])
    optimiser.forget(1, "transport", actor)
    first[1, actor] = 0
    np.testing.assert_array_equal(optimiser.first, first)
    optimiser.forget(1, "reset", actor)
    for key, x in optimiser.state_dict().items():
        assert not x[1].any()
        if key != "steps":
            np.testing.assert_array_equal(x[[0, 2]], kept[key][[0, 2]])


def test_on_torch_tensors_it_is_the_same():
    gradients = numbers(9, 4)
    expected, _ = trained("adamp", gradients)
    params = torch.tensor(numbers(0)[0])
    optimiser = TorchOptimiser("adamp", params, LAYOUT)
    for gradient in gradients:
        optimiser.step(params, torch.tensor(gradient), RATE, EPSILON)
    np.testing.assert_allclose(params, expected, rtol=1e-6)


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    message = r"^--algorithm.optimiser sgdp needs pytorch_optimizer: pip install 'rlsparse\[optimisers\]'$"
    with pytest.raises(UsageError, match=message):
        TorchOptimiser("sgdp", numbers(0)[0], LAYOUT)
