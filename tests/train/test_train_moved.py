"""A run whose environment's file lies elsewhere now: named in its new place, it goes on as if it had not been moved."""

import pytest
import tiny

import rlsparse
from rlsparse import train
from rlsparse.errors import Interrupted, UsageError
from rlsparse.run import directory
from rlsparse.sim.user_classes import load_object, moved_files
from rlsparse.train.training import how_to_resume
from rlsparse.trained import landscape

REACH = "import fake_envs\nclass Reach(fake_envs.Point): pass\ndef wrapped(env): return env\n"


@pytest.fixture
def moved(tmp_path):
    """A run that was stopped, what it would have been, and the place where its file lies now."""
    (reach := tmp_path / "reach.py").write_text(REACH)
    recipe = tiny.recipe(env=f"{reach}:Reach", wrappers=(f"{reach}:wrapped",))
    whole = tiny.outcome(tiny.train(tmp_path / "whole", recipe))
    session = tiny.begin(tmp_path / "run", recipe)
    with pytest.raises(Interrupted):
        tiny.go_on(session, lambda: session.total_steps >= 48)
    (tmp_path / "new").mkdir()
    reach.rename(tmp_path / "new" / "reach.py")
    yield tmp_path / "run", whole
    moved_files.clear()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_whose_file_was_moved_goes_on_by_its_name_in_the_new_place(moved, workers):
    run, whole = moved
    before = (run / "recipe.toml").read_bytes()
    command = ["--resume", str(run), "--env-workers", str(workers), "--quiet"]
    with pytest.raises(UsageError, match="names the wrapper .* by --wrappers .*/new/reach.py:wrapped or --trust$"):
        train.run_command([*command, "--env", "new/reach.py:Reach"])
    train.run_command([*command, "--env", "new/reach.py:Reach", "--wrappers", "new/reach.py:wrapped"])
    assert tiny.outcome(run) == whole
    assert (run / "recipe.toml").read_bytes() == before
    assert how_to_resume(run, directory.read_recipe(run)).count(f"{run.parent}/new/reach.py") == 2


def test_python_goes_on_with_the_class_itself(moved):
    run, whole = moved
    new = str(run.parent / "new" / "reach.py")
    cls, wrapper = load_object(f"{new}:Reach"), load_object(f"{new}:wrapped")
    rlsparse.train(cls, resume=run, wrappers=[wrapper], env_workers=1)
    assert tiny.outcome(run) == whole


def test_another_file_or_class_is_refused_and_a_copy_of_a_file_that_is_still_there(moved):
    run, _ = moved
    new = run.parent / "new" / "reach.py"
    new.with_name("other.py").write_text(REACH)
    for name in ("new/other.py:Reach", "new/reach.py:wrapped", "Pendulum-v1"):
        with pytest.raises(UsageError, match=f"--env {name}: .* is a run on .*reach.py:Reach, and keeps its recipe"):
            train.run_command(["--resume", str(run), "--env", name])
    with pytest.raises(UsageError, match="--wrappers: .* is a run with .*reach.py:wrapped, and keeps its recipe"):
        train.run_command(["--resume", str(run), "--env", "new/reach.py:Reach", "--wrappers", "new/reach.py:Reach"])
    (run.parent / "reach.py").write_text(REACH)
    with pytest.raises(UsageError, match="--env new/reach.py:Reach: .* keeps its recipe"):
        landscape.run_command([str(run), "--env", "new/reach.py:Reach"])
