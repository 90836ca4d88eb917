"""Checkpoints: what is written comes back, damage is always seen, and there is always a whole one left."""

import errno
import json
import logging
import os
import pickle
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlsparse.errors import RunDirectoryError, StorageError
from rlsparse.run import checkpoint, storage
from rlsparse.run.checkpoint import Checkpoint
from rlsparse.run.reading import seal


def contents(seed):
    """A checkpoint with every kind of array and value that training saves."""
    rng = np.random.default_rng(seed)
    learner = {
        "params": rng.standard_normal((2, 30)).astype(np.float32),
        "counters.train": rng.integers(0, 2**60, 2),
        "not contiguous": rng.standard_normal((4, 6)).T,
        "scalar": np.array(1.5),
        "empty": np.zeros((0, 3)),
        "nan": np.array([np.nan, np.inf, -0.0]),
    }
    collector = {"ended": rng.random(5) < 0.5, "words": rng.integers(0, 2**64, (2, 6), np.uint64)}
    values = {"random": [rng.bit_generator.state], "evaluated_at": 32, "seconds": 0.1 + 0.2, "progress": "a,b\n1,2\n"}
    return Checkpoint({"learner": learner, "collector": collector}, values)


def same(a, b):
    """Equal to the last bit, shapes and types included."""
    kinds = [
        {(group, name): (x.dtype, x.shape, x.tobytes()) for group, xs in c.arrays.items() for name, x in xs.items()}
        for c in (a, b)
    ]
    return kinds[0] == kinds[1] and a.values == b.values


@pytest.fixture
def folder(tmp_path):
    """Two checkpoints: of 100 steps with contents(1), of 200 with contents(2)."""
    checkpoint.save(tmp_path / "checkpoint", 100, contents(1))
    checkpoint.save(tmp_path / "checkpoint", 200, contents(2))
    return tmp_path / "checkpoint"


def test_what_is_saved_comes_back_bit_for_bit(folder):
    assert same(checkpoint.load_latest(folder), contents(2))


def test_arrays_that_come_back_can_be_written_to(folder):
    """Training goes on in them."""
    for arrays in checkpoint.load_latest(folder).arrays.values():
        assert all(x.flags.writeable for x in arrays.values())


@given(st.lists(st.integers(1, 300), min_size=1, unique=True), st.integers(1, 400))
def test_the_first_one_at_or_after_each_multiple_stays_however_often_they_are_thinned_out(steps, every):
    steps, found = sorted(steps), []
    for at in steps:
        found = sorted(checkpoint.kept([*found, at], 2, 300, every))
    wanted = {min(at for at in steps if at >= mark) for mark in range(every, steps[-1] + 1, every)}
    assert found == sorted(wanted | set(steps[-2:]))


def test_the_two_newest_are_kept_in_order_of_their_steps(folder):
    checkpoint.save(folder, 1000, contents(3))
    assert sorted(os.listdir(folder)) == ["1000", "200"]
    assert same(checkpoint.load_latest(folder), contents(3))


def test_saving_the_same_steps_again_replaces(folder):
    checkpoint.save(folder, 200, contents(3))
    assert sorted(os.listdir(folder)) == ["100", "200"]
    assert same(checkpoint.load_latest(folder), contents(3))


def test_nothing_in_it_is_a_pickle(folder):
    for path in folder.rglob("*"):
        assert path.is_dir() or path.suffix in (".safetensors", ".json")


# Which ones stay


@pytest.mark.parametrize(("count", "stay"), [(2, {90, 100}), (3, {50, 90, 100}), (6, {20, 40, 60, 80, 90, 100})])
def test_those_that_stay_are_spread_over_the_budget(count, stay):
    assert checkpoint.kept(range(0, 101, 10), count, 100) == stay


@given(
    steps=st.lists(st.integers(0, 1200), min_size=1, max_size=40, unique=True),
    count=st.integers(2, 12),
    budget=st.integers(1, 1000),
)
def test_thinned_out_at_every_save_they_are_those_of_all(steps, count, budget):
    steps, found = sorted(steps), set()
    for i, at in enumerate(steps):
        found = checkpoint.kept([*found, at], count, budget)
        assert len(found) <= count
        assert set(steps[max(0, i - 1) : i + 1]) <= found, "the two newest"
    assert found == checkpoint.kept(steps, count, budget)
    for mark in (budget * i / (count - 1) for i in range(1, count - 1)):
        assert min((at for at in steps if at >= mark), default=steps[-1]) in found


def test_as_many_as_asked_for_stay_on_the_disk(tmp_path):
    for steps in range(0, 1001, 100):
        checkpoint.save(tmp_path, steps, contents(1), 4, 1000)
    assert sorted(map(int, os.listdir(tmp_path))) == [400, 700, 900, 1000]


# Damage

FILES = ("learner.safetensors", "collector.safetensors", "manifest.json")


def assert_passed_over(folder, file, caplog):
    """The checkpoint of 200 is not used, that of 100 is, and one warning names the file."""
    caplog.clear()
    assert same(checkpoint.load_latest(folder), contents(1))
    (warning,) = caplog.records
    assert warning.levelno == logging.WARNING
    assert str(file) in warning.getMessage()
    assert str(folder / "100") in warning.getMessage()
    assert "\n" not in warning.getMessage()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_a_cut_file_is_seen(name, share, folder, caplog):
    file = folder / "200" / name
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    assert_passed_over(folder, file, caplog)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_seen(name, folder, caplog):
    (folder / "200" / name).unlink()
    assert_passed_over(folder, folder / "200" / name, caplog)


def test_any_changed_byte_is_seen(folder, caplog):
    """400 bytes anywhere, the manifest's own digest and white space included, each changed to any other."""
    rng = np.random.default_rng(0)
    files = [(folder / "200" / name, (folder / "200" / name).read_bytes()) for name in FILES]
    places = [(file, content, at) for file, content in files for at in range(len(content))]
    for place in rng.choice(len(places), 400, replace=False):
        file, content, at = places[place]
        changed = bytearray(content)
        changed[at] ^= int(rng.integers(1, 256))
        file.write_bytes(changed)
        assert_passed_over(folder, file, caplog)
        file.write_bytes(content)


def test_white_space_of_the_manifest_counts_too(folder, caplog):
    manifest = folder / "200" / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    assert_passed_over(folder, manifest, caplog)


def test_swapped_files_are_seen(folder, caplog):
    for name in FILES[:2]:
        shutil.copy(folder / "100" / name, folder / "200" / name)
    assert_passed_over(folder, folder / "200" / FILES[0], caplog)


def test_with_no_whole_checkpoint_left_the_newest_damage_is_named_and_nothing_else_said(folder, caplog):
    for steps in ("100", "200"):
        (folder / steps / "manifest.json").write_bytes(b"{}")
    with pytest.raises(RunDirectoryError, match=r"200/manifest\.json is damaged.*no whole checkpoint is left"):
        checkpoint.load_latest(folder)
    assert caplog.records == []


def test_before_the_first_checkpoint_there_is_none(tmp_path):
    assert checkpoint.load_latest(tmp_path / "checkpoint") is None


def test_a_later_format_is_refused_by_number(folder):
    shutil.rmtree(folder / "100")
    manifest = folder / "200" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 7}))
    with pytest.raises(RunDirectoryError, match="has format 7; this version reads format 1"):
        checkpoint.load_latest(folder)


def test_a_damaged_checkpoint_goes_once_training_has_gone_on_from_the_one_before(folder, caplog):
    (folder / "200" / "manifest.json").unlink()
    checkpoint.load_latest(folder)
    checkpoint.save(folder, 150, contents(3))
    assert sorted(os.listdir(folder)) == ["100", "150"]
    caplog.clear()
    assert same(checkpoint.load_latest(folder), contents(3))
    assert caplog.records == []


# Crashes and full disks while saving


class Crash(BaseException):
    """The process dies here."""


def count_down(monkeypatch, remaining, error):
    """Let `remaining` calls that change the disk succeed, then raise `error()` at all later ones."""
    left = [remaining]

    def limited(real):
        def call(*arguments, **options):
            left[0] -= 1
            if left[0] < 0:
                raise error()
            return real(*arguments, **options)

        return call

    for name in ("rename", "mkdir", "fsync", "unlink", "rmdir"):
        monkeypatch.setattr(os, name, limited(getattr(os, name)))
    monkeypatch.setattr(storage, "open", limited(open), raising=False)
    return left


def full_disk():
    return OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("steps", [200, 300], ids=["replacing the newest", "writing a new one"])
@pytest.mark.parametrize("error", [Crash, full_disk], ids=["crash", "full disk"])
def test_a_crash_or_a_full_disk_at_any_moment_leaves_a_whole_checkpoint(steps, error, folder, tmp_path, monkeypatch):
    for moment in range(100):
        shutil.copytree(folder, trial := tmp_path / str(moment))
        with monkeypatch.context() as patch:
            left = count_down(patch, moment, error)
            try:
                checkpoint.save(trial, steps, contents(3))
                saved = True
            except (Crash, StorageError):
                saved = False
        found = checkpoint.load_latest(trial)
        assert same(found, contents(3)) or (not saved and same(found, contents(2)))

        checkpoint.save(trial, 400, contents(4))
        assert same(checkpoint.load_latest(trial), contents(4))
        assert all(path.name.isdecimal() or path.name == f"{steps}.old" for path in trial.iterdir())
        if left[0] >= 0:
            break
    assert 10 < moment < 99


def test_a_replacement_that_was_cut_short_can_be_replaced_itself(folder):
    """Killed between the new name and the end of the old directory, then resumed and stopped at once."""
    shutil.copytree(folder / "200", folder / "200.old")
    checkpoint.save(folder, 200, contents(3))
    assert sorted(os.listdir(folder)) == ["100", "200"]
    assert same(checkpoint.load_latest(folder), contents(3))


def test_half_written_ones_are_ignored_and_removed(folder, caplog):
    shutil.copytree(folder / "200", folder / ".tmp-300")
    (folder / ".tmp-300" / "manifest.json").write_text("{}")
    assert same(checkpoint.load_latest(folder), contents(2))
    assert caplog.records == []
    checkpoint.save(folder, 300, contents(3))
    assert sorted(os.listdir(folder)) == ["200", "300"]


def test_a_full_disk_is_named_and_nothing_half_written_fills_it_further(folder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(full_disk()))
        with pytest.raises(StorageError, match="cannot write .*/300: No space left on device"):
            checkpoint.save(folder, 300, contents(3))
    assert sorted(os.listdir(folder)) == ["100", "200"]


# Files made to harm


class Marker:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("vouched", [False, True], ids=["as it is", "with a manifest that vouches for it"])
def test_a_pickle_is_refused_and_not_run(name, vouched, folder, tmp_path):
    shutil.rmtree(folder / "100")
    payload = pickle.dumps(Marker(tmp_path / "marker"))
    (folder / "200" / name).write_bytes(payload)
    if vouched and name != "manifest.json":
        files = {file: (folder / "200" / file).read_bytes() for file in FILES[:2]}
        body = checkpoint._describe(files, {})
        (folder / "200" / "manifest.json").write_bytes(seal(body).encode())
    with pytest.raises(RunDirectoryError, match=name):
        checkpoint.load_latest(folder)
    assert not (tmp_path / "marker").exists()
    pickle.loads(payload).close()
    assert (tmp_path / "marker").exists()  # it would have been, had it been run
