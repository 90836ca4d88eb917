"""The dense path: absent weights learn in the dense network, present ones in the sparse one, and may change sides."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rlsparse.algorithms.ppo import PPO
from rlsparse.learner.arrays import to_device, to_numpy
from rlsparse.learner.learner import Learner
from rlsparse.learner.minibatch import shuffled_minibatches
from rlsparse.learner.network import ActorCritic, action_mean
from rlsparse.learner.records import Batch
from rlsparse.sparse.budgets import weight_slots
from rlsparse.sparse.config import Sparse
from rlsparse.sparse.dcil import DCIL, rechoose

VECTORS = json.loads((Path(__file__).parent.parent / "data" / "sparse.json").read_text())
CONSTANT = DCIL(schedule="constant")
POLICY = ActorCritic((16, 12), (16, 12))
UPDATE = PPO(learning_rate=1e-2, epochs=2, minibatches=4, max_grad_norm=1e9)


def learner_of(rule=CONSTANT, sparsity=0.8, device="cpu", policy=POLICY, **settings):
    return Learner(policy, 5, 3, (0, 1), device, Sparse(sparsity, rule=rule, **settings))


def begun(learner, spent=0.0):
    learner.counters.train[:] = round(spent * 1000)
    learner.begin_iteration(1000)
    return learner


def whole(learner):
    return to_numpy(learner.sparsity.path.whole(learner.params).flat).copy()


def test_each_path_gives_the_gradient_of_its_own_weights():
    """A critic without hidden layers is the weighted sum of the reference's vector, its error the reference's loss."""
    vector = VECTORS["dcil_dual_path"]
    weight, there = np.array(vector["w"], np.float32), np.array(vector["mask"]) == 1
    learner = Learner(ActorCritic((), ()), 4, 1, [0], "cpu", Sparse(0.5, rule=CONSTANT))
    (slot,) = weight_slots(learner.layout, "critic")
    part, path = slice(slot.start, slot.stop), learner.sparsity.path
    learner.sparsity.masks.active[0, part] = there
    learner.sparsity.masks._refresh()
    learner.params[0, part], path.values[0, part] = weight * there, weight * ~there
    begun(learner)
    x, zero = np.array(vector["x"], np.float32).reshape(1, 1, 4), np.zeros((1, 1), np.float32)
    batch = Batch(x, zero[..., None], zero, zero, zero)
    algorithm, gradient = PPO(value_coef=1.0, normalise_advantages=False), np.zeros_like(learner.params)
    views = learner.layout.views
    ours = learner.gradient(algorithm.loss_gradient, views(learner.params), batch, views(gradient))
    beside = path.gradient.flat.copy()
    dense = algorithm.loss_gradient(path.whole(learner.params), batch, path.gradient)
    np.testing.assert_array_equal(beside, path.gradient.flat)
    assert ours["value_loss"] == vector["expected"]["y_sparse"] ** 2
    assert dense["value_loss"] == vector["expected"]["y_dense"] ** 2
    both = gradient + np.where(learner.sparsity.masks.active, 0, path.gradient.flat)
    assert both[0, part].tolist() == vector["expected"]["grad"]


class PlainAdam:
    """Adam over all weights alike, in double precision. Kingma and Ba, arXiv 1412.6980."""

    def __init__(self, shape):
        self.first, self.second, self.count = np.zeros(shape), np.zeros(shape), 0

    def step(self, gradient, rate, epsilon):
        self.count += 1
        self.first = 0.9 * self.first + 0.1 * gradient
        self.second = 0.999 * self.second + 0.001 * gradient**2
        mean, variance = self.first / (1 - 0.9**self.count), self.second / (1 - 0.999**self.count)
        return -rate * mean / (np.sqrt(variance) + epsilon)


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
def test_both_sides_are_one_dense_network_with_one_adam(device, new_batch):
    """Across an exchange too: what changes sides keeps its value and its moments."""
    learner, twin = learner_of(device=device, rate_power=0.0), learner_of()
    views, adam, weights = twin.layout.views, PlainAdam(learner.params.shape), whole(learner).astype(float)
    changes = 0
    for _ in range(2):
        active = learner.sparsity.masks.active
        batch = new_batch(twin, size=32)
        for minibatch in (x for _ in range(UPDATE.epochs) for x in shuffled_minibatches(twin, batch, 4, True)):
            sparse, dense = np.zeros((2, *weights.shape), np.float32)
            UPDATE.loss_gradient(views(np.where(active, weights, 0).astype(np.float32)), minibatch, views(sparse))
            UPDATE.loss_gradient(views(weights.astype(np.float32)), minibatch, views(dense))
            weights += adam.step(np.where(active, sparse, dense), UPDATE.learning_rate, UPDATE.adam_epsilon)
        begun(learner)
        on_device = batch.map(lambda x: to_device(x, device))
        list(UPDATE.update(learner, on_device))
        np.testing.assert_allclose(whole(learner), weights, atol=2e-3)
        before = whole(learner)
        learner.sparsity.evolve(learner, on_device.obs)
        np.testing.assert_array_equal(whole(learner), before)
        changes += (learner.sparsity.masks.active != active).sum()
        twin.params[...] = to_numpy(learner.params)
    assert changes > 10


def test_the_largest_of_all_weights_are_there_after_an_exchange(new_batch):
    learner = begun(learner_of())
    list(UPDATE.update(learner, new_batch(learner)))
    latent = learner.sparsity.path.values
    latent *= 3
    learner.sparsity.evolve(learner, new_batch(learner).obs)
    assert (learner.sparsity.masks.regrown > 0).all()
    for slot, count in learner.sparsity.masks.config.budgets(learner.layout):
        part = slice(slot.start, slot.stop)
        present, absent = np.abs(learner.params[:, part]), np.abs(latent[:, part])
        active = learner.sparsity.masks.active[:, part]
        assert (active.sum(1) == count).all()
        for m in range(2):
            assert present[m][active[m]].min() >= absent[m].max()


def test_no_more_swaps_than_allowed_and_those_that_gain_most():
    weight, active = np.array([[1.0, 2, 3, 4, 10, 0.5, 20]]), np.array([[True] * 4 + [False] * 3])
    after = [rechoose(weight, active, np.array([0]), np.array([swaps])) for swaps in (0, 1, 4)]
    assert [np.flatnonzero(x).tolist() for x in after] == [[0, 1, 2, 3], [1, 2, 3, 6], [2, 3, 4, 6]]
    assert np.flatnonzero(rechoose(weight, active, np.array([2]), np.array([2]))).tolist() == [4, 6]


def test_an_exchange_may_not_move_a_policy_further_than_its_limit(new_batch):
    moved = []
    for limit in (None, 1e-4):
        learner = begun(learner_of(max_kl=limit))
        learner.sparsity.path.values *= 3
        batch, start = new_batch(learner), learner.params.copy()
        learner.sparsity.evolve(learner, batch.obs)
        gap = action_mean(learner.layout, start, batch.obs) - action_mean(learner.layout, learner.params, batch.obs)
        moved.append(0.5 * np.square(gap).sum(-1).mean(-1))  # the deviation is 1
    assert (moved[0] > 1e-4).all() and (moved[1] <= 1e-4).all()


def test_from_the_end_on_absent_weights_are_forgotten_and_masks_stay(new_batch):
    learner = begun(learner_of(DCIL(0.1, 0.5), sparsity=0.6), 0.4)
    learner.sparsity.evolve(learner, new_batch(learner).obs)
    assert not learner.sparsity.path.is_open  # all were there when it began
    begun(learner, 0.45)
    assert learner.sparsity.path.is_open
    list(UPDATE.update(learner, new_batch(learner)))
    assert learner.sparsity.path.values.any()
    begun(learner, 0.5)
    assert not learner.sparsity.path.is_open
    assert not any(x.any() for x in learner.sparsity.path.state_dict().values())
    learner.sparsity.evolve(learner, new_batch(learner).obs)  # the last cut
    active = learner.sparsity.masks.active.copy()
    assert active.sum(1).tolist() == begun(learner_of(sparsity=0.6)).sparsity.masks.active.sum(1).tolist()
    begun(learner, 0.6)
    list(UPDATE.update(learner, new_batch(learner)))
    learner.sparsity.evolve(learner, new_batch(learner).obs)
    np.testing.assert_array_equal(learner.sparsity.masks.active, active)


def test_present_weights_learn_as_if_there_were_no_dense_path(new_batch):
    """Its gradient has a norm of its own, and no part in the other's."""
    with_path, without = begun(learner_of()), learner_of()
    batch, algorithm = new_batch(without), replace(UPDATE, max_grad_norm=0.1)
    for learner in (with_path, without):
        list(algorithm.update(learner, batch))
    np.testing.assert_array_equal(with_path.params, without.params)


def test_the_second_pass_is_counted():
    learner = begun(learner_of())
    present = learner.sparsity.masks.active[:, learner.sparsity.masks.weights].sum(1)
    everything = learner.sparsity.masks.weights.sum()
    expected = 6 * present + 4 * everything + 2 * (everything - present)
    assert learner.metrics()["train_flops"].tolist() == expected.tolist()
    begun(learner, 0.9)
    late = learner.metrics()["train_flops"]
    assert late.tolist() == ((expected + 6 * present) / 2).tolist()
