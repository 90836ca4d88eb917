"""Running moments equal those of all the data at once, for each member."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlsparse.learner.normaliser import CLIP, ObsScale, RunningMoments


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.floats(-100, 100), st.integers(0, 1000))
def test_batches_give_the_moments_of_all_data(sizes, offset, seed):
    rng = np.random.default_rng(seed)
    batches = [rng.normal(offset, 3.0, (2, size, 3)) for size in sizes]
    moments = RunningMoments(2, (3,))
    for batch in batches:
        moments.update(batch)
    data = np.concatenate(batches, 1)
    np.testing.assert_allclose(moments.mean, data.mean(1), atol=1e-9)
    np.testing.assert_allclose(moments.var, data.var(1), atol=1e-8)
    assert (moments.count == sum(sizes)).all()


def test_the_first_update_is_exact():
    x = np.random.default_rng(0).normal(5, 2, (2, 9, 3))
    moments = RunningMoments(2, (3,))
    moments.update(x)
    np.testing.assert_array_equal(moments.mean, x.mean(1))
    np.testing.assert_array_equal(moments.var, x.var(1))


def test_before_any_data_nothing_is_shifted_or_scaled():
    moments = RunningMoments(2, (3,))
    assert not moments.mean.any()
    assert (moments.var == 1).all()


def test_numbers_without_further_axes():
    moments = RunningMoments(2, ())
    moments.update(np.array([[1.0, 3.0], [5.0, 5.0]]))
    assert moments.mean.tolist() == [2, 5]
    assert moments.var.tolist() == [1, 0]


def test_single_precision_data_far_from_zero_keep_their_variance():
    x = (1e4 + np.random.default_rng(0).normal(size=(1, 4096, 1))).astype(np.float32)
    moments = RunningMoments(1, (1,))
    for part in np.split(x, 64, axis=1):
        moments.update(part)
    assert moments.var == pytest.approx(x.astype(float).var(1), rel=1e-6)


def test_state_goes_on_where_it_was():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 2, 5, 3))
    whole, first, second = (RunningMoments(2, (3,)) for _ in range(3))
    whole.update(a)
    first.update(a)
    second.load_state_dict(first.state_dict())
    whole.update(b)
    second.update(b)
    for name, x in whole.state_dict().items():
        np.testing.assert_array_equal(second.state_dict()[name], x)


def test_normalise_shifts_scales_and_clips_per_member():
    obs = np.array([[[1.0, 1000.0]], [[1.0, 2.0]]], np.float32)
    mean, inv_std = np.array([[0, 0], [1, 4]], np.float32), np.array([[1, 1], [1, 0.5]], np.float32)
    result = ObsScale(mean, inv_std)(obs)
    assert result.tolist() == [[[1, CLIP]], [[0, -1]]]
    assert result.dtype == np.float32


def test_a_scale_without_a_clip_leaves_large_observations():
    ones = np.ones((1, 1), np.float32)
    assert ObsScale(0 * ones, ones, np.inf)(np.float32([[[1e6], [-300]]])).tolist() == [[[1e6], [-300]]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(9000, 3, 1, 1), (9000, 3, 1, 4), (3000, 3, 4, 1), (3000, 3, 4)])
def test_a_members_moments_are_bitwise_those_it_has_alone(shape, dtype):
    time_major = np.random.default_rng(0).normal(size=shape).astype(dtype)
    by_member = time_major.swapaxes(0, 1).reshape(3, -1, *shape[3:])  # as rollouts are laid out
    together = RunningMoments(3, shape[3:])
    together.update(by_member)
    for member in range(3):
        alone = RunningMoments(1, shape[3:])
        rows = time_major[:, [member]].swapaxes(0, 1).reshape(1, -1, *shape[3:])
        alone.update(rows)
        for name, x in alone.state_dict().items():
            np.testing.assert_array_equal(together.state_dict()[name][[member]], x)


def test_what_is_not_valid_is_no_part_of_the_moments_which_are_each_members_own():
    rng = np.random.default_rng(5)
    x, valid = rng.normal(3.0, 2.0, (2, 2, 9, 4)), rng.random((2, 2, 9)) < 0.6
    together = RunningMoments(2, (4,))
    for batch, some in zip(x, valid, strict=True):
        together.update(batch, some)
    for member in range(2):
        seen = np.concatenate([batch[member][some[member]] for batch, some in zip(x, valid, strict=True)])
        np.testing.assert_allclose(together.mean[member], seen.mean(0), rtol=1e-12)
        np.testing.assert_allclose(together.var[member], seen.var(0), rtol=1e-12)
        assert together.count[member] == len(seen)
        alone = RunningMoments(1, (4,))
        for batch, some in zip(x, valid, strict=True):
            alone.update(batch[member : member + 1], some[member : member + 1])
        np.testing.assert_array_equal(alone.var[0], together.var[member])
    on_device = RunningMoments(2, (4,), "cpu:0")
    for batch, some in zip(x, valid, strict=True):
        on_device.update(torch.tensor(batch), torch.tensor(some))
    for name, moment in together.state_dict().items():
        np.testing.assert_allclose(getattr(on_device, name), moment, rtol=1e-12)
