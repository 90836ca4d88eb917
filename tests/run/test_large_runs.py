"""What a run of 10^12 steps, of a million rows or of a thousand members keeps count of stays exact, and costs no more.

Counters and tables are set forward; nothing is trained for days.
"""

import json
import math
import os
import resource
from contextlib import closing, contextmanager
from fractions import Fraction

import numpy as np
import pytest
import tiny
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rlsparse import loop
from rlsparse.compare.summary import summarise
from rlsparse.errors import Interrupted
from rlsparse.learner.adam import Adam
from rlsparse.learner.normaliser import RunningMoments
from rlsparse.learner.streams import env_seeds
from rlsparse.run import checkpoint, reading, tensorboard
from rlsparse.run import directory as runs
from rlsparse.run.progress_line import ProgressLine
from rlsparse.run.recipe import MOST_STEPS
from rlsparse.sim.counter_random import EpisodeStream

FAR = [10**9, 2**31 - 16, MOST_STEPS - 96]
"""Where counters stand."""


def far_on(run_dir, steps, **changes):
    """A session whose members have made so many steps of a budget with 96 more."""
    session = tiny.begin(run_dir, tiny.recipe(num_seeds=2, total_steps=steps + 96, **changes))
    session.learner.counters.train[:] = steps
    session.learner.counters.eval[:] = steps
    session.evaluated_at[:] = steps
    return session


def stop_after(questions):
    left = iter(range(questions))
    return lambda: next(left, None) is None


@pytest.mark.parametrize("steps", FAR)
def test_steps_are_counted_one_by_one_however_many_there_were(steps, tmp_path):
    session = far_on(tmp_path / "run", steps)
    with closing(tensorboard.TensorBoard(tmp_path / "run" / "tb", session)) as events:
        loop.train(session, events, tiny.never)
    session.run.write_status("finished", session.total_steps)
    line = ProgressLine(session).line(session)
    session.run.release()
    end = steps + 96
    rows = runs.read_progress(session.run.progress)
    assert {int(row["train_steps"]) for row in rows} >= {end}
    assert all((int(row["train_steps"]) - steps) % 16 == 0 for row in rows)
    saved = checkpoint.load_latest(session.run.checkpoints)
    assert saved.arrays["learner"]["counters.train"].tolist() == [end, end]
    assert saved.values["evaluated_at"] == [end, end]
    assert checkpoint.newest_steps(session.run.checkpoints) == end
    assert json.loads((tmp_path / "run" / "status.json").read_text())["total_steps"] == end
    assert f"{end:,} steps 100.0 %" in line
    told = summarise(rows, session.recipe, "ppo", 1.0)["seeds"]
    assert [seed["train_steps"] for seed in told] == [end, end]
    assert [seed["best"]["total_steps"] for seed in told] <= [end, end]
    accumulator = EventAccumulator(str(tmp_path / "run" / "tb" / "seed-0"))
    accumulator.Reload()
    assert accumulator.Scalars("eval/mean_reward")[-1].step == end


@pytest.mark.parametrize("steps", FAR)
def test_stopped_and_resumed_there_it_ends_the_same(steps, tmp_path):
    tiny.go_on(far_on(tmp_path / "whole", steps))
    with pytest.raises(Interrupted):
        tiny.go_on(far_on(tmp_path / "stopped", steps), stop_after(40))
    assert tiny.outcome(tiny.resume(tmp_path / "stopped")) == tiny.outcome(tmp_path / "whole")


def test_every_count_of_a_largest_budget_is_exact_in_a_table_of_float64():
    """Tables are read as float64, which has every whole number up to 2^53; of ten seeds together too."""
    assert 10 * MOST_STEPS < 2**53


def optimiser(xp, steps, own_steps=False):
    params = xp.zeros((2, 5), dtype=xp.float32)
    adam = Adam(params, own_steps)
    adam.steps[...] = steps
    adam.second[...] = 1e-4
    return params, adam


def moved(xp, steps, updates):
    params, adam = optimiser(xp, steps)
    for i in range(updates):
        adam.step(params, xp.ones((2, 5), dtype=xp.float32) * (0.1 * (i + 1)), 1e-3, 1e-5)
    return np.asarray(params), float(adam.steps[0, 0])


@pytest.mark.parametrize("xp", [np, torch], ids=["numpy", "torch"])
def test_adam_s_count_stops_at_2_to_the_24_and_no_bit_depends_on_it_by_then(xp):
    """Float32 has no next whole number; 1 - beta^t is 1 from 17,000 updates on."""
    far, count = moved(xp, 2.0**24 - 2, 5)
    assert count == 2.0**24
    assert (far == moved(xp, 20_000.0, 5)[0]).all()
    assert np.float32(1) - np.float32(0.999) ** np.float32(17_500) == 1
    assert math.isclose(1 - 0.999**17_500, 1, rel_tol=2**-24)


@pytest.mark.parametrize("xp", [np, torch], ids=["numpy", "torch"])
def test_the_age_of_a_weight_of_its_own_ends_near_one_and_stays(xp):
    """Where it stops, a step has another length than at 1, by less than one part in 5,000."""
    params, adam = optimiser(xp, 0, own_steps=True)
    zero = xp.zeros((2, 5), dtype=xp.float32)

    def ages():
        return {name: np.asarray(x).copy() for name, x in adam.state_dict().items() if name.startswith("age")}

    for _ in range(30_000):
        adam.step(params, zero, 1e-3, 1e-5)
    then = ages()
    for _ in range(2000):
        adam.step(params, zero, 1e-3, 1e-5)
    assert all((x == then[name]).all() for name, x in ages().items())
    assert all((abs(x - 1) < 1e-4).all() for x in then.values())


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
def test_the_normaliser_takes_in_new_samples_after_10_to_the_12(device):
    """Its count and its moments are float64; the mean moves by as much as in exact fractions."""
    moments, count = RunningMoments(1, (1,), device), 10**12
    moments.count = moments.count + float(count)
    batch = np.full((1, 2048, 1), 3.0)
    moments.update(batch if device == "cpu" else torch.as_tensor(batch))
    assert float(moments.count[0]) == count + 2048
    exact = Fraction(2048, count + 2048)
    assert float(moments.mean[0, 0]) == pytest.approx(float(3 * exact), rel=1e-12)
    assert float(moments.var[0, 0]) == pytest.approx(float(1 - exact + 9 * exact * (1 - exact)), rel=1e-15)


def test_episodes_have_streams_of_their_own_at_any_number():
    first = torch.tensor([n for start in (0, 2**31, 2**40, 2**53) for n in range(start - 50 * bool(start), start + 50)])
    numbers = EpisodeStream(torch.zeros_like(first), first).random(2)
    assert len(numbers.unique(dim=0)) == len(first)


def test_seeds_of_environments_keep_their_ranges_after_many_cycles():
    """Training below 2^31, evaluations from there to 2^32, probes above: none is another's."""
    for cycle in (0, 10**6, 2**33):
        assert all(0 <= seed < 2**31 for seed in env_seeds(0, "train_env", 3, cycle))
        assert all(2**31 <= seed < 2**32 for seed in env_seeds(0, "eval_env", 3, cycle))
        assert all(2**32 <= seed < 2**33 for seed in env_seeds(0, "probe_env", 3, cycle))


def test_a_table_larger_than_other_files_may_be_is_read(tmp_path):
    """A run must not fail in its last second because its table is long."""
    cells = f"1.{'0' * 2**16}"
    path = tmp_path / "progress.csv"
    path.write_text("seed,return_mean\n" + "".join(f"{seed},{cells}\n" for seed in range(1030)))
    assert path.stat().st_size > reading.MOST_BYTES
    assert runs.read_progress(path, ("seed",)) == [{"seed": float(seed)} for seed in range(1030)]
    assert runs.read_progress(path)[-1] == {"seed": 1029.0, "return_mean": 1.0}


@contextmanager
def files_allowed(more):
    """So many more open files than there are."""
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + more, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))


def test_a_run_has_more_members_than_a_process_may_have_open_files(tmp_path):
    session = tiny.begin(tmp_path / "run", tiny.recipe(num_seeds=60))
    with files_allowed(30), closing(tensorboard.TensorBoard(tmp_path / "run" / "tb", session)) as events:
        loop.train(session, events, tiny.never)
    session.run.release()
    for seed in (0, 59):
        accumulator = EventAccumulator(str(tmp_path / "run" / "tb" / f"seed-{seed}"))
        accumulator.Reload()
        assert [event.step for event in accumulator.Scalars("train/approx_kl")] == [16, 32, 48, 64, 80, 96]


def test_of_a_long_run_tensorboard_gets_points_as_close_as_it_shows_them(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorboard, "MOST_POINTS", 3)
    session = tiny.begin(tmp_path / "run")
    with closing(tensorboard.TensorBoard(tmp_path / "run" / "tb", session)) as events:
        loop.train(session, events, tiny.never)
    session.run.release()
    accumulator = EventAccumulator(str(tmp_path / "run" / "tb" / "seed-0"))
    accumulator.Reload()
    assert [event.step for event in accumulator.Scalars("train/approx_kl")] == [32, 64, 96]
    assert [event.step for event in accumulator.Scalars("eval/mean_reward")] == [0, 32, 64, 96]


@pytest.mark.parametrize(("seconds", "saves"), [(0.0, 10), (1e12, 4)])
def test_checkpoints_that_take_long_are_written_less_often(seconds, saves, tmp_path, monkeypatch):
    """After each of four evaluations as ever, and after each of six iterations unless the last one took too long."""
    save, saved = loop.save, []

    def saves_in(session, **named):
        save(session, **named)
        session.save_seconds = seconds
        saved.append(session.total_steps)

    monkeypatch.setattr(loop, "save", saves_in)
    monkeypatch.setattr(loop, "SAVE_INTERVAL", 1e-9)
    tiny.train(tmp_path / "run")
    assert len(saved) == saves
