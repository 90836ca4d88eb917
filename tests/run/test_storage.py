"""Files are replaced whole or not at all, and a failure says which file and why."""

import errno
import os

import pytest

from rlsparse.errors import StorageError
from rlsparse.run import storage


def failing(code):
    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    return fail


def test_a_file_is_created_and_replaced(tmp_path):
    path = tmp_path / "status.json"
    for content in (b"first", "second, as text: ü"):
        storage.write_atomic(path, content)
        assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert os.listdir(tmp_path) == ["status.json"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failure_at_any_step_leaves_the_old_file_and_nothing_beside(call, tmp_path, monkeypatch):
    path = tmp_path / "status.json"
    storage.write_atomic(path, "old")
    monkeypatch.setattr(os, call, failing(errno.ENOSPC))
    with pytest.raises(StorageError, match=r"cannot write .*status\.json.*: No space left on device"):
        storage.write_atomic(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["status.json"]


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EMFILE, errno.EINTR])
@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
def test_what_fails_for_a_moment_is_tried_again(call, code, tmp_path, monkeypatch):
    real, failures = getattr(os, call), iter(range(3))

    def unsteady(*arguments, **options):
        return failing(code)() if next(failures, None) is not None else real(*arguments, **options)

    monkeypatch.setattr(os, call, unsteady)
    storage.write_atomic(tmp_path / "status.json", "new")
    assert (tmp_path / "status.json").read_text() == "new"
    assert os.listdir(tmp_path) == ["status.json"]


def test_what_no_wait_mends_is_told_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(storage.time, "sleep", lambda _: pytest.fail("waited"))
    monkeypatch.setattr(os, "open", failing(errno.EROFS))
    with pytest.raises(StorageError, match="Read-only file system"):
        storage.write_atomic(tmp_path / "status.json", "new")


def test_a_link_is_replaced_and_not_written_through(tmp_path):
    (tmp_path / "mine").write_text("precious")
    (tmp_path / "status.json").symlink_to(tmp_path / "mine")
    storage.write_atomic(tmp_path / "status.json", "new")
    assert (tmp_path / "mine").read_text() == "precious"
    assert (tmp_path / "status.json").read_text() == "new"


def test_what_a_killed_process_left_beside_can_be_removed(tmp_path, monkeypatch):
    path = tmp_path / "status.json"
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", failing(errno.EROFS))
        patch.setattr(os, "unlink", failing(errno.EIO))  # killed before it could clean up
        with pytest.raises(StorageError):
            storage.write_atomic(path, "new")
    assert len(os.listdir(tmp_path)) == 1
    storage.write_atomic(path, "newer")
    storage.remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == ["status.json"]


def test_bytes_are_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    order = []
    for call in ("fsync", "replace"):
        real = getattr(os, call)
        monkeypatch.setattr(os, call, lambda *a, call=call, real=real: (order.append(call), real(*a))[1])
    storage.write_atomic(tmp_path / "file", "content")
    assert order == ["fsync", "replace", "fsync"]  # the file, its name, the directory


def test_others_may_read_what_the_umask_lets_them(tmp_path):
    before = os.umask(0o022)
    try:
        storage.write_atomic(tmp_path / "file", "content")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StorageError, match="missing/.*No such file or directory"):
        storage.write_atomic(tmp_path / "missing" / "file", "content")


def test_pauses_grow_from_attempt_to_attempt(tmp_path, monkeypatch):
    waited = []
    monkeypatch.undo()  # the pauses that all tests go without
    monkeypatch.setattr(storage.time, "sleep", waited.append)
    monkeypatch.setattr(os, "replace", failing(errno.EIO))
    with pytest.raises(StorageError):
        storage.write_atomic(tmp_path / "status.json", "new")
    assert waited == sorted(waited)
    assert len(waited) == 3


def test_names_of_new_folders_are_synced_though_it_fails_for_a_moment(tmp_path, monkeypatch):
    synced, real, failures = [], os.fsync, iter(range(1))

    def unsteady(descriptor):
        if next(failures, None) is not None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", unsteady)
    storage.make_folder(tmp_path / "runs" / "one", "make")
    assert sorted(synced) == [str(tmp_path), str(tmp_path / "runs")]
