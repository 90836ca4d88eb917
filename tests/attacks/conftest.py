"""One run whose files are attacked: without a table of its own, but with all else."""

import hostile
import pytest
import reading_all
import tiny


@pytest.fixture(scope="session")
def good_run(tmp_path_factory):
    """A run that was interrupted at its end, with one checkpoint."""
    run_dir = tiny.train(tmp_path_factory.mktemp("attacks") / "run")
    reading_all.newest(run_dir)
    hostile.resealed(run_dir / "status.json", lambda body: body | {"state": "interrupted"})
    return run_dir


@pytest.fixture(autouse=True)
def disk_does_not_wait(monkeypatch):
    """Nothing here is about power cuts."""
    monkeypatch.setattr("os.fsync", lambda _: None)
