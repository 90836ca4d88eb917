"""The progress line: a live one on a terminal, plain lines elsewhere, and numbers that are right."""

import io
import logging
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tiny

from rlsparse.run import progress_line
from rlsparse.run.progress_line import ProgressLine, describe_returns


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    """Time that passes when told."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress_line, "time", clock)
    return clock


def at(steps, members=1, total_steps=10_000, eval_seconds=0.0):
    """A session that has come so far."""
    recipe = tiny.recipe(num_seeds=members, total_steps=total_steps, eval_every=2500)
    learner = SimpleNamespace(members=members)
    return SimpleNamespace(total_steps=steps, recipe=recipe, learner=learner, eval_seconds=eval_seconds)


def rows(*returns):
    return [{"seed": seed, "return_mean": value} for seed, value in enumerate(returns)]


def shown(monkeypatch, stream, begun=0, eval_seconds=0.0):
    monkeypatch.setattr(sys, "stderr", stream)
    return ProgressLine(at(begun, eval_seconds=eval_seconds))


def test_before_training_there_are_steps_and_the_first_return(monkeypatch, clock):
    line = shown(monkeypatch, stream := io.StringIO())
    clock.now += 3.0
    line.evaluation(at(0, eval_seconds=3.0), rows(-1234.56))
    assert stream.getvalue() == "          0 steps   0.0 %  return -1,234.6\n"


def test_rate_and_time_left_follow_from_steps_and_seconds(monkeypatch, clock):
    """5,000 steps of each of 3 seeds in 10 seconds are 1,500 steps/s; 5,000 of each are left: 10 s."""
    line = shown(monkeypatch, stream := io.StringIO())
    for steps in (1000, 2000, 3000, 4000, 5000):
        clock.now += 2.0
        line.iteration(at(steps, members=3), None)
    line.evaluation(at(5000, members=3), rows(1.0, 2.0, 6.0))
    text = stream.getvalue()
    assert "      5,000 steps  50.0 %" in text
    assert "  1,500 steps/s (500 a seed)  0:00:10 left" in text
    assert text.endswith("return 3.0 (1.0 to 6.0, 3 seeds)\n")


def test_the_first_line_is_right(monkeypatch, clock):
    line = shown(monkeypatch, stream := Terminal())
    clock.now += 2.0
    line.iteration(at(1000), None)
    assert "    500 steps/s  0:00:18 left" in stream.getvalue()


def test_evaluations_take_time_that_is_left_but_none_of_training(monkeypatch, clock):
    """10 seconds, 6 of them for 3 evaluations: 1,250 steps/s, 4 s are left to train and 4 s for 2 evaluations."""
    line = shown(monkeypatch, stream := io.StringIO())
    for steps, seconds in ((0, 2.0), (2500, 4.0)):
        line.evaluation(at(steps, eval_seconds=seconds), rows(1.0))
    clock.now += 10.0
    line.evaluation(at(5000, eval_seconds=6.0), rows(1.0))
    assert "  1,250 steps/s  0:00:08 left" in stream.getvalue()


def test_the_time_of_a_resumed_run_counts_from_where_it_was_resumed(monkeypatch, clock):
    line = shown(monkeypatch, stream := io.StringIO(), begun=8000, eval_seconds=100.0)
    clock.now += 1.0
    line.evaluation(at(10_000, eval_seconds=100.0), rows(1.0))
    assert " 2,000 steps/s  0:00:00 left" in stream.getvalue()


def test_a_live_line_ends_before_anything_else_is_said(monkeypatch, clock):
    line = shown(monkeypatch, stream := Terminal())
    clock.now += 1.0
    line.iteration(at(1000), None)
    assert not stream.getvalue().endswith("\n")
    line.close()
    line.close()
    assert stream.getvalue().endswith("left\n")


def test_a_warning_that_is_logged_begins_a_line_of_its_own(monkeypatch, clock):
    line = shown(monkeypatch, stream := Terminal())
    handlers = [logging.StreamHandler(stream), logging.StreamHandler(other := io.StringIO())]
    handlers[0].addFilter(lambda record: "secret" not in record.msg)
    monkeypatch.setattr(logging.getLogger(), "handlers", handlers)
    for steps in (1000, 2000):
        clock.now += 1.0
        line.iteration(at(steps), None)
        logging.getLogger("rlsparse.sim").warning("made anew")
        logging.getLogger("rlsparse.sim").warning("made again")
        logging.getLogger("rlsparse.sim").warning("secret")
    texts = stream.getvalue().split("\r\x1b[2K")
    assert [text.partition("left")[2] for text in texts[1:]] == ["\nmade anew\nmade again\n"] * 2
    assert other.getvalue() == "made anew\nmade again\nsecret\n" * 2
    assert [len(x.filters) for x in handlers] == [1, 0]


def test_a_terminal_that_is_gone_hinders_no_logging(monkeypatch, clock):
    line = shown(monkeypatch, stream := Terminal())
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.StreamHandler(stream)])
    clock.now += 1.0
    line.iteration(at(1000), None)
    stream.close()
    monkeypatch.setattr(logging, "raiseExceptions", False)
    logging.getLogger("rlsparse.sim").warning("made anew")
    assert not logging.getLogger().handlers[0].filters


def test_an_overrun_budget_is_not_more_than_all_of_it(monkeypatch, clock):
    line = shown(monkeypatch, stream := io.StringIO())
    line.iteration(at(10_900), None)
    clock.now += 1.0
    line.evaluation(at(10_900), rows(1.0))
    assert " 100.0 %" in stream.getvalue()
    assert "0:00:00 left" in stream.getvalue()


def test_plain_lines_come_with_evaluations_alone(monkeypatch, clock):
    line = shown(monkeypatch, stream := io.StringIO())
    for steps in (1000, 2000, 3000):
        clock.now += 1.0
        line.iteration(at(steps), None)
    assert stream.getvalue() == ""
    line.evaluation(at(3000), rows(1.0))
    assert re.fullmatch(r"[^\r\x1b\n]+\n", stream.getvalue())


def test_on_a_terminal_one_line_is_redrawn_but_not_too_often(monkeypatch, clock):
    line = shown(monkeypatch, stream := Terminal())
    for steps in range(100, 1100, 100):
        clock.now += 0.05
        line.iteration(at(steps), None)
    drawings = stream.getvalue().split("\r\x1b[2K")[1:]
    assert 2 <= len(drawings) <= 3  # in half a second
    assert "\n" not in stream.getvalue()
    line.evaluation(at(1000), rows(1.0))
    assert stream.getvalue().endswith("return 1.0\n")


@pytest.mark.parametrize(
    "seconds, text", [(0.4, "0:00:00"), (59.6, "0:01:00"), (3599.7, "1:00:00"), (90_061, "25:01:01")]
)
def test_durations_carry_over(seconds, text):
    assert progress_line._duration(seconds) == text


def test_returns_have_a_spread_from_two_seeds_on():
    assert describe_returns(np.array([1234.56])) == "1,234.6"
    assert describe_returns(np.array([1.0, 2.0, 6.0])) == "3.0 (1.0 to 6.0, 3 seeds)"
