"""Adam on the flat vector, against torch's."""

import numpy as np
import pytest
import torch

from rlsparse.learner.adam import Adam

MEMBERS, SIZE = 3, 11


def gradients(dtype, steps=50):
    rng = np.random.default_rng(0)
    scale = 10.0 ** rng.integers(-4, 2, (1, MEMBERS, SIZE))
    return (scale * rng.normal(size=(steps, MEMBERS, SIZE))).astype(dtype)


@pytest.mark.parametrize(("dtype", "rtol", "atol"), [(np.float64, 1e-12, 1e-14), (np.float32, 1e-4, 1e-6)])
def test_fifty_steps_are_torchs(dtype, rtol, atol):
    start = np.random.default_rng(1).normal(size=(MEMBERS, SIZE)).astype(dtype)
    params, expected = start.copy(), torch.tensor(start, requires_grad=True)
    ours, theirs = Adam(params), torch.optim.Adam([expected], lr=0.01, eps=1e-5)
    for gradient in gradients(dtype):
        expected.grad = torch.tensor(gradient)
        theirs.step()
        ours.step(params, gradient.copy(), 0.01, 1e-5)
        np.testing.assert_allclose(params - start, expected.detach().numpy() - start, rtol=rtol, atol=atol)


def test_the_first_step_is_the_learning_rate_along_the_sign():
    params = np.zeros((1, 3))
    Adam(params).step(params, np.array([[4.0, -0.01, 100.0]]), 0.1, 0.0)
    np.testing.assert_allclose(params, [[-0.1, 0.1, -0.1]])


def test_a_member_is_optimised_as_if_it_were_alone():
    together = np.zeros((MEMBERS, SIZE), np.float32)
    alone = [np.zeros((1, SIZE), np.float32) for _ in range(MEMBERS)]
    population, singles = Adam(together), [Adam(params) for params in alone]
    for gradient in gradients(np.float32, 10):
        population.step(together, gradient.copy(), 0.01, 1e-5)
        for member, (adam, params) in enumerate(zip(singles, alone, strict=True)):
            adam.step(params, gradient[member : member + 1].copy(), 0.01, 1e-5)
    np.testing.assert_array_equal(together, np.concatenate(alone))


def test_members_may_have_taken_different_numbers_of_steps():
    params, single = np.zeros((2, 3)), np.zeros((1, 3))
    adam, alone = Adam(params), Adam(single)
    first, second = np.random.default_rng(0).normal(size=(2, 2, 3))
    adam.step(params, first.copy(), 0.1, 1e-5)
    for array in (params, *adam.state_dict().values()):
        array[1] = 0
    adam.step(params, second.copy(), 0.1, 1e-5)
    alone.step(single, second[1:].copy(), 0.1, 1e-5)
    np.testing.assert_array_equal(params[1:], single)


def test_state_goes_on_where_it_was():
    first, *rest = gradients(np.float64, 4)
    params = np.zeros((MEMBERS, SIZE))
    adam = Adam(params)
    adam.step(params, first.copy(), 0.01, 1e-5)
    resumed_params = params.copy()
    resumed = Adam(resumed_params)
    resumed.load_state_dict({name: x.copy() for name, x in adam.state_dict().items()})
    for gradient in rest:
        adam.step(params, gradient.copy(), 0.01, 1e-5)
        resumed.step(resumed_params, gradient.copy(), 0.01, 1e-5)
    np.testing.assert_array_equal(params, resumed_params)


def after_steps():
    params = np.zeros((MEMBERS, SIZE))
    adam = Adam(params)
    for gradient in gradients(np.float64, 3):
        adam.step(params, gradient, 0.01, 1e-5)
    return adam, params


def test_keeping_moments_keeps_all_of_them():
    adam, untouched = after_steps()[0], after_steps()[0]
    adam.forget(1, "keep", slice(2, 5))
    for name, array in adam.state_dict().items():
        np.testing.assert_array_equal(array, untouched.state_dict()[name])


def test_begun_anew_a_member_goes_on_as_from_the_start_and_others_as_before():
    adam, params = after_steps()
    other, others = after_steps()
    adam.forget(1, "reset", slice(2, 5))
    single = params[1:2].copy()
    alone, gradient = Adam(single), gradients(np.float64, 1)[0]
    alone.step(single, gradient[1:2].copy(), 0.01, 1e-5)
    adam.step(params, gradient.copy(), 0.01, 1e-5)
    other.step(others, gradient.copy(), 0.01, 1e-5)
    np.testing.assert_array_equal(params[1], single[0])
    np.testing.assert_array_equal(params[[0, 2]], others[[0, 2]])


def test_transported_moments_forget_the_direction_of_the_part_and_keep_its_scale():
    adam, untouched = after_steps()[0], after_steps()[0]
    adam.forget(1, "transport", slice(2, 5))
    np.testing.assert_array_equal(adam.first[1, 2:5], 0)
    adam.first[1, 2:5] = untouched.first[1, 2:5]
    for name, array in adam.state_dict().items():
        np.testing.assert_array_equal(array, untouched.state_dict()[name])
