"""A recorded step: what it does when it is replayed is what the function would have done, whatever the numbers are.

A tape plays the CUDA graph: it notes every operation with the memory it read and wrote, and does the same again. So
what a graph would freeze, such as a number that Python computed or an array that was replaced, is frozen here too.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rlsparse.member_streams import HostStreams
from rlsparse.ppo import PPO
from rlsparse.recorded import Recorded
from rlsparse.trpo import TRPO

DEVICE = "cpu:0"


class Tape(TorchDispatchMode):
    """Notes operations on tensors."""

    def __init__(self):
        super().__init__()
        self.notes = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.notes.append((func, args, kwargs or {}, result))
        return result

    def replay(self):
        for func, args, kwargs, into in self.notes:
            result = func(*args, **kwargs)
            if result.untyped_storage().data_ptr() != into.untyped_storage().data_ptr():  # neither a view nor in place
                into.copy_(result)


def tape(function):
    with Tape() as notes:
        result = function()
    return result, notes.replay


def test_a_replay_reads_new_inputs_and_changes_the_same_memory():
    total = torch.zeros(2)

    def add(x):
        total.add_(x)
        return {"total": total * 1, "square": x * x}

    recorded = Recorded(add, [total], tape)
    for i in range(1, 4):
        result = recorded(torch.tensor([1.0, i]))
        assert total.tolist() == [i, sum(range(i + 1))]
        assert {name: x.tolist() for name, x in result.items()} == {"total": total.tolist(), "square": [1, i * i]}


def test_what_it_returns_is_not_overwritten_by_the_next_call():
    recorded = Recorded(lambda x: {"double": 2 * x}, [], tape)
    first = recorded(torch.ones(3))
    recorded(torch.zeros(3))
    assert first["double"].tolist() == [2, 2, 2]


def test_the_tape_freezes_what_a_graph_would():
    factor = [1.0]
    recorded = Recorded(lambda x: {"product": x * factor[0]}, [], tape)
    recorded(torch.ones(1))
    factor[0] = 5.0
    assert recorded(torch.ones(1))["product"].item() == 1.0


ALGORITHMS = {
    "ppo": PPO(epochs=2, minibatches=4, learning_rate=1e-2, learning_rate_decay=True),
    "ppo otherwise": PPO(epochs=2, minibatches=3, normalise_advantages=False, entropy_coef=0.01),
    "trpo": TRPO(critic_epochs=2, critic_minibatches=4, learning_rate=1e-2, learning_rate_decay=True),
}


@pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=ALGORITHMS)
@pytest.mark.parametrize("weighted", [False, True])
def test_updates_by_recorded_steps_are_those_by_plain_ones(new_learner, new_batch, algorithm, weighted):
    plain, learner = (new_learner(device=DEVICE) for _ in range(2))
    learner.record = tape
    for update in range(3):
        batch = new_batch(new_learner(), seed=update).map(torch.tensor)
        if weighted:
            batch = replace(batch, weight=torch.arange(24.0).expand(3, 24) % 3)
        for one in (plain, learner):
            one.progress = np.full(3, update / 3)
        for expected, stats in zip(algorithm.update(plain, batch), algorithm.update(learner, batch), strict=True):
            for name, x in expected.present().items():
                torch.testing.assert_close(getattr(stats, name), x, rtol=0, atol=0, equal_nan=True)
        torch.testing.assert_close(learner.params, plain.params, rtol=0, atol=0)
    assert len(learner.recordings) == 1
    assert isinstance(learner.orders, HostStreams)


def test_an_update_that_may_end_early_is_not_recorded(new_learner, new_batch):
    learner = new_learner(device=DEVICE)
    learner.record = tape
    list(PPO(epochs=1, minibatches=2, target_kl=0.1).update(learner, new_batch(new_learner()).map(torch.tensor)))
    assert not learner.recordings
