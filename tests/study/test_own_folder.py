"""Jobs of one user find each other's files in one folder of a machine, which nobody else has made."""

import os
import stat

import pytest

from rlsparse.errors import StorageError
from rlsparse.study.own_folder import own_folder


@pytest.fixture(autouse=True)
def temporary_files(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_it_is_one_folder_for_this_user_alone(tmp_path):
    folder = own_folder("jobs")
    assert folder == own_folder("jobs")
    assert folder.parent == tmp_path
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_that_of_another_user_is_refused(monkeypatch):
    folder = own_folder("jobs")
    user = os.getuid()
    monkeypatch.setattr("os.getuid", lambda: user + 1)
    folder.rename(folder.with_name(f"rlsparse-jobs-{user + 1}"))
    with pytest.raises(StorageError, match=f"rlsparse-jobs-{user + 1} is another user's: remove it, or set TMPDIR"):
        own_folder("jobs")


def test_a_link_is_refused(tmp_path):
    own_folder("jobs").rename(tmp_path / "elsewhere")
    (tmp_path / f"rlsparse-jobs-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="is another user's"):
        own_folder("jobs")
