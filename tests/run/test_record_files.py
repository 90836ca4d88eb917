"""Tables that grow are whole in memory, and on the disk as soon as it takes them."""

import errno
import hashlib
import os

import pytest

from rlsparse.errors import RunDirectoryError, StorageError
from rlsparse.run import digests, record_files
from rlsparse.run.checkpoint import File
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
    assert (tmp_path / "progress.csv").read_text() == files.tables["progress.csv"].decode()


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EMFILE, errno.EINTR])
def test_a_failure_for_a_moment_is_not_noticed(code, files, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(os, "fsync", failing(2, code))
    files.append("progress.csv", [ROW])
    assert (tmp_path / "progress.csv").read_text() == files.tables["progress.csv"].decode() != ""
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
    assert (tmp_path / "progress.csv").read_text() == files.tables["progress.csv"].decode()


def test_a_table_that_was_taken_away_comes_back_whole(files, tmp_path):
    files.append("progress.csv", [ROW])
    (tmp_path / "progress.csv").unlink()
    files.append("progress.csv", [ROW | {"seed": 1}])
    assert (tmp_path / "progress.csv").read_text() == files.tables["progress.csv"].decode()


def test_a_link_is_replaced_and_not_written_through(files, tmp_path):
    (tmp_path / "mine").write_text("precious")
    files.append("progress.csv", [ROW])
    (tmp_path / "progress.csv").unlink()
    (tmp_path / "progress.csv").symlink_to(tmp_path / "mine")
    files.append("progress.csv", [ROW | {"seed": 1}])
    assert (tmp_path / "mine").read_text() == "precious"
    assert (tmp_path / "progress.csv").read_text() == files.tables["progress.csv"].decode()


def put_back(files, state):
    files.restore(state["records"], {name: File(**told) for name, told in state["heads"].items()})


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_is_put_back_as_it_was(record, files, tmp_path):
    path = tmp_path / record
    files.append(record, [ROW])
    whole, state = path.read_bytes(), files.state()
    for damage in (b"", b"seed,", b"x" * 1000):
        path.write_bytes(damage)
        put_back(files, state)
        assert path.read_bytes() == whole
    files.restore({}, {})
    assert not path.exists()


def test_records_that_a_checkpoint_does_not_hold_are_taken_away(files, tmp_path):
    files.append("progress.csv", [ROW])
    state = files.state()
    files.append("probe.csv", [ROW])
    put_back(files, state)
    assert not (tmp_path / "probe.csv").exists()


@pytest.fixture
def long(files, tmp_path, monkeypatch):
    """A table of which a checkpoint holds the last rows only, what the checkpoint holds, and 2 rows after it."""
    monkeypatch.setattr(record_files, "LONGEST_TAIL", 100)
    (tmp_path / "checkpoint").mkdir()
    for steps in range(20):
        files.append("progress.csv", [ROW | {"total_steps": steps}])
    state, whole = files.state(), (tmp_path / "progress.csv").read_bytes()
    for steps in range(20, 28):
        files.append("progress.csv", [ROW | {"total_steps": steps}])
    assert len(state["records"]["progress.csv"]) <= 100 < state["heads"]["progress.csv"]["size"] < len(whole)
    return state, whole


def test_a_checkpoint_holds_the_last_rows_of_a_long_table_and_what_vouches_for_the_others(long):
    state, whole = long
    told = state["heads"]["progress.csv"]
    assert hashlib.sha256(whole[: told["size"]]).hexdigest() == told["sha256"]
    assert state["records"]["progress.csv"] == whole[told["size"] :].decode()


@pytest.mark.parametrize("damaged", ["progress.csv", "checkpoint/progress.rows"])
@pytest.mark.parametrize("damage", [lambda _: b"", lambda x: x[:50], lambda x: b"?" + x[1:], None])
def test_a_long_table_comes_back_from_itself_or_from_its_copy(damaged, damage, long, tmp_path):
    (state, whole), path = long, tmp_path / damaged
    path.write_bytes(damage(path.read_bytes())) if damage else path.unlink()
    again = RecordFiles(tmp_path)
    put_back(again, state)
    head = state["heads"]["progress.csv"]["size"]
    assert (tmp_path / "progress.csv").read_bytes() == whole
    assert (tmp_path / "checkpoint" / "progress.rows").read_bytes() == whole[:head]
    assert again.state() == state
    again.append("progress.csv", [ROW | {"total_steps": 20}])
    assert digests.first_flaw((tmp_path / "progress.csv").read_text().splitlines()) is None


def test_a_long_table_that_is_damaged_in_both_places_is_lost_and_said_to_be(long, tmp_path):
    for path in (tmp_path / "progress.csv", tmp_path / "checkpoint" / "progress.rows"):
        path.write_bytes(b"?" + path.read_bytes()[1:])
    with pytest.raises(RunDirectoryError, match=r"progress\.csv is damaged, and .*progress\.rows too"):
        put_back(RecordFiles(tmp_path), long[0])


def test_before_the_first_checkpoint_there_is_no_copy(files, tmp_path, monkeypatch):
    monkeypatch.setattr(record_files, "LONGEST_TAIL", 100)
    for _ in range(10):
        files.append("progress.csv", [ROW])
    assert files.state()["heads"] == {}
    assert not (tmp_path / "checkpoint").exists()


def test_an_append_to_a_long_table_and_its_state_cost_as_much_as_to_a_short_one(files, tmp_path, monkeypatch):
    """Bytes are counted, for time is not the same twice."""
    monkeypatch.setattr(record_files, "LONGEST_TAIL", 2000)
    (tmp_path / "checkpoint").mkdir()
    files.append("progress.csv", [ROW] * 10_000)
    written, write = [], os.write
    monkeypatch.setattr(os, "write", lambda to, content: (written.append(len(content)), write(to, content))[1])
    for _ in range(1000):
        files.append("progress.csv", [ROW])
        assert len(files.state()["records"]["progress.csv"]) <= 2000
    row = len((tmp_path / "progress.csv").read_bytes().splitlines(keepends=True)[-1])
    assert sum(written) <= 2 * 1000 * (row + 2)


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
