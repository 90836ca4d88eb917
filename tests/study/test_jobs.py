"""Cells are dealt to processes so that each has as much to do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlsparse.study import jobs
from rlsparse.study.jobs import _makespan, cut


def deal(populations, slots, samples=lambda cell: 1):
    """Cells are how much work they are."""
    return cut(populations, slots, float, samples)


@pytest.mark.parametrize(
    ("populations", "slots", "expected"),
    [
        ([[4, 4, 4, 4]], 1, [[4, 4, 4, 4]]),
        ([[4, 4, 4, 4]], 2, [[4, 4], [4, 4]]),
        ([[4, 4, 4, 4]], 8, [[4], [4], [4], [4]]),
        ([[8, 1, 1, 1, 1, 4]], 2, [[8], [1, 1, 1, 1, 4]]),
        ([[9, 9], [1]], 2, [[9], [9], [1]]),
        ([[5], [7], [6]], 2, [[7], [6], [5]]),
        ([[6, 6, 6]], 2, [[6, 6], [6]]),
        ([[3, 3, 3, 3]] * 3, 2, [[3, 3, 3, 3], [3, 3, 3, 3], [3, 3], [3, 3]]),
        ([[3, 3, 3, 3]] * 4, 2, [[3, 3, 3, 3]] * 4),
        ([], 4, []),
    ],
)
def test_no_slot_is_empty_if_it_can_be_helped_and_the_largest_job_is_first(populations, slots, expected):
    assert deal(populations, slots) == expected


def test_no_job_is_larger_than_memory_is_thought_to_be(monkeypatch):
    monkeypatch.setattr(jobs, "MOST_SAMPLES", 100)
    assert deal([[1, 1, 1, 1, 1]], 1, lambda cell: 50) == [[1, 1], [1, 1], [1]]


@given(st.lists(st.lists(st.integers(1, 50), min_size=1, max_size=9), max_size=6), st.integers(1, 12))
def test_every_cell_is_in_one_job_and_no_job_mixes_populations(sizes, slots):
    names = [[(i, j, x) for j, x in enumerate(population)] for i, population in enumerate(sizes)]
    dealt = cut(names, slots, lambda cell: cell[2], lambda cell: 1)
    assert sorted(cell for job in dealt for cell in job) == sorted(cell for population in names for cell in population)
    assert all(len({cell[0] for cell in job}) == 1 for job in dealt)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 4))
def test_equal_cells_keep_all_slots_at_work(sizes, slots):
    dealt = deal([[1] * size for size in sizes], slots)
    assert _makespan([*map(sum, dealt)], slots) <= max(1.1 * sum(sizes) / slots, 1 + sum(sizes) / slots)
