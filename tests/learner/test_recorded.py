"""A recorded step: what it does when it is replayed is what the function would have done, whatever the numbers are."""

import gc
from dataclasses import replace

import numpy as np
import pytest
import torch
from tape import Cuda, GraphOnTape, tape

from rlsparse.algorithms.natural_gradient import CG, MFAC
from rlsparse.algorithms.ppo import PPO
from rlsparse.algorithms.trpo import TRPO
from rlsparse.errors import Interrupted
from rlsparse.learner.recorded import SWITCH, Recorded, recorder, records_physics
from rlsparse.learner.streams import HostStreams

DEVICE = "cpu:0"


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


def test_the_tape_spoils_what_a_graph_would_find_in_memory_that_it_does_not_write():
    x = torch.ones(2)

    def half_written():
        y = torch.empty_like(x)
        y[:1] = x[:1]
        return y

    result, replay = tape(half_written)
    replay()
    assert result[0] == 1 and result[1].isnan()


def test_results_of_all_kinds_come_back_by_name():
    def several(x):
        return {"twice": 2 * x, "sum": x.sum(), "positive": x > 0, "half": x / 2}

    recorded = Recorded(several, [], tape)
    for x in (torch.ones(2), torch.tensor([-1.0, 3.0])):
        for name, result in several(x).items():
            assert torch.equal(recorded(x)[name], result)


def test_other_shapes_than_those_recorded_are_refused():
    recorded = Recorded(lambda x: {"double": 2 * x}, [], tape)
    recorded(torch.ones(3))
    with pytest.raises(AssertionError, match=r"recorded for .*3.*, called with .*1"):
        recorded(torch.ones(1))


def new_counter(record):
    """A recorded step that adds its input to `total` and returns the old total."""
    total = torch.zeros(2)

    def add(x):
        old = total.clone()
        total.add_(x)
        return {"old": old}

    return total, Recorded(add, [total], record)


def count_up(total, recorded):
    for i in range(4):
        assert recorded(torch.full((2,), i + 1.0))["old"].tolist() == [i * (i + 1) / 2] * 2
        assert total.tolist() == [(i + 1) * (i + 2) / 2] * 2


def test_a_cuda_graph_is_captured_on_its_own_device_where_its_warm_ups_ran(monkeypatch):
    cuda, streams = Cuda(monkeypatch), []
    main = cuda.stream
    total, recorded = new_counter(recorder("cuda:1"))
    function = recorded._function
    recorded._function = lambda x: (streams.append(cuda.stream), function(x))[1]
    count_up(total, recorded)
    assert cuda.devices == ["cuda:1"]
    assert streams[0] is cuda.stream is main
    beside = streams[1:5]
    assert len(set(beside)) == 1 and beside[0] is not main
    assert {*streams} - {*beside} == {main}  # where it is tried


class Forbidden(GraphOnTape):
    invalid = True


def out_of_memory(function):
    function()
    raise torch.OutOfMemoryError("CUDA out of memory")


def nothing(function):
    return function(), lambda: None


def all_but_the_last_operations(function):
    result, replay = tape(function)
    del replay.__self__.notes[-2:]
    return result, replay


FAILURES = {
    "capture": "previous error during capture",
    "memory": "out of memory",
    "nothing": "does not do what was recorded",
    "less": "does not do what was recorded",
}


@pytest.mark.parametrize("failure", FAILURES)
def test_what_cannot_be_recorded_goes_on_unrecorded_with_the_same_numbers(failure, monkeypatch, caplog):
    cuda = Cuda(monkeypatch, Forbidden)
    main = cuda.stream
    records = {"memory": out_of_memory, "nothing": nothing, "less": all_but_the_last_operations}
    count_up(*new_counter(records.get(failure, recorder("cuda"))))
    assert cuda.stream is main
    (line,) = caplog.messages
    assert line.startswith("a step goes on unrecorded, which is slower: ") and FAILURES[failure] in line


def test_a_capture_that_fails_tells_its_own_cause_and_does_not_forbid_the_next(monkeypatch, caplog):
    Cuda(monkeypatch, Forbidden)

    def synchronises(x):
        if Cuda.underway:
            raise RuntimeError("operation not permitted when stream is capturing")
        return {"double": 2 * x}

    assert Recorded(synchronises, [], recorder("cuda"))(torch.ones(1))["double"].item() == 2
    (line,) = caplog.messages
    assert line.endswith("operation not permitted when stream is capturing")
    monkeypatch.setattr(torch.cuda, "CUDAGraph", GraphOnTape)
    caplog.clear()
    count_up(*new_counter(recorder("cuda")))
    assert not caplog.messages


def test_what_is_no_failure_of_a_capture_is_raised_as_it_is(monkeypatch):
    Cuda(monkeypatch, Forbidden)

    def stops(x):
        if Cuda.underway:
            raise Interrupted
        return {}

    with pytest.raises(Interrupted):
        Recorded(stops, [], recorder("cuda"))(torch.ones(1))
    assert not Cuda.underway


def test_a_recording_that_froze_its_input_is_found_out(caplog):
    def frozen(function):
        result, replay = tape(function)
        noted = replay.__self__.notes
        func, (x, *others), *rest = noted[0]
        noted[0] = func, (x.clone(), *others), *rest
        return result, replay

    recorded = Recorded(lambda x: {"double": 2 * x}, [], frozen)
    assert recorded(torch.tensor([1.0, 2.0]))["double"].tolist() == [2, 4]
    assert "does not do what was recorded" in caplog.text


def test_a_recording_that_forgets_a_small_number_is_found_out(caplog):
    """Adam's second moments are of the size of a gradient squared."""
    second = torch.full((3,), 1e-9)

    def step(x):
        second.mul_(0.9)
        return {"x": x + 1}

    def forgets(function):
        result, replay = tape(function)
        del replay.__self__.notes[0]
        return result, replay

    Recorded(step, [second], forgets)(torch.ones(2))
    assert "does not do what was recorded" in caplog.text
    torch.testing.assert_close(second, torch.full((3,), 0.9e-9), atol=0, rtol=1e-6)


def test_no_garbage_is_collected_while_a_step_is_recorded(monkeypatch):
    Cuda(monkeypatch)
    seen = []
    recorded = Recorded(lambda x: (seen.append((bool(Cuda.underway), gc.isenabled())), {})[1], [], recorder("cuda"))
    recorded(torch.ones(1))
    assert (True, False) in seen and (True, True) not in seen
    assert gc.isenabled()


@pytest.mark.parametrize("value", ["0", "physics"])
def test_recording_can_be_switched_off(monkeypatch, value):
    monkeypatch.setenv(SWITCH, value)
    assert recorder("cuda") is None
    assert records_physics() is (value == "physics")


def test_on_a_cpu_nothing_is_recorded():
    assert recorder("cpu:0") is None
    count_up(*new_counter(None))


TRPO_FAST = TRPO(critic_epochs=2, critic_minibatches=4, learning_rate=1e-2, learning_rate_decay=True)
ALGORITHMS = {
    "ppo": (PPO(epochs=2, minibatches=4, learning_rate=1e-2, learning_rate_decay=True), 1),
    "ppo otherwise": (PPO(epochs=2, minibatches=3, normalise_advantages=False, entropy_coef=0.01), 1),
    "trpo": (TRPO_FAST, 2),
    "trpo of members that are done at different times": (
        replace(TRPO_FAST, target_kl=0.3, solver=CG(6, 0.1), backtracks=3),
        2,
    ),
    "trpo that draws its system": (replace(TRPO_FAST, solver=MFAC(8)), 1),
    "trpo that draws a part": (replace(TRPO_FAST, fisher_subsample=2), 1),
}


@pytest.mark.parametrize(("algorithm", "recordings"), ALGORITHMS.values(), ids=ALGORITHMS)
@pytest.mark.parametrize("weighted", ["never", "always", "later"])
def test_updates_by_recorded_steps_are_those_by_plain_ones(
    new_learner, new_batch, algorithm, recordings, weighted, caplog
):
    plain, learner = (new_learner(device=DEVICE) for _ in range(2))
    learner.record = tape
    for update in range(4):
        batch = new_batch(new_learner(), seed=update).map(torch.tensor)
        batch.advantage[1] *= torch.nan if update == 2 and algorithm is TRPO_FAST else 1
        if weighted == "always" or (weighted == "later" and update > 1):
            batch = replace(batch, weight=torch.arange(24.0).expand(3, 24) % 3)
        for one in (plain, learner):
            one.progress = np.full(3, update / 4)
        for expected, stats in zip(algorithm.update(plain, batch), algorithm.update(learner, batch), strict=True):
            for name, x in vars(expected).items():
                torch.testing.assert_close(getattr(stats, name), x, rtol=0, atol=0, equal_nan=True)
        torch.testing.assert_close(learner.params, plain.params, rtol=0, atol=0)
    assert len(learner.recordings) == recordings * (2 if weighted == "later" else 1)
    assert not caplog.messages  # of recordings that failed
    assert isinstance(learner.orders, HostStreams)


def test_an_update_that_may_end_early_is_not_recorded(new_learner, new_batch):
    learner = new_learner(device=DEVICE)
    learner.record = tape
    list(PPO(epochs=1, minibatches=2, target_kl=0.1).update(learner, new_batch(new_learner()).map(torch.tensor)))
    assert not learner.recordings
