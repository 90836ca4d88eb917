"""Smaller networks that act alike: against the trained actor, by hand, and for any network with any weights absent."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlsparse.learner.actors import Actors
from rlsparse.learner.layout import actor_critic_layout
from rlsparse.learner.normaliser import ObsScale
from rlsparse.trained.compact import Network, compact, fold, rounded


def network_of(layers, obs_size=None):
    """A network without normaliser and with unlimited actions."""
    inputs, actions = len(layers[0][0]), len(layers[-1][1])
    return Network(
        obs_size or inputs,
        np.arange(inputs),
        np.zeros(inputs),
        np.full(inputs, np.inf),
        tuple((np.array(w, float), np.array(b, float)) for w, b in layers),
        np.full(actions, -np.inf),
        np.full(actions, np.inf),
    )


@st.composite
def sparse_networks(draw):
    widths = draw(st.lists(st.integers(1, 6), min_size=2, max_size=5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    density = draw(st.sampled_from([0.0, 0.1, 0.3, 0.6, 1.0]))
    layers = []
    for fan_in, fan_out in zip(widths, widths[1:], strict=False):
        weight = rng.standard_normal((fan_in, fan_out)) * (rng.random((fan_in, fan_out)) < density)
        layers.append((weight, rng.standard_normal(fan_out)))
    return network_of(layers)


@given(sparse_networks(), st.integers(0, 2**32))
def test_no_action_changes(network, seed):
    obs = 3 * np.random.default_rng(seed).standard_normal((20, network.obs_size))
    np.testing.assert_allclose(compact(network)(obs), network(obs), rtol=0, atol=1e-12)


@given(sparse_networks())
def test_nothing_is_left_that_could_go(network):
    small = compact(network)
    if len(small.layers) > 1:
        for (weight, _), (reader, _) in zip(small.layers, small.layers[1:], strict=False):
            assert weight.shape[1] == 1 or (weight.any(0).all() and reader.any(1).all())
    assert len(small.inputs) == 1 or small.layers[0][0].any(1).all()
    assert small.num_weights <= network.num_weights
    again = compact(small)
    assert again.widths == small.widths
    for once, twice in zip(small.layers, again.layers, strict=True):
        np.testing.assert_array_equal(once[0], twice[0])
        np.testing.assert_array_equal(once[1], twice[1])


def test_a_constant_unit_goes_into_the_next_bias_and_an_unread_one_goes():
    """Of three hidden units the second has no inputs, the third no reader; the second observation is only theirs."""
    network = network_of([([[2.0, 0.0, 0.0], [0.0, 0.0, 5.0]], [0.1, 0.5, -1.0]), ([[3.0], [4.0], [0.0]], [0.25])])
    small = compact(network)
    assert small.widths == [1, 1, 1]
    assert small.inputs.tolist() == [0]
    assert small.obs_size == 2
    assert small.layers[0][0].tolist() == [[2.0]]
    assert small.layers[0][1].tolist() == [0.1]
    assert small.layers[1][0].tolist() == [[3.0]]
    assert small.layers[1][1] == pytest.approx([0.25 + 4.0 * np.tanh(0.5)], abs=1e-15)


def test_removal_goes_on_through_layers():
    """A constant unit makes its only reader constant; a unit whose only reader nobody reads is unread."""
    first = ([[0.0, 1.0, 1.0]], [0.3, 0.0, 0.0])
    second = ([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], [0.1, 0.0, 0.0])
    network = network_of([first, second, ([[1.0], [1.0], [0.0]], [0.0])])
    small = compact(network)
    assert small.widths == [1, 1, 1, 1]
    assert small.layers[2][1] == pytest.approx([np.tanh(2.0 * np.tanh(0.3) + 0.1)], abs=1e-15)


def test_a_constant_policy_keeps_one_unit_of_each_layer():
    network = network_of([(np.zeros((3, 4)), np.ones(4)), (np.ones((4, 2)), [0.0, 1.0])])
    small = compact(network)
    assert small.widths == [1, 1, 2]
    expected = np.tanh(1.0) * 4 + np.array([0.0, 1.0])
    np.testing.assert_allclose(small(np.full((1, 3), 7.0)), expected[None], atol=1e-15)


@pytest.fixture
def actors():
    """One trained member: sizes 4, 8, 5, 2; its second observation barely varies around 1,000."""
    layout = actor_critic_layout(4, 2, (8, 5), (3,))
    rng = np.random.default_rng(1)
    params = rng.standard_normal((1, layout.size)).astype(np.float32)
    mean = np.array([[0.5, 1000.0, -3.0, 0.0]], np.float32)
    inv_std = np.array([[2.0, 1e4, 0.01, 1.0]], np.float32)
    return Actors(layout, params, ObsScale(mean, inv_std), (0,))


@pytest.mark.parametrize("clip", [10.0, 0.5, np.inf])
def test_normaliser_clip_and_action_range_are_in_the_network(actors, clip):
    scale = ObsScale(actors.scale.mean, actors.scale.inv_std, clip)
    actors = Actors(actors.layout, actors.params, scale, actors.seeds)
    low, high = np.array([-1.0, 2.0], np.float32), np.array([3.0, 2.5], np.float32)
    rng = np.random.default_rng(2)
    deviations = rng.choice([1.0, 20.0], (500, 1))  # within and beyond the clip
    obs = (scale.mean + deviations * rng.standard_normal((500, 4)) / scale.inv_std).astype(np.float32)
    network = rounded(fold(actors.layout, actors.params[0], scale, low, high), np.float32)
    own = actors(obs[None])[0].astype(float)
    native = np.clip(low + (own + 1) / 2 * (high - low), low, high)
    np.testing.assert_allclose(network(obs), native, rtol=0, atol=2e-5)
    assert network.layers[0][0].dtype == network.limit.dtype == np.float32


def test_no_rounded_action_leaves_a_range_that_float32_cannot_write():
    low, high = np.array([-0.1]), np.array([0.1])
    layout, scale = actor_critic_layout(1, 1, (), None), ObsScale(np.zeros((1, 1)), np.ones((1, 1)))
    network = rounded(fold(layout, np.array([1.0, 0.0, 0.0]), scale, low, high), np.float32)
    actions = network(np.array([[-100.0], [100.0]], np.float32)).astype(float)
    assert low[0] <= actions.min() < actions.max() <= high[0]


def test_rounding_to_half_precision_is_that_of_the_weights_alone():
    network = network_of([([[1.0 + 2.0**-11, 1e6]], [1.0 + 2.0**-11, 0.1])])
    (weight, bias), *_ = rounded(network, np.float16).layers
    assert weight.tolist() == [[1.0, np.inf]]
    assert bias.tolist() == [1.0 + 2.0**-11, np.float32(0.1)]
