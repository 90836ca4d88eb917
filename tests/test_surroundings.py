"""What is around a run changes none of its numbers."""

import time

import tiny


def test_a_clock_that_goes_back_changes_no_number(tmp_path, monkeypatch):
    expected = tiny.outcome(tiny.train(tmp_path / "straight"))
    for name in ("time", "monotonic", "perf_counter"):
        now = iter(range(10**6, 0, -3600))
        monkeypatch.setattr(time, name, lambda now=now: float(next(now)))
    assert tiny.outcome(tiny.train(tmp_path / "back")) == expected
