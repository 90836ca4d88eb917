"""Number tables: a cut number is never taken for a whole one, and no input crashes the parser."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlsparse.compare import table
from rlsparse.compare.record import UnreadableLog
from rlsparse.compare.table import parse_long_table, parse_table, read_lines
from rlsparse.errors import RunDirectoryError

FILE = "some.csv"
ROWS = [[0, 1234.5, -17.25], [1, 2234.5, 1e-7], [2, 3.0, 12345678.0]]
CONTENT = ("a,b,c\r\n" + "".join(",".join(map(repr, row)) + "\r\n" for row in ROWS)).encode()


@pytest.fixture(scope="module")
def parse(tmp_path_factory):
    """Parse bytes as they would lie in a file."""
    path = tmp_path_factory.mktemp("tables") / FILE

    def parse_content(content, wanted=("a", "b", "c")):
        path.write_bytes(content)
        return parse_table(read_lines(path), path, wanted)

    return parse_content


def rows(table):
    return np.stack(list(table.columns.values()), 1).tolist()


def test_numbers_come_back_whatever_ends_the_lines(parse):
    assert rows(parse(CONTENT)) == ROWS
    assert rows(parse(CONTENT.replace(b"\r\n", b"\n"))) == ROWS


def test_a_file_cut_anywhere_gives_whole_rows_or_is_refused(parse):
    for length in range(len(CONTENT)):
        content = CONTENT[:length]
        if b"\n" not in content:
            with pytest.raises(UnreadableLog):
                parse(content)
            continue
        whole = content.count(b"\n") - 1
        assert parse(content).columns["b"].tolist() == [row[1] for row in ROWS[:whole]]


def test_a_line_glued_to_a_cut_one_is_left_out_and_named(parse):
    table = parse(b"a,b,c\n1,2,3\n4,5,67,8,9\n1,1,1\n")
    assert rows(table) == [[1, 2, 3], [1, 1, 1]]
    assert table.damaged == (3,)


@pytest.mark.parametrize("cell", ["x", "1_000", "0x10", "1,2", "1 2", "--5", "1e", "１x"])
def test_a_cell_that_is_no_number_costs_its_row_only(parse, cell):
    table = parse(f"a,b,c\n1,2,3\n4,{cell},6\n7,8,9\n".encode())
    assert rows(table) == [[1, 2, 3], [7, 8, 9]]
    assert table.damaged == (3,)


def test_an_empty_cell_is_nan(parse):
    assert np.isnan(parse(b"a,b,c\n1,,3\n").columns["b"]).tolist() == [True]


def test_columns_that_nobody_wants_may_hold_text(parse):
    table = parse(b'note,a,"b"\n"x, y",1,2\nTrue,3,4\n', ("a", "b"))
    assert rows(table) == [[1, 2], [3, 4]]


@pytest.mark.parametrize("content", [b"", b"\n", b"a,b", b"a,a\n1,2\n", b"a,b\n1,2,3\n", b"\x00\xff\n", b"a,b\nx,y\n"])
def test_what_is_no_table_is_refused_in_a_sentence_with_its_name(parse, content):
    with pytest.raises(UnreadableLog, match=FILE):
        table = parse(content)
        table.require(FILE, "a")


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(RunDirectoryError, match="No such file"):
        read_lines(tmp_path / "none.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    for path in (tmp_path, tmp_path / "pipe.csv", Path("/dev/zero")):
        with pytest.raises(RunDirectoryError, match="not a regular file"):
            read_lines(path)


@pytest.mark.parametrize("number", ["inf", "1e71", "-1e308", "9" * 400])
def test_a_number_that_cannot_be_squared_is_nan(parse, number):
    assert np.isnan(parse(f"a,b,c\n1,{number},3\n".encode()).columns["b"]).tolist() == [True]


@given(st.binary(max_size=300) | st.text(alphabet='ab,"\n\r1.e-\x00n', max_size=80).map(str.encode))
def test_no_bytes_crash_the_parser(parse, content):
    try:
        table = parse(content)
    except UnreadableLog:
        return
    assert len({len(column) for column in table.columns.values()}) <= 1


@given(st.lists(st.tuples(*[st.floats(-1e69, 1e69)] * 3), min_size=1, max_size=5), st.data())
def test_any_numbers_survive_and_any_cut_only_loses_rows(parse, values, data):
    content = ("a,b,c\n" + "".join(",".join(map(repr, row)) + "\n" for row in values)).encode()
    assert rows(parse(content)) == [list(row) for row in values]
    kept = content[: data.draw(st.integers(6, len(content)))]
    assert rows(parse(kept)) == [list(row) for row in values[: kept.count(b"\n") - 1]]


@pytest.mark.parametrize("part", [1, 2, 3, 100])
def test_a_long_table_read_in_parts_is_the_same_table(part, tmp_path, monkeypatch):
    lines = ["a,b,c", "1,2,3", "4,,6", "7,x,9", "", "1,2", "10,11,12"]
    monkeypatch.setattr(table, "PART", part)
    with_damage = [line for line in lines if part > 2 or line not in ("7,x,9", "1,2")]
    whole = parse_table(with_damage, tmp_path, ("a", "b"))
    in_parts = parse_long_table(iter(with_damage), tmp_path, ("a", "b"))
    assert in_parts.damaged == whole.damaged
    assert all(np.array_equal(x, in_parts.columns[name], equal_nan=True) for name, x in whole.columns.items())
