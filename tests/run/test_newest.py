"""A folder of runs means the run that was begun last, whatever was written last."""

import logging
import os
from pathlib import Path

import pytest

from rlsparse.errors import RlsparseError
from rlsparse.run import cards
from rlsparse.run.directory import read_recipe
from rlsparse.run.foreign import COMMAND
from rlsparse.run.like import recipe_like
from rlsparse.run.named_policy import find_policy
from rlsparse.run.newest import newest_run, runs_below
from rlsparse.run.reading import seal


def begun(folder, started=None):
    """A run directory, as far as it is looked at here."""
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text("")
    if started is not None:
        (folder / "versions.json").write_text(seal({"started": started}))
    return folder


@pytest.fixture
def runs(tmp_path):
    """Three runs of two environments; the second was begun last."""
    folder = tmp_path / "runs"
    begun(folder / "Ant-v5" / "ppo" / "a", "2026-11-20T10:00:00+00:00")
    begun(folder / "Hopper-v5" / "ppo" / "b", "2026-11-20T12:00:00+01:00")
    begun(folder / "Hopper-v5" / "trpo" / "c", "2026-11-20T10:59:59+00:00")
    return folder


def test_the_newest_by_its_records_is_taken_and_commands_tell_it(runs, capsys, caplog):
    os.utime(runs / "Ant-v5" / "ppo" / "a", (2**32, 2**32))
    told = f"{runs}: taking its newest run, {runs / 'Hopper-v5' / 'ppo' / 'b'}"
    before = COMMAND.set(True)
    assert newest_run(runs) == runs / "Hopper-v5" / "ppo" / "b"
    COMMAND.reset(before)
    assert capsys.readouterr().err == f"{told}\n"
    with caplog.at_level(logging.INFO, "rlsparse"):
        newest_run(runs)
    assert capsys.readouterr().err == ""
    assert caplog.messages == [told]
    assert newest_run(runs / "Hopper-v5" / "trpo").name == "c"


def test_a_run_that_holds_the_file_goes_before_newer_ones_that_do_not(runs):
    (runs / "Ant-v5" / "ppo" / "a" / "policy.safetensors").touch()
    assert newest_run(runs, "policy.safetensors").name == "a"
    assert newest_run(runs / "Hopper-v5", "policy.safetensors").name == "b"


def test_a_run_and_what_holds_no_run_are_returned_as_they_are(runs, tmp_path, capsys):
    for path in (runs / "Ant-v5" / "ppo" / "a", tmp_path / "none", tmp_path / "none" / "policy.safetensors"):
        assert newest_run(path) == path
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("damage", [None, "", "{", seal({"started": 3}), seal({"started": "yesterday"}), seal({})])
def test_a_run_that_does_not_say_when_it_was_begun_is_dated_by_its_name(damage, tmp_path):
    begun(tmp_path / "ppo" / "20261120-201348-3059", "2026-11-20T20:13:48")
    run = begun(tmp_path / "ppo" / "20261121-201348-0000")
    if damage is not None:
        (run / "versions.json").write_text(damage)
    begun(tmp_path / "ppo" / "zzz")
    assert [path.name for path in runs_below(tmp_path)] == ["20261121-201348-0000", "20261120-201348-3059", "zzz"]


def test_runs_begun_in_the_same_second_are_ordered_by_name(tmp_path):
    for name in ("20261120-201348-3059", "20261120-201348-ffff"):
        begun(tmp_path / name, "2026-11-20T20:13:48+00:00")
    assert newest_run(tmp_path).name == "20261120-201348-ffff"


def test_neither_links_nor_what_lies_in_a_run_or_far_below_is_looked_at(runs, tmp_path):
    begun(runs / "Ant-v5" / "ppo" / "a" / "inside", "2027-01-01T00:00:00+00:00")
    begun(tmp_path / "elsewhere" / "d", "2027-01-01T00:00:00+00:00")
    (runs / "link").symlink_to(tmp_path / "elsewhere")
    begun(runs / "1" / "2" / "3" / "4" / "5", "2027-01-01T00:00:00+00:00")
    assert newest_run(runs).name == "b"


@pytest.mark.parametrize("name", ["x" * 5000, "/".join(["x" * 5000] * 2), "a\0b", "/dev/null/x"])
def test_a_name_that_no_file_can_have_is_one_that_is_not_there(name):
    readers = (lambda: find_policy(name, None), lambda: recipe_like(name, None, False), lambda: cards.agent(name))
    for read in (*readers, lambda: read_recipe(newest_run(Path(name)))):
        with pytest.raises(RlsparseError):
            read()
