"""Minibatches: every sample once, in an order of each member's own."""

from dataclasses import replace

import numpy as np
import pytest

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


@pytest.mark.parametrize("weighted", [False, True])
def test_the_advantages_of_each_minibatch_are_standardised_over_the_samples_that_count(
    new_learner, new_batch, weighted
):
    plain, normalised = new_learner(), new_learner()
    batch = new_batch(plain, 24, dtype=np.float64)
    if weighted:
        batch = replace(batch, weight=np.random.default_rng(1).integers(0, 3, batch.advantage.shape).astype(float))
    pairs = zip(shuffled_minibatches(plain, batch, 3), shuffled_minibatches(normalised, batch, 3, True), strict=True)
    for part, standardised in pairs:
        np.testing.assert_array_equal(standardised.action, part.action)
        counts = np.ones_like(part.advantage) if part.weight is None else part.weight
        for row, got, kept in zip(part.advantage, standardised.advantage, counts > 0, strict=True):
            expected = np.where(kept, (row - row[kept].mean()) / row[kept].std(ddof=1), 0.0)
            np.testing.assert_allclose(got, expected, rtol=1e-7, atol=1e-12)
