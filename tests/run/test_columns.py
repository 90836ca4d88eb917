"""Tables in a terminal: aligned, and folded where a line would be too long."""

import pytest

from rlsparse.run.columns import columns, terminal_width

ROWS = [
    ("arm", "return", "interval"),
    ("ppo", "1,234.5", "1,200 to 1,300"),
    ("trpo", "-7.2", "-"),
]


def test_texts_stand_on_the_left_and_numbers_on_the_right():
    assert columns(ROWS).splitlines() == [
        "arm    return        interval",
        "ppo   1,234.5  1,200 to 1,300",
        "trpo     -7.2               -",
    ]


def test_the_widest_column_is_folded_at_its_spaces_until_the_lines_fit():
    lines = columns(ROWS, width=24).splitlines()
    assert max(map(len, lines)) <= 24
    assert lines[1:3] == ["ppo   1,234.5   1,200 to", "                   1,300"]


@pytest.mark.parametrize("width", [20, 40, 80])
def test_every_word_stays_whole_and_every_column_aligned(width):
    rows = [("name", "n", "remark"), *(("a run", str(10**i), "some words " * (i + 1)) for i in range(6))]
    lines = columns(rows, width).splitlines()
    assert max(map(len, lines)) <= width
    assert set(" ".join(lines).split()) == {word for row in rows for cell in row for word in cell.split()}


def test_a_word_that_no_line_holds_is_broken():
    lines = columns([("path", "n"), ("x" * 60, "3")], width=40).splitlines()
    assert [len(line) for line in lines[1:]] == [40, 23]


def test_texts_are_folded_before_numbers():
    rows = [("arm", "interval"), ("a name of many words", "1,200 to 1,300")]
    assert columns(rows, width=30).splitlines() == [
        "arm                   interval",
        "a name of many  1,200 to 1,300",
        "words",
    ]


def test_a_table_that_cannot_be_narrower_is_shown_as_it_is():
    assert columns([("a", "b"), ("1111111111", "2222222222")], width=5).splitlines() == [
        "         a           b",
        "1111111111  2222222222",
    ]


@pytest.mark.parametrize(("told", "expected"), [("72", 72), ("3", 20), ("", 100)])
def test_the_width_is_the_terminals_and_100_without_one(monkeypatch, told, expected):
    monkeypatch.setenv("COLUMNS", told)
    monkeypatch.setattr("sys.__stdout__", None)
    assert terminal_width() == expected
