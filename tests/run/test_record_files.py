"""Tables that grow are whole in memory, and on the disk as soon as it takes them."""

import errno
import os

import pytest

from rlsparse.errors import StorageError
from rlsparse.run import digests
from rlsparse.run.record_files import RECORDS, RecordFiles

ROW = {"seed": 0, "total_steps": 0, "return_mean": 1.5}


def failing(times, code=errno.EIO):
    """A system call that fails so often, and then does nothing."""
    left = iter(range(times))

    def call(*_):
        if next(left, None) is not None:
            raise OSError(code, os.strerror(code))

    return call


@pytest.fixture
def files(tmp_path):
    return RecordFiles(tmp_path)


def test_rows_appear_whole_in_one_write(files, tmp_path, monkeypatch):
    """Whoever reads the file meanwhile sees all rows of an evaluation or none."""
    files.append("progress.csv", [ROW])
    written, write = [], os.write
    monkeypatch.setattr(os, "write", lambda to, content: (written.append(bytes(content)), write(to, content))[1])
    files.append("progress.csv", [ROW | {"seed": 1}, ROW | {"seed": 2}])
    assert len(written) == 1
    assert written[0].count(b"\n") == 2
    assert (tmp_path / "progress.csv").read_text() == files.texts["progress.csv"]


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EMFILE, errno.EINTR])
def test_a_failure_for_a_moment_is_not_noticed(code, files, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(os, "fsync", failing(2, code))
    files.append("progress.csv", [ROW])
    assert (tmp_path / "progress.csv").read_text() == files.texts["progress.csv"] != ""
    assert caplog.text == ""


def test_rows_that_the_disk_does_not_take_are_written_with_the_next(files, tmp_path, monkeypatch, caplog):
    files.append("progress.csv", [ROW])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(1000, errno.ENOSPC))
        for seed in (1, 2):
            files.append("progress.csv", [ROW | {"seed": seed}])
        with pytest.raises(StorageError, match=r"cannot write .*progress\.csv: No space left on device"):
            files.write()
    assert caplog.text.count("kept in memory") == 1
    files.append("progress.csv", [ROW | {"seed": 3}])
    lines = (tmp_path / "progress.csv").read_text().splitlines()
    assert [line[:1] for line in lines] == ["s", "0", "1", "2", "3"]
    assert digests.first_flaw(lines) is None


def test_half_a_row_that_a_full_disk_took_is_replaced(files, tmp_path, monkeypatch):
    files.append("progress.csv", [ROW])
    real = os.write

    def half(to, content):
        monkeypatch.setattr(os, "write", real)
        real(to, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", half)
    files.append("progress.csv", [ROW | {"seed": 1}])
    assert (tmp_path / "progress.csv").read_text() == files.texts["progress.csv"]


def test_a_table_that_was_taken_away_comes_back_whole(files, tmp_path):
    files.append("progress.csv", [ROW])
    (tmp_path / "progress.csv").unlink()
    files.append("progress.csv", [ROW | {"seed": 1}])
    assert (tmp_path / "progress.csv").read_text() == files.texts["progress.csv"]


def test_a_link_is_replaced_and_not_written_through(files, tmp_path):
    (tmp_path / "mine").write_text("precious")
    files.append("progress.csv", [ROW])
    (tmp_path / "progress.csv").unlink()
    (tmp_path / "progress.csv").symlink_to(tmp_path / "mine")
    files.append("progress.csv", [ROW | {"seed": 1}])
    assert (tmp_path / "mine").read_text() == "precious"
    assert (tmp_path / "progress.csv").read_text() == files.texts["progress.csv"]


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_is_put_back_as_it_was(record, files, tmp_path):
    path = tmp_path / record
    files.append(record, [ROW])
    texts = dict(files.texts)
    for damage in (b"", b"seed,", b"x" * 1000):
        path.write_bytes(damage)
        files.restore(texts)
        assert path.read_text() == texts[record]
    files.restore(dict.fromkeys(texts, ""))
    assert not path.exists()


def test_records_that_a_checkpoint_does_not_hold_are_taken_away(files, tmp_path):
    files.append("progress.csv", [ROW])
    texts = dict(files.texts)
    files.append("probe.csv", [ROW])
    files.restore(texts)
    assert not (tmp_path / "probe.csv").exists()


def test_a_table_without_digests_goes_on_without(files, tmp_path):
    (tmp_path / "progress.csv").write_text("seed,total_steps,return_mean\n0,0,1.5\nhalf a r")
    files.load()
    files.append("progress.csv", [ROW | {"seed": 1}])
    assert (tmp_path / "progress.csv").read_text() == "seed,total_steps,return_mean\n0,0,1.5\n1,0,1.5\n"


def test_appending_to_a_table_on_the_disk_is_as_never_having_stopped(files, tmp_path):
    for seed in range(3):
        again = RecordFiles(tmp_path)
        again.load()
        again.append("progress.csv", [ROW | {"seed": seed}])
        files.append("probe.csv", [ROW | {"seed": seed}])
    assert (tmp_path / "progress.csv").read_text() == (tmp_path / "probe.csv").read_text()
