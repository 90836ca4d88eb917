"""The flat parameter vector: named slices that tile it, seen through live views."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlsparse.learner.layout import actor_critic_layout

widths = st.lists(st.integers(1, 9), max_size=3)
layouts = st.builds(actor_critic_layout, st.integers(1, 9), st.integers(1, 5), widths, widths)
LAYOUT = actor_critic_layout(4, 2, (5,), (3,))


@given(layouts)
def test_slots_tile_the_vector_exactly(layout):
    ends = [0] + [slot.stop for slot in layout.slots]
    assert [slot.start for slot in layout.slots] == ends[:-1]
    assert layout.size == ends[-1]
    assert all(slot.stop - slot.start == np.prod(slot.shape) for slot in layout.slots)


@given(layouts)
def test_groups_are_contiguous_and_in_order(layout):
    actor, log_std, critic = (layout.group(name) for name in ("actor", "log_std", "critic"))
    assert (actor.start, actor.stop, log_std.stop, critic.stop) == (0, log_std.start, critic.start, layout.size)
    for name in ("actor", "log_std", "critic"):
        assert sum(int(np.prod(s.shape)) for s in layout.slots if s.group == name) == (
            layout.group(name).stop - layout.group(name).start
        )


@given(layouts)
def test_names_are_unique(layout):
    assert len({slot.name for slot in layout.slots}) == len(layout.slots)


def test_layers_have_the_shapes_of_their_network():
    params = np.zeros((3, LAYOUT.size))
    shapes = [(w.shape, b.shape) for w, b in LAYOUT.layers(params, "actor")]
    assert shapes == [((3, 4, 5), (3, 5)), ((3, 5, 2), (3, 2))]
    shapes = [(w.shape, b.shape) for w, b in LAYOUT.layers(params, "critic")]
    assert shapes == [((3, 4, 3), (3, 3)), ((3, 3, 1), (3, 1))]
    assert LAYOUT.log_std(params).shape == (3, 2)


def test_without_hidden_layers_the_networks_are_linear():
    layout = actor_critic_layout(4, 2, (), ())
    assert layout.size == (4 * 2 + 2) + 2 + (4 + 1)


@pytest.mark.parametrize("members", [None, 1, 3])
@pytest.mark.parametrize("zeros", [np.zeros, torch.zeros])
def test_views_are_live(zeros, members):
    params = zeros((LAYOUT.size,) if members is None else (members, LAYOUT.size))
    for number, slot in enumerate(LAYOUT.slots, 1):
        LAYOUT.view(params, slot)[...] = number
    sizes = [slot.stop - slot.start for slot in LAYOUT.slots]
    expected = np.repeat(np.arange(1.0, len(sizes) + 1), sizes)
    np.testing.assert_array_equal(np.asarray(params), np.broadcast_to(expected, params.shape))


def test_a_view_of_one_member_leaves_the_others_alone():
    params = np.zeros((2, LAYOUT.size))
    for weight, bias in LAYOUT.layers(params, "actor"):
        weight[1] += 1
        bias[1] += 1
    assert not params[0].any()
    assert params[1].sum() == LAYOUT.group("actor").stop


def test_without_a_critic_the_rest_lies_as_it_does_with_one():
    without = actor_critic_layout(4, 2, (5,), None)
    assert without.slots == tuple(slot for slot in LAYOUT.slots if slot.group != "critic")
    assert without.size == LAYOUT.group("log_std").stop
    assert without.group("critic") == slice(without.size, without.size)
    assert without.views(np.zeros((1, without.size))).critic == []
