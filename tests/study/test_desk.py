"""Messages between a study's process and its jobs elsewhere: each attempt of a job has a ticket of its own."""

import pytest

from rlsparse.study.desk import Answer, Began, Desk, News
from rlsparse.study.snapshot import Snapshot

SNAPSHOT = Snapshot(files={"progress.csv": b"x"})


@pytest.fixture
def desk():
    desk = Desk()
    desk.admit("1")
    desk.admit("2")
    return desk


def test_what_jobs_say_is_heard_once_in_its_order(desk):
    began = Began("node", shared=False)
    desk.tell("1", began)
    desk.tell("2", began)
    desk.tell("1", None, [SNAPSHOT])
    assert desk.take() == [News("1", began), News("2", began), News("1", None, (SNAPSHOT,))]
    assert desk.take() == []


def test_a_job_fetches_its_run_directories_once(desk):
    desk.send("1", (SNAPSHOT,))
    assert desk.ask("2") == Answer(stop=False, free=True, parcel=None)
    assert desk.ask("1").parcel == (SNAPSHOT,)
    assert desk.ask("1").parcel is None


def test_a_job_sends_no_more_until_what_it_sent_is_written(desk):
    desk.tell("1", None, [SNAPSHOT])
    assert not desk.ask("1").free
    assert desk.ask("2").free
    desk.written("1")
    assert desk.ask("1").free


def test_an_attempt_that_was_given_up_is_told_to_stop_and_not_heard(desk):
    desk.send("1", (SNAPSHOT,))
    desk.give_up("1")
    desk.tell("1", None, [SNAPSHOT])
    desk.send("1", (SNAPSHOT,))
    assert desk.ask("1") == Answer(stop=True, free=True, parcel=None)
    assert desk.take() == []
    assert not desk.ask("2").stop


def test_all_jobs_are_told_to_stop(desk):
    desk.stop()
    assert desk.ask("1").stop
    assert desk.ask("2").stop
