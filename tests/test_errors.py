"""What a user is told of packages that are missing or broken."""

import sys

import pytest

from rlsparse import errors
from rlsparse.errors import UsageError, import_extra, in_one_line


def test_a_package_that_is_there_is_imported():
    assert import_extra("json", "x", "--what") is sys.modules["json"]


def test_a_missing_package_is_named_with_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(UsageError, match=r"^--what needs numba: pip install 'rlsparse\[sparse\]'$"):
        import_extra("numba", "sparse", "--what")


@pytest.mark.parametrize("error", [TypeError("descriptors cannot\nbe created"), SystemError("ABI"), SystemExit(1)])
def test_a_broken_package_is_named_with_what_it_says(error, monkeypatch):
    def fail(name):
        raise error

    monkeypatch.setattr(errors, "import_module", fail)
    with pytest.raises(UsageError, match=rf"installed but fails with {type(error).__name__}: .*") as told:
        import_extra("onnx", "onnx", "--format onnx")
    assert "\n" not in str(told.value)


def test_an_error_that_cannot_be_told_is_told_by_its_kind():
    class Mute(Exception):
        def __str__(self):
            raise ValueError

    assert in_one_line(Mute()) == "Mute: it has no message"
