"""Minibatches: every sample once, in an order of each member's own."""

from dataclasses import replace

import numpy as np

from rlsparse.learner.minibatch import shuffled_minibatches


def test_every_sample_is_visited_once_per_epoch_by_each_member_in_an_order_of_its_own(new_learner, new_batch):
    learner = new_learner()
    batch = new_batch(learner, 24)
    samples = np.arange(3 * 24.0).reshape(3, 24)
    batch = replace(batch, advantage=samples, obs=np.repeat(samples[..., None], 5, -1))
    epochs = []
    for _ in range(2):
        parts = list(shuffled_minibatches(learner, batch, 4))
        assert [part.advantage.shape for part in parts] == [(3, 6)] * 4
        assert all((part.obs == part.advantage[..., None]).all() for part in parts)
        epochs.append(np.concatenate([part.advantage for part in parts], 1))
    orders = [row - 24 * member for epoch in epochs for member, row in enumerate(epoch)]
    assert all((np.sort(order) == np.arange(24)).all() for order in orders)
    assert len({tuple(order) for order in orders}) == 6
