"""One run whose files are attacked: without a table of its own, but with all else."""

import hostile
import pytest
import reading_all
import tiny

from rlsparse.run import policy_file
from rlsparse.run.warm_start import with_policy


@pytest.fixture(scope="session")
def good_run(tmp_path_factory):
    """A run that was interrupted at its end, with one checkpoint.

    With arguments and a wrapper, begun with a trained policy; a callback with a state has changed its task.
    """
    folder = tmp_path_factory.mktemp("attacks")
    recipe = tiny.recipe(env="fake_envs:Windy", env_kwargs={"wind": 0.01, "max_episode_steps": 5})
    recipe = tiny.replace(recipe, wrappers=("fake_envs.Doubled",))
    trained = tiny.train(folder / "trained", recipe)
    run_dir = reading_all.train(folder / "run", with_policy(recipe, str(trained), policy_file.load))
    reading_all.newest(run_dir)
    hostile.resealed(run_dir / "status.json", lambda body: body | {"state": "interrupted"})
    return run_dir


@pytest.fixture(autouse=True)
def disk_does_not_wait(monkeypatch):
    """Nothing here is about power cuts."""
    monkeypatch.setattr("os.fsync", lambda _: None)
