"""`rlsparse tensorboard`: events of runs that were trained without it say what those of training say."""

import sys

import pytest
import tiny
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rlsparse import __main__
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.probe import Episodes
from rlsparse.explore.propose import Line
from rlsparse.run.reporters import Reporters
from rlsparse.sparse.config import Sparse


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run of everything that has columns of its own, with the events of its training."""
    explore = ExploRLer(Line((0.0, 2.0)), Episodes(2), num_anchors=2, budget_fraction=0.75)
    recipe = tiny.recipe(num_seeds=2, total_steps=160, explore=explore, sparse=Sparse(0.5))
    session = tiny.begin(tmp_path_factory.mktemp("events") / "run", recipe)
    with Reporters(session, quiet=True) as reporters:
        tiny.loop.train(session, reporters, tiny.never)
    session.run.release()
    return session.run.path


@pytest.fixture
def command(monkeypatch, capsys):
    """Run `rlsparse tensorboard` in this process; returns exit code, stdout and stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["rlsparse", "tensorboard", *map(str, arguments)])
        try:
            __main__.main()
        except SystemExit as stop:
            return stop.code, *capsys.readouterr()
        return 0, *capsys.readouterr()

    return call


def scalars(folder):
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return {tag: {x.step: x.value for x in accumulator.Scalars(tag)} for tag in accumulator.Tags()["scalars"]}


def test_they_are_those_of_training_at_the_steps_of_evaluations_and_probes(run_dir, command):
    trained = [scalars(run_dir / "tb" / f"seed-{seed}") for seed in (0, 1)]
    said = command(run_dir)
    assert said == (0, f"{run_dir}: tb/ has events of its training; remove it to write them anew from the tables\n", "")
    (run_dir / "tb").rename(run_dir / "before")
    assert command(run_dir) == (0, f"{run_dir}: events of 2 seeds are in tb/: tensorboard --logdir {run_dir}\n", "")
    for seed, before in enumerate(trained):
        written = scalars(run_dir / "tb" / f"seed-{seed}")
        assert {"eval/mean_reward", "sparse/density", "probe/accepted", "train/entropy_loss"} <= written.keys()
        for tag in (tag for tag in written if tag in before and tag.startswith(("eval/", "probe/", "sparse/"))):
            assert written[tag] == before[tag]
        for tag in ("train/value_loss", "train/approx_kl", "train/entropy_loss"):  # of updates before an evaluation
            assert 3 <= len(written[tag]) <= len(before[tag])
            assert {*written[tag].values()} <= {*before[tag].values()}


def test_written_again_they_are_replaced(run_dir, command, tmp_path):
    for _ in range(2):
        assert command(run_dir.parent)[0] == 0
        assert len([*(run_dir / "tb" / "seed-0").iterdir()]) == 1


def test_what_is_no_run_or_has_nothing_yet_is_said(command, tmp_path):
    assert command() == (2, "", "rlsparse: which runs? e.g. rlsparse tensorboard runs\n")
    code, _, err = command(tmp_path)
    assert (code, err) == (
        4,
        f"rlsparse: {tmp_path} holds no run: expected a folder with a recipe.toml in it or below it\n",
    )
    tiny.begin(tmp_path / "run").run.release()
    assert command(tmp_path / "run") == (0, f"{tmp_path / 'run'}: nothing is evaluated yet\n", "")


def test_nothing_is_written_through_a_link(run_dir, command, tmp_path):
    copy = tmp_path / "run"
    copy.mkdir()
    for name in ("recipe.toml", "progress.csv"):
        (copy / name).write_bytes((run_dir / name).read_bytes())
    (copy / "tb").symlink_to(tmp_path, target_is_directory=True)
    code, _, err = command(copy)
    assert (code, "a run is not written through links" in err) == (4, True)


def test_without_tensorboard_the_extra_is_named(run_dir, command, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "tensorboard"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    code, _, err = command(run_dir)
    assert (code, err) == (2, "rlsparse: rlsparse tensorboard needs tensorboard: pip install 'rlsparse[tb]'\n")
