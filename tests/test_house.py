"""The house stays small: the trunk, the root, files and functions, and how far a reader goes for one method."""

import house
import pytest

MOST_LINES_TO_READ = {
    "PPO, from the loop to the gradient": (3, 450),
    "PPO, everything it touches": (7, 1_200),
    "TRPO": (3, 510),
    "ExploRLer": (7, 1_070),
    "RigL": (3, 600),
}


def test_the_trunk_does_not_grow() -> None:
    assert sum(map(house.code_lines, house.trunk())) <= 8_000


def test_the_root_has_fifteen_entries_at_most() -> None:
    assert len(house.root_entries()) <= 15, house.root_entries()


def test_no_file_is_longer_than_four_hundred_lines() -> None:
    assert not [m for m in house.modules() if house.all_lines(m) > 400]


def test_no_function_is_longer_than_fifty_lines() -> None:
    assert not [place for length, place in house.functions() if length > 50]


def test_nobody_asks_for_a_component_s_class_outside_its_room() -> None:
    assert house.questions_of_class() == []


@pytest.mark.parametrize("method", house.READING)
def test_a_method_is_read_in_a_few_files(method: str) -> None:
    files, (most_files, most_lines) = house.READING[method], MOST_LINES_TO_READ[method]
    assert len(files) <= most_files
    assert sum(map(house.all_lines, files)) <= most_lines


def test_every_named_file_exists() -> None:
    named = {*house.LEAVES, *house.UNIONS, *(file for files in house.READING.values() for file in files)}
    assert named <= set(house.modules())


def test_a_docstring_is_no_code_line() -> None:
    assert house.code_lines("advantage/__init__") == 0
