"""`rlsparse.train(...)`: what the command does, from a script, a thread, a notebook or another process."""

import csv
import inspect
import logging
import os
import pickle
import pydoc
import signal
import subprocess
import sys
import threading
from pathlib import Path

import fake_envs
import numpy as np
import pytest
import tiny
from threadpoolctl import threadpool_info

import rlsparse
from rlsparse import train
from rlsparse.errors import RunDirectoryError, UsageError
from rlsparse.run.device import prepared

FIELDS = {
    "total_steps": 96,
    "num_envs": 2,
    "rollout_length": 8,
    "eval_every": 32,
    "eval_episodes": 2,
    "policy": {"actor_hidden": [8], "critic_hidden": [8]},
    "algorithm": {"epochs": 2, "minibatches": 4},
}
"""As tiny.FLAGS."""

POINT = "fake_envs:Point-v0"


def without_times(path):
    """The rows of progress.csv, but for seconds and the digests, which depend on them."""
    with open(path) as file:
        return [{k: x for k, x in row.items() if k not in ("seconds", "digest")} for row in csv.DictReader(file)]


def test_a_script_trains_what_the_command_trains(run):
    code, *_ = run(*tiny.FLAGS, "--num-seeds", "2", "--run-dir", "typed")
    trained = rlsparse.train(POINT, num_seeds=2, run_dir="written", **FIELDS)
    assert code == 0
    assert Path("written/recipe.toml").read_text() == Path("typed/recipe.toml").read_text()
    assert without_times("written/progress.csv") == without_times("typed/progress.csv")
    assert Path("written/policy.safetensors").read_bytes() == Path("typed/policy.safetensors").read_bytes()
    assert {p.name for p in Path("written").iterdir()} == {p.name for p in Path("typed").iterdir()}
    assert (trained.state, trained.agent) == ("finished", "ppo")


def test_the_result_tells_what_the_directory_holds():
    trained = rlsparse.train(POINT, seed=3, num_seeds=2, **FIELDS)
    rows = trained.progress
    assert [row["seed"] for row in rows if row["total_steps"] == 96] == [3, 4]
    np.testing.assert_array_equal(trained.returns, [row["return_mean"] for row in rows if row["total_steps"] == 96])
    assert trained.summary["return_mean"] == pytest.approx(trained.returns.mean())
    assert trained.path.is_absolute()
    assert trained.path.parent == Path("runs/fake_envs:Point-v0/ppo").absolute()
    assert trained.policy(member=1).seed == 4
    assert trained.policy(best=True).path == trained.path / "policy-best.safetensors"
    assert repr(trained).endswith(": ppo on fake_envs:Point-v0, 2 seeds, finished)")


def test_it_is_silent_unless_asked(capfd):
    rlsparse.train(POINT, **FIELDS)
    assert capfd.readouterr() == ("", "")
    rlsparse.train(POINT, quiet=False, **FIELDS)
    out, err = capfd.readouterr()
    assert out == ""
    assert "96 steps 100.0 %" in err.splitlines()[-1]


def test_mistakes_are_exceptions_and_leave_nothing():
    with pytest.raises(UsageError, match="did you mean num_seeds"):
        rlsparse.train(POINT, num_seed=2)
    with pytest.raises(rlsparse.UsageError, match="--keep-checkpoints is 1|keep"):
        rlsparse.train(POINT, keep_checkpoints=1, **FIELDS)
    with pytest.raises(RunDirectoryError, match="is not a run directory"):
        rlsparse.train(resume="nothing")
    assert not list(Path().iterdir())


def test_a_class_is_an_environment_too():
    trained = rlsparse.train(fake_envs.Point, **FIELDS)
    assert trained.recipe.env == "fake_envs:Point"
    Path("reach.py").write_text("from fake_envs import Point\n")
    filed = rlsparse.train("reach.py:Point", **FIELDS)
    assert filed.recipe.env == f"{Path('reach.py').absolute()}:Point"
    assert filed.path.parent == Path("runs/reach.py:Point/ppo").absolute()
    assert trained.policy().evaluate(2).lengths.min() > 0
    with pytest.raises(UsageError, match="write it to a file, at its top level, or register it"):
        rlsparse.train(type("Local", (fake_envs.Point,), {}), **FIELDS)


# Going on


def stopped(monkeypatch, at=60):
    """Train until Ctrl-C comes after `at` steps."""
    with monkeypatch.context() as patch:
        before, step = fake_envs.steps, fake_envs.Point.step

        def interrupting(env, action):
            if fake_envs.steps - before == at:
                os.kill(os.getpid(), signal.SIGINT)
            return step(env, action)

        patch.setattr(fake_envs.Point, "step", interrupting)
        with pytest.raises(KeyboardInterrupt, match=r"go on with rlsparse.train\(resume='run'\)"):
            rlsparse.train(POINT, run_dir="run", **FIELDS)


def test_ctrl_c_saves_and_the_resumed_run_equals_one_that_was_not_stopped(monkeypatch):
    stopped(monkeypatch)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert '"interrupted"' in Path("run/status.json").read_text()
    resumed = rlsparse.train(POINT, resume="run")
    whole = rlsparse.train(POINT, run_dir="whole", **FIELDS)
    assert resumed.state == "finished"
    np.testing.assert_array_equal(resumed.returns, whole.returns)
    assert Path("run/policy.safetensors").read_bytes() == Path("whole/policy.safetensors").read_bytes()


def test_a_finished_run_that_is_resumed_is_returned_as_it_is():
    first = rlsparse.train(POINT, run_dir="run", **FIELDS)
    again = rlsparse.train(POINT, resume="run")
    assert (again.path, again.recipe, again.state) == (first.path, first.recipe, "finished")


def test_code_that_a_run_names_is_run_only_where_it_is_trusted(monkeypatch):
    stopped(monkeypatch)
    with pytest.raises(UsageError, match="if you trust it, say so"):
        rlsparse.train(resume="run")
    assert rlsparse.train(resume="run", trust=True).state == "finished"
    with pytest.raises(UsageError, match="num_envs does not go with resume"):
        rlsparse.train(POINT, resume="run", num_envs=3)


# In other people's processes


def test_a_handler_of_the_process_stays(monkeypatch):
    def own(number, frame):
        """The process's own way with Ctrl-C."""

    before = signal.signal(signal.SIGINT, own)
    try:
        rlsparse.train(POINT, **FIELDS)
        assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, before)


def test_threads_train_at_once_each_as_if_alone():
    alone = [rlsparse.train(POINT, seed=seed, **FIELDS).returns for seed in range(3)]
    found = {}

    def job(seed):
        found[seed] = rlsparse.train(POINT, seed=seed, **FIELDS).returns

    threads = [threading.Thread(target=job, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal([found[seed] for seed in range(3)], alone)


def blas_threads():
    return [x["num_threads"] for x in threadpool_info() if x["user_api"] == "blas"]


def test_blas_has_its_threads_back_when_the_last_training_ends():
    from threadpoolctl import threadpool_limits

    with threadpool_limits(2, "blas"):
        before = blas_threads()
        first, second = prepared(), prepared()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert set(blas_threads()) == {1}
        second.__exit__(None, None, None)
        assert blas_threads() == before


def test_what_is_logged_is_left_to_the_process(caplog):
    handlers = list(logging.getLogger().handlers)
    rlsparse.train(POINT, **FIELDS)
    assert logging.getLogger().handlers == handlers


# `rlsparse.train` is a function and a module


def python(code, *arguments):
    """Run code in a process of its own; returns what it prints."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join((str(tiny.ROOT), str(tiny.ROOT / "tests")))}
    done = subprocess.run([sys.executable, *arguments, "-c", code], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


BOTH = "print(callable(rlsparse.train), rlsparse.train.main.__name__)"


@pytest.mark.parametrize(
    "first",
    [
        "import rlsparse",
        "import rlsparse, rlsparse.train",
        "import rlsparse.train",
        "from rlsparse import train; import rlsparse; assert rlsparse.train is train",
        "import rlsparse.train as module; import rlsparse; assert rlsparse.train is module",
        "import rlsparse.compare.__main__, rlsparse",
    ],
)
def test_it_is_both_whichever_is_imported_first(first):
    assert python(f"{first}\n{BOTH}") == "True main\n"


def test_importing_the_package_imports_nothing_else():
    loaded = "print([m for m in ('numpy', 'torch', 'gymnasium', 'tyro', 'matplotlib') if m in sys.modules])"
    assert python(f"import sys, rlsparse; rlsparse.UsageError; {loaded}") == "[]\n"


def test_threads_import_it_at_once():
    code = (
        "import threading, rlsparse\n"
        "found = []\n"
        "threads = [threading.Thread(target=lambda: found.append((rlsparse.train, rlsparse.load))) for _ in range(8)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "print(len(found), len(set(found)), callable(found[0][0]))"
    )
    assert python(code) == "8 1 True\n"


def test_modules_that_are_called_are_pickled_by_name():
    for called in (rlsparse.train, rlsparse.compare):
        assert pickle.loads(pickle.dumps(called)) is called
    assert rlsparse.train is train
    assert pickle.loads(pickle.dumps(rlsparse.load)) is rlsparse.load


def test_the_signature_is_that_of_the_function():
    assert list(inspect.signature(rlsparse.train).parameters)[:2] == ["env", "agent"]
    with pytest.raises(TypeError, match=r"rlsparse.train\(\) takes from 0 to 1 positional arguments"):
        rlsparse.train("MlpPolicy", "Hopper")


def test_help_tells_of_the_function():
    for called in (rlsparse.train, rlsparse.compare):
        told = pydoc.render_doc(called, renderer=pydoc.plaintext)
        assert f"{called.__name__}(" in told
        assert inspect.getdoc(called.__call__).splitlines()[0] in told


def test_public_names_are_all_there():
    for name in rlsparse.__all__:
        assert getattr(rlsparse, name) is not None
    assert set(rlsparse.__all__) <= set(dir(rlsparse))
    with pytest.raises(AttributeError, match="module rlsparse has no attribute trian"):
        rlsparse.trian  # noqa: B018
