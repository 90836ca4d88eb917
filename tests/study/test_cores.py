"""Jobs of one machine run on different cores."""

import pytest

from rlsparse.study import cores
from rlsparse.study.cores import claimed


@pytest.fixture(autouse=True)
def four_cores(monkeypatch):
    monkeypatch.setattr(cores, "usable", lambda: [0, 2, 4, 6])


def test_each_job_has_cores_of_its_own_until_it_ends(tmp_path):
    with claimed(2, tmp_path) as first, claimed(1, tmp_path) as second:
        assert (first, second) == ([0, 2], [4])
    with claimed(4, tmp_path) as later:
        assert later == [0, 2, 4, 6]


def test_where_too_few_are_left_none_are_claimed(tmp_path):
    with claimed(3, tmp_path), claimed(2, tmp_path) as second:
        assert second == []
        with claimed(1, tmp_path) as third:
            assert third == [6]
    with claimed(1, tmp_path) as later:
        assert later == [0]


def test_where_nothing_can_be_written_none_are_claimed(tmp_path):
    with claimed(1, tmp_path / "missing") as found:
        assert found == []
