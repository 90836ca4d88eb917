"""Reading a file of which nothing is known: what is no such file is told in one line, at once, and without memory."""

import json
import os

import pytest

from rlsparse.errors import RunDirectoryError, UsageError
from rlsparse.run.reading import parse_toml, printable, read_bytes, read_json, read_text, read_toml, seal, unseal

BODY = {"state": "running", "total_steps": 96, "reason": "", "seconds": 0.1 + 0.2, "of": [1, None, {"deep": True}]}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.json"


# Which files are opened


def test_a_pipe_is_not_waited_for(path):
    os.mkfifo(path)
    with pytest.raises(RunDirectoryError, match="it is not a regular file"):
        read_bytes(path)


def refused_in_one_line(read, path, error, reason):
    with pytest.raises(error, match=reason) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_a_device_is_not_read_through_a_link_either(path, device):
    path.symlink_to(device)
    with pytest.raises(RunDirectoryError, match="it is not a regular file"):
        read_bytes(path)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(RunDirectoryError, match="it is not a regular file"):
        read_bytes(tmp_path)


@pytest.mark.parametrize("name", ["none", "a\0b", "x" * 300])
def test_a_name_without_a_file_is_named(tmp_path, name):
    with pytest.raises(RunDirectoryError, match=r"^cannot read .*: \w"):
        read_bytes(tmp_path / name)


def test_a_link_that_leads_to_itself_is_told(path):
    path.symlink_to(path)
    with pytest.raises(RunDirectoryError, match="Too many levels"):
        read_bytes(path)


def test_a_large_file_is_refused_before_it_is_read(path):
    with open(path, "wb") as file:
        file.truncate(2**40)
    with pytest.raises(RunDirectoryError, match="has 1,099,511,627,776 bytes, expected at most 67,108,864"):
        read_bytes(path)


def test_as_many_bytes_as_are_allowed_are_read(path):
    path.write_bytes(b"abc")
    assert read_bytes(path, 3) == b"abc"
    with pytest.raises(RunDirectoryError, match="has 3 bytes, expected at most 2"):
        read_bytes(path, 2)


def test_a_link_to_a_file_is_followed(path, tmp_path):
    (tmp_path / "other").write_text("ü")
    path.symlink_to("other")
    assert read_text(path) == "ü"


# Plain values


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "nests deeper than 64 levels"),
        ('{"a":' * 100_000, "nests deeper than 64 levels"),
        ('{"a":' * 65 + "1" + "}" * 65, "nests deeper than 64 levels"),
        ('{"a": ' + "9" * 5_000 + "}", "4300 digits"),
        ('{"a": NaN}', "NaN is no number"),
        ('{"a": -Infinity}', "-Infinity is no number"),
        ("[1]", "does not hold a JSON object"),
        ("null", "does not hold a JSON object"),
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("\ufeff{}", "BOM"),
    ],
)
def test_what_is_no_json_object_is_told_in_one_line(path, text, reason):
    path.write_text(text)
    refused_in_one_line(read_json, path, RunDirectoryError, reason)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a = " + "[" * 100_000, "nests deeper than 64 levels"),
        ("a = " + "{a=" * 50_000, "nests deeper than 64 levels"),
        (".".join("a" * 100) + " = 1", "nests deeper than 64 levels"),
        (".".join("a" * 100_000) + " = 1", "a line has more than 256 dots"),
        ("a = " + "9" * 5_000, "4300 digits"),
        ("a = 1\na = 2", "Cannot overwrite"),
        ("a", "Expected"),
        ("x" * 2**18 + "y", "has 262,145 bytes, expected at most 262,144"),
    ],
)
def test_what_is_no_toml_file_is_told_in_one_line(path, text, reason):
    path.write_text(text)
    refused_in_one_line(read_toml, path, UsageError, reason)


def test_a_toml_document_is_plain_values():
    assert parse_toml('a.b = [1, 2.5]\n[c]\nd = "x"', "text") == {"a": {"b": [1, 2.5]}, "c": {"d": "x"}}


# Seals


def test_what_was_sealed_comes_back(path):
    path.write_text(seal(BODY) + "\n")
    assert read_json(path) == BODY


def test_the_seal_comes_first_and_people_can_read_the_rest():
    lines = seal(BODY).splitlines()
    assert lines[1].startswith(' "sha256": "')
    assert ' "total_steps": 96,' in lines


def test_every_changed_bit_is_found():
    text = seal(BODY).encode()
    for at in range(len(text)):
        for bit in (1, 2, 4, 8, 16, 32, 64):
            changed = bytearray(text)
            changed[at] ^= bit
            with pytest.raises(RunDirectoryError, match="is damaged"):
                unseal(changed.decode(), "file")


def test_a_file_without_a_seal_is_taken_as_it_is_unless_it_must_have_one(path):
    path.write_text(json.dumps(BODY | {"format": 1}))
    assert read_json(path)["total_steps"] == 96
    with pytest.raises(RunDirectoryError, match="its bytes are not those that were written"):
        unseal(path.read_text(), path, 1)


# What is shown


def test_no_text_of_a_file_moves_the_cursor_or_writes_lines(path):
    path.write_text(seal({"agent\x1b[2J": ["x\r\nrlsparse: all is well", {"y": "\u202eevil\x9b"}]}))
    assert read_json(path) == {"agent [2J": ["x  rlsparse: all is well", {"y": " evil "}]}


@pytest.mark.parametrize("text", ["", "Hopper-v5", "größe 大 $x_{$ é"])
def test_a_text_that_can_be_printed_is_as_it_was(text):
    assert printable(text) == text
