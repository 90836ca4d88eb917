"""Budgets, exchanges, schedules and accounts of sparse networks, against the reference implementations' numbers.

tests/data/sparse.json says of each vector where it comes from and which public code gave the same.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlsparse.learner.adam import Adam
from rlsparse.learner.initial_weights import orthogonal
from rlsparse.learner.network import ActorCritic
from rlsparse.sparse import masks as account
from rlsparse.sparse.budgets import densities, erdos_renyi, erk_scale, kept
from rlsparse.sparse.config import Sparse
from rlsparse.sparse.masks import exchange, keep_norms, random_mask, top
from rlsparse.sparse.rules import SET, Magnitude, RigL, Static, drop_fraction, gradual_sparsity

VECTORS = json.loads((Path(__file__).parent.parent / "data" / "sparse.json").read_text())


def cases(name):
    return VECTORS[name]["cases"]


# Budgets


@pytest.mark.parametrize("case", cases("erk"), ids=lambda case: f"{case['shapes']} {case['sparsity']}")
def test_erdos_renyi_kernel_densities(case):
    shapes = [tuple(shape) for shape in case["shapes"]]
    shares = densities(shapes, case["sparsity"], "erk")
    np.testing.assert_allclose(erk_scale(shapes, case["sparsity"]), case["epsilon"], rtol=1e-6)
    np.testing.assert_allclose(shares, case["density"], atol=1e-6)
    assert [i for i, share in enumerate(shares) if share == 1] == case["dense_layers"]
    assert [kept(*x) for x in zip(shapes, shares, strict=True)] == case["nnz_floor_rule"]


@pytest.mark.parametrize("case", cases("er_probability"))
def test_erdos_renyi_density(case):
    assert erdos_renyi((case["n_in"], case["n_out"]), case["lam"]) == pytest.approx(case["p"])


@pytest.mark.parametrize("case", cases("ppo_param_counts"), ids=lambda case: case["env"])
def test_parameters_of_the_published_experiments(case):
    layout = ActorCritic().layout(case["obs"], case["act"])
    for sparsity, expected in case["counts"].items():
        budgets = Sparse(sparsity=float(sparsity)).budgets(layout)
        assert layout.size - sum(slot.stop - slot.start - kept for slot, kept in budgets) == expected


@pytest.mark.parametrize("case", cases("sc_sdc"), ids=str)
def test_layers_of_given_densities_have_the_capacity_of_a_narrower_dense_network(case):
    layout = ActorCritic((case["sparse_width"],) * 2).layout(case["obs"], case["act"])
    budgets = Sparse(actor_densities=tuple(case["density"])).budgets(layout)
    assert [kept for slot, kept in budgets if slot.group == "actor"] == case["active"]


def test_networks_have_their_own_sparsity():
    sparse = Sparse(sparsity=0.5, actor_sparsity=0.75, budget="uniform")
    budgets = sparse.budgets(ActorCritic((8,), (8,)).layout(4, 2))
    assert [kept for _, kept in budgets] == [8, 4, 16, 4]


@given(st.tuples(st.integers(1, 300), st.integers(1, 300)), st.floats(0, 1, exclude_max=True))
def test_no_layer_is_ever_empty(shape, sparsity):
    for budget in ("erk", "uniform"):
        for share in densities([shape, (shape[1], 3)], sparsity, budget):
            assert 1 <= kept(shape, share) <= shape[0] * shape[1]


# Schedules


@pytest.mark.parametrize("case", cases("cosine_drop_fraction"))
def test_the_drop_fraction_falls_along_a_cosine(case):
    steps = np.array(case["steps"])
    for scale in (1, case["T_end"] / 0.75):  # an end in steps, or as a share
        got = drop_fraction(case["alpha"], "cosine", steps / scale, case["T_end"] / scale)
        np.testing.assert_allclose(got, case["values"], atol=1e-8)


def test_a_constant_drop_fraction_ends_too():
    assert drop_fraction(0.3, "constant", np.array([0, 0.74, 0.75, 1]), 0.75).tolist() == [0.3, 0.3, 0, 0]


@pytest.mark.parametrize("case", VECTORS["cosine_drop_fraction"]["drop_counts"])
def test_counts_are_rounded_down(case):
    rule = SET(drop=case["fraction"], schedule="constant")
    (count,) = rule.drops(np.array([case["n_active"]]), 0, 10**6, np.zeros(1)).astype(int)
    assert count == case["n_drop"]


@pytest.mark.parametrize("case", cases("cubic_gmp"))
def test_gradual_pruning_is_cubic(case):
    assert case["s_i"] == 0
    got = gradual_sparsity(case["s_f"], np.array(case["steps"]), case["t0"], case["t1"])
    np.testing.assert_allclose(got, case["values"], atol=1e-9)


def test_magnitude_pruning_leaves_what_the_schedule_says_and_ends_with_the_budget():
    rule, active = Magnitude(start=0.2, end=0.8), np.array([1000])
    for progress, left in ((0.2, 1000), (0.4, 367), (0.8, 100), (1.0, 100)):
        assert active - rule.drops(active, 100, 1000, np.array([progress])) == left
    assert rule.drops(np.array([100]), 100, 1000, np.array([0.3])) == 0  # what is gone stays gone


def test_rules_are_due_in_their_iterations_and_time():
    progress = np.array([0.1, 0.5, 0.9])
    for i in range(1, 7):
        assert not Static().due(np.full(3, i), progress).any()
        assert RigL(every=3).due(np.full(3, i), progress).tolist() == [i % 3 == 0, i % 3 == 0, False]
    assert RigL(every=3).due(np.array([3, 4, 6]), progress).tolist() == [True, False, False]
    assert Magnitude(start=0.2).due(np.ones(3), progress).tolist() == [False, True, True]


# Exchanges


@pytest.mark.parametrize("case", cases("rigl_update_4x4"), ids=lambda case: str(case["n_drop"]))
def test_drop_by_magnitude_and_grow_by_gradient(case):
    vector = VECTORS["rigl_update_4x4"]
    weight, gradient = np.array(vector["W"]), np.array(vector["G"])
    if "-2.0" in case["G"]:
        gradient[1, 1] = -2.0
    rows = weight.reshape(1, -1)
    assert (rows != 0).sum() == case["n_active"]
    rule = RigL(drop=case["drop_fraction"], schedule="constant")
    counts = rule.drops((rows != 0).sum(1), 8, 16, np.zeros(1)).astype(int)
    assert counts == case["n_drop"]
    after = exchange(rows, rows != 0, rule.growth(gradient.reshape(1, -1), 16, []), counts)
    assert after.reshape(4, 4).astype(int).tolist() == case["new_mask"]
    np.testing.assert_array_equal(np.where(after, rows, 0).reshape(4, 4), case["new_weight"])


layers = st.integers(1, 40).flatmap(
    lambda n: st.tuples(st.just(n), st.integers(1, n), st.floats(0, 1), st.integers(0, 2**32))
)


@given(layers, st.sampled_from([SET(), RigL()]))
def test_an_exchange_keeps_the_number_of_weights_and_the_largest_of_them(layer, rule):
    size, count, fraction, seed = layer
    rng = np.random.default_rng(seed)
    active = random_mask(size, count, [rng, rng])
    weight = np.where(active, rng.normal(size=(2, size)), 0)
    drop = np.array([int(fraction * count), 0])
    growth = rule.growth(rng.normal(size=(2, size)), size, [rng, rng])
    after = exchange(weight, active, growth, drop)
    assert after.sum(1).tolist() == [count, count]
    stay = top(np.where(active, np.abs(weight), -1), count - drop)
    assert (after & stay == stay).all()
    np.testing.assert_array_equal(after[1], active[1])


def test_of_equal_scores_the_first_wins():
    assert top(np.array([[1.0, 2, 2, 2, 0]]), np.array([2])).tolist() == [[False, True, True, False, False]]


def test_members_are_exchanged_as_if_alone():
    rng = np.random.default_rng(0)
    weight, growth, active = rng.normal(size=(3, 50)), rng.random((3, 50)), rng.random((3, 50)) < 0.5
    counts = np.array([3, 0, 9])
    together = exchange(weight, active, growth, counts)
    for i in range(3):
        one = slice(i, i + 1)
        np.testing.assert_array_equal(together[one], exchange(weight[one], active[one], growth[one], counts[one]))


def test_a_random_mask_has_an_exact_number_of_weights_anywhere():
    streams = [np.random.default_rng(seed) for seed in range(200)]
    masks = random_mask(10, 3, streams)
    assert (masks.sum(1) == 3).all()
    assert np.abs(masks.mean(0) - 0.3).max() < 0.12


# Initialisation


def test_a_square_hidden_layer_begins_with_the_variance_of_he_for_the_inputs_it_has():
    vector = VECTORS["sparse_aware_init"]
    mask = np.array(vector["mask"]).T == 1  # [in, out]
    dense = orthogonal(4, 4, np.sqrt(2), np.random.default_rng(0))
    weight = keep_norms(dense, mask)
    variance = np.divide((weight**2).sum(0), mask.sum(0), out=np.zeros(4), where=mask.any(0))
    expected = np.max(vector["expected"]["var_he_fanin"], 1)
    np.testing.assert_allclose(variance, expected)
    assert not weight[~mask].any()


def test_units_that_lost_nothing_begin_bit_for_bit_as_dense_ones():
    rng = np.random.default_rng(0)
    dense, mask = rng.normal(size=(2, 9, 7)).astype(np.float32), rng.random((2, 9, 7)) < 0.5
    mask[:, :, 3] = True
    weight = keep_norms(dense, mask)
    np.testing.assert_array_equal(weight[:, :, 3], dense[:, :, 3])
    np.testing.assert_allclose(np.linalg.norm(weight, axis=1), np.linalg.norm(dense, axis=1), rtol=1e-6)


# Adam and absent weights


def test_a_dropped_weight_would_move_on_if_adam_were_not_told():
    vector = VECTORS["adam_stale_moment_leak"]
    ends = []
    for told in (False, True):
        params = np.zeros((1, 2))
        adam = Adam(params, own_steps=True)
        for _ in range(5):
            adam.step(params, np.ones((1, 2)), 0.1, 1e-8)
        params[0, 1] = 0
        if told:
            adam.restart(np.array([[False, True]]))
        adam.step(params, np.array([[1.0, 0.0]]), 0.1, 1e-8)
        ends.append(params[0, 1])
    assert ends[0] == pytest.approx(vector["expected_unmasked_value"], abs=vector["tolerance"])
    assert ends[1] == 0


# Accounts


def test_what_was_ever_there():
    masks = np.array(VECTORS["itop_rate"]["masks"]) == 1
    ever = np.logical_or.accumulate(masks)
    rate = account.share_of_weights(ever[-1:], np.ones(8, bool))
    assert rate == [VECTORS["itop_rate"]["expected"]]


@pytest.mark.parametrize("case", cases("train_flops"), ids=str)
def test_training_operations(case):
    sparse, dense = np.array([case["f_S"]]), np.array(1.0)
    plain, grown = (account.training_flops(sparse, dense, np.array([x])) for x in (False, True))
    assert plain == pytest.approx(case["set"])
    assert grown == pytest.approx(case["snfs"])
    assert (plain * case["dT"] + grown) / (case["dT"] + 1) == pytest.approx(case["rigl"])


@pytest.mark.parametrize("order", [1, 2])
def test_effective_gradient_flow(order):
    given_layers = VECTORS["egf"]["layers"]
    gradients = [np.array([layer["grad"]]) for layer in given_layers]
    masks = [np.array([layer["mask"]]) == 1 for layer in given_layers]
    (flow,) = account.effective_gradient_flow(gradients, masks, order)
    assert flow == pytest.approx(VECTORS["egf"]["expected"][f"egf_{order}"])


def test_units_without_inputs_or_outputs_are_dead():
    first, last = np.ones((2, 3, 4), bool), np.ones((2, 4, 2), bool)
    first[1, :, 0] = False
    last[1, 0] = last[1, 2] = False
    last[1, 3, 0] = False
    assert account.dead_units([first, last]).tolist() == [0, 2]
    assert account.dead_units([last]).tolist() == [0, 0]
