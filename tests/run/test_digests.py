"""A row that is not as it was written is found, whatever became of it."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from rlsparse.run import digests

LINES = ["seed,total_steps,return_mean", "0,0,1.5", "0,100,102.35", "0,200,-3.0"]
STAMPED = digests.stamp(LINES)


def test_a_digest_is_of_the_row_and_of_the_whole_line_before_it():
    expected = int(hashlib.sha256(b"seed,total_steps,return_mean,digest\n0,0,1.5").hexdigest()[:12], 16)
    assert STAMPED[:2] == ["seed,total_steps,return_mean,digest", f"0,0,1.5,{expected}"]


def test_a_digest_is_a_number_that_a_spreadsheet_keeps():
    assert all(int(float(line.rpartition(",")[2])) == int(line.rpartition(",")[2]) for line in STAMPED[1:])


def test_rows_added_later_are_as_if_written_at_once():
    assert STAMPED[:2] + digests.stamp(LINES[2:], STAMPED[1]) == STAMPED


def test_sound_rows_have_no_flaw():
    assert digests.first_flaw(STAMPED) is None
    assert digests.first_flaw([]) is None


def test_rows_that_were_taken_out_or_put_elsewhere_are_found():
    head, one, two, three = STAMPED
    assert digests.first_flaw([head, two, three]) == 2
    assert digests.first_flaw([head, one, three]) == 3
    assert digests.first_flaw([head, two, one, three]) == 2


@given(st.data())
def test_any_changed_character_is_found(data):
    text = "\n".join(STAMPED)
    at = data.draw(st.sampled_from([i for i in range(len(text)) if text[i] != "\n"]))
    other = data.draw(st.characters(codec="ascii", exclude_characters="\n" + text[at]))
    assert digests.first_flaw((text[:at] + other + text[at + 1 :]).split("\n")) is not None


def test_the_name_of_the_column_is_missed_where_there_is_one_row_or_more():
    for rows in (1, 2, 3):
        assert digests.first_flaw([f"{LINES[0]},digesu", *STAMPED[1 : 1 + rows]]) == 1
    assert digests.first_flaw([f"{LINES[0]},digesu"]) is None


def test_a_table_without_digests_has_no_flaw():
    assert digests.first_flaw(LINES) is None
