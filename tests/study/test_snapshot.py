"""What is new in a run directory is put into another, so that a run goes on there as it would have here."""

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import tiny

from rlsparse.errors import Interrupted, RunDirectoryError, StorageError
from rlsparse.run import storage
from rlsparse.study.snapshot import Snapshot, news, put


@pytest.fixture(autouse=True)
def no_wait_for_the_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture
def run(tmp_path):
    return tiny.train(tmp_path / "run")


@pytest.fixture
def there(tmp_path):
    folder = tmp_path / "there"
    folder.mkdir()
    return folder


def contents(folder):
    """What lies in a folder, but for what is hidden."""
    paths = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(x): (folder / x).read_bytes() for x in paths if not any(part.startswith(".") for part in x.parts)}


def stopped_after(run_dir, steps):
    """A run that goes on, or begins, and is told to stop after so many steps."""
    session = tiny.reopen(run_dir) if run_dir.exists() else tiny.begin(run_dir)
    with suppress(Interrupted):
        tiny.go_on(session, lambda: session.total_steps >= steps)
    return run_dir


def test_all_of_a_run_travels_but_what_is_hidden(run, there):
    (run / "tb").mkdir(exist_ok=True)
    (run / "tb" / "events.out.tfevents.1.host.0").write_bytes(b"events")
    put(news(run, {}), there)
    assert contents(there) == contents(run)
    assert "tb/events.out.tfevents.1.host.0" in contents(there)
    assert not (there / ".lock").exists()


def test_what_has_been_seen_is_not_new(run):
    seen = {}
    assert not news(run, seen).empty
    assert news(run, seen).empty


def test_what_was_done_since_is_new_and_what_is_outdated_goes(tmp_path, there):
    run, seen = tmp_path / "run", {}
    for steps in (16, 48, 80):
        new = news(stopped_after(run, steps), seen)
        put(new, there)
        assert new.checkpoints
        assert contents(there) == contents(run)


def test_a_run_goes_on_from_what_came_back_as_it_would_have(tmp_path, there, run):
    put(news(stopped_after(tmp_path / "stopped", 48), {}), there)
    assert tiny.outcome(tiny.resume(there)) == tiny.outcome(run)


def test_a_run_that_was_cut_off_at_any_write_goes_on(tmp_path, run, monkeypatch):
    """The disk, or the process of the study, fails at one write after the other, while a second snapshot is put."""
    seen, write = {}, storage.patiently
    parts = [news(stopped_after(tmp_path / "parts", steps), seen) for steps in (32, 64)]
    expected, writes = tiny.outcome(run), 0
    while True:
        there = tmp_path / f"there-{writes}"
        there.mkdir()
        put(parts[0], there)
        with monkeypatch.context() as failing:
            failing.setattr(storage, "patiently", failing_after(writes, write))
            try:
                put(parts[1], there)
                break
            except StorageError:
                writes += 1
        assert tiny.outcome(tiny.resume(there)) == expected
    assert writes > 5
    assert contents(there) == contents(tmp_path / "parts")


def failing_after(writes, write):
    """`write`, which fails after so many calls."""
    left = [None] * writes

    def written(action):
        if not left:
            raise OSError(28, "No space left on device")
        left.pop()
        return write(action)

    return written


def test_a_checkpoint_that_is_taken_away_while_it_is_read_is_left_out(run, monkeypatch):
    read, gone = Path.read_bytes, []

    def read_after_removal(path):
        if path.parent.name == "96" and not gone:
            gone.append(path)
            os.unlink(path.parent / "learner.safetensors")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", read_after_removal)
    seen = {}
    assert list(news(run, seen).checkpoints) == ["64"]
    assert "checkpoint/96" not in seen


@pytest.mark.parametrize(
    "name",
    ["../out", "a/../../out", "/etc/out", "a//b", "", ".lock", "a/.ssh", "checkpoint/96/x", "a\\b", "C:x", "a\nb"],
)
def test_nothing_is_written_outside(there, name):
    with pytest.raises(RunDirectoryError, match="a file that came back has the name"):
        put(Snapshot(files={name: b"x"}), there)
    assert list(there.parent.rglob("*")) == [there]


@pytest.mark.parametrize(("steps", "file"), [("../1", "x"), ("1", "../x"), ("1.old", "x"), ("٣", "x"), ("1", ".x")])
def test_no_checkpoint_is_written_outside(there, steps, file):
    with pytest.raises(RunDirectoryError, match="a checkpoint that came back has the name"):
        put(Snapshot(checkpoints={steps: {file: b"x"}}), there)
    assert list(there.parent.rglob("*")) == [there]


@pytest.mark.parametrize("name", ["tb", "checkpoint"])
def test_nothing_is_written_through_links(there, tmp_path, run, name):
    outside = tmp_path / "outside"
    outside.mkdir()
    (there / name).symlink_to(outside)
    (run / "tb").mkdir(exist_ok=True)
    (run / "tb" / "events").write_bytes(b"events")
    with pytest.raises(RunDirectoryError, match=f"{name} is a link, and a run is not written through links"):
        put(news(run, {}), there)
    assert not list(outside.iterdir())


def test_a_run_keeps_its_recipe_whatever_comes_back(there, run):
    (there / "recipe.toml").write_bytes(recipe := (run / "recipe.toml").read_bytes())
    put(Snapshot(files={"recipe.toml": recipe}), there)
    with pytest.raises(RunDirectoryError, match="another recipe came back"):
        put(Snapshot(files={"recipe.toml": recipe + b"#", "x": b"x"}), there)
    assert [path.name for path in there.iterdir()] == ["recipe.toml"]


def test_links_do_not_travel(run, there):
    (run / "secret").symlink_to("/etc/hostname")
    put(news(run, {}), there)
    assert not (there / "secret").exists()


def test_a_run_that_somebody_has_removed_does_not_come_back_in_parts(run, there):
    there.rmdir()
    new = news(run, {})
    for part in (new, replace(new, checkpoints={})):
        with pytest.raises(StorageError):
            put(part, there)
    assert not there.exists()
