"""A run lived through again is the run, whoever of it is asked for, wherever it begins; and nothing is written."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import tiny

from rlsparse import loop
from rlsparse.algorithms.trpo import TRPO
from rlsparse.errors import RunDirectoryError, UsageError
from rlsparse.explore.anchors import Probed
from rlsparse.explore.empty_space import EmptySpace
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.in_rollout import InRollout
from rlsparse.explore.probe import Episodes
from rlsparse.explore.propose import Line
from rlsparse.explore.surrogate import Surrogate
from rlsparse.run import checkpoint
from rlsparse.run import directory as runs
from rlsparse.run import session as sessions
from rlsparse.trained import replay

SEEDS = (3, 4)
PLAIN = tiny.recipe(seed=SEEDS[0], num_seeds=len(SEEDS))
PROBING = {
    "episodes": ExploRLer(Line(), Episodes(2, accept="always"), num_anchors=2, budget_fraction=0.5),
    "iterations": ExploRLer(Line(), Episodes(2), anchors="iterations", num_anchors=3, budget_fraction=0.5),
    "in-rollout": ExploRLer(Line(), InRollout(share=1.0, move="evolution"), num_anchors=2),
    "surrogate": ExploRLer(Line(), Surrogate(blocks=4, accept="always"), num_anchors=2),
}


@pytest.fixture(autouse=True)
def do_not_wait_for_the_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)


class Notes(tiny.Silent):
    """Keeps every member's actor as each of its updates leaves it."""

    def __init__(self):
        self.after = []

    def iteration(self, session, stats):
        self.after.append(session.learner.params[:, session.learner.layout.group("actor")].copy())


def train(run_dir, recipe):
    """A whole run; returns the actors [S, P] after every update."""
    session, notes = tiny.begin(run_dir, recipe), Notes()
    loop.train(session, notes, tiny.never)
    session.run.release()
    return notes.after


def contents(folder):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("explore", [None, *PROBING])
def test_every_update_of_every_seed_is_lived_through_again(explore, tmp_path):
    recipe = replace(PLAIN, explore=PROBING.get(explore))
    after = train(tmp_path, recipe)
    before = contents(tmp_path)
    for iteration in range(1, len(after) + 1):
        for member, seed in enumerate(SEEDS):
            update = replay.replay(tmp_path, seed, iteration)
            np.testing.assert_array_equal(update.after, after[iteration - 1][member])
            assert (update.seed, update.iteration, update.iterations) == (seed, iteration, len(after))
            assert update.differs_at is None
    assert contents(tmp_path) == before


@pytest.mark.parametrize("iteration", [1, 4, 16])
def test_where_an_update_is_one_step_the_anchors_are_the_last_ten_updates(iteration, tmp_path, monkeypatch):
    monkeypatch.setattr(sessions, "SAVE_INTERVAL", -1)
    after = train(tmp_path, replace(PLAIN, total_steps=256, algorithm=TRPO(critic_minibatches=4)))
    update = replay.replay(tmp_path, SEEDS[1], iteration)
    expected = np.stack([actors[1] for actors in after[max(0, iteration - 10) : iteration]])
    np.testing.assert_array_equal(update.anchors, expected)
    assert update.differs_at is None


def test_the_last_update_of_the_first_seed_is_what_is_asked_for_by_default(tmp_path):
    after = train(tmp_path, PLAIN)
    update = replay.replay(tmp_path, None, None)
    assert (update.seed, update.iteration) == (SEEDS[0], 6)
    np.testing.assert_array_equal(update.after, after[-1][0])


def test_a_checkpoint_shortens_the_way(tmp_path, monkeypatch):
    train(tmp_path, PLAIN)
    replayed = []

    def watch(done, of):
        replayed.append((done, of))

    replay.replay(tmp_path, None, 6, watch)
    assert replayed == [(0, 2), (1, 2), (2, 2)], "two are left after the checkpoint at 64 steps"
    replayed.clear()
    replay.replay(tmp_path, None, 4, watch)
    assert replayed[-1] == (4, 4), "no checkpoint is before it"
    shutil.rmtree(tmp_path / "checkpoint")
    replay.replay(tmp_path, None, 6, watch)
    assert replayed[-1] == (6, 6), "all are gone"


def test_damaged_checkpoints_are_passed_over(tmp_path):
    after = train(tmp_path, PLAIN)
    for folder in (tmp_path / "checkpoint").iterdir():
        (folder / "learner.safetensors").write_bytes(b"")
    assert list(checkpoint.load_whole(tmp_path / "checkpoint")) == []
    np.testing.assert_array_equal(replay.replay(tmp_path, 4, None).after, after[-1][1])


def test_a_plain_runs_anchors_are_the_epochs_of_the_update(tmp_path):
    recipe = replace(PLAIN, algorithm=replace(PLAIN.algorithm, epochs=3))
    after = train(tmp_path, recipe)
    update = replay.replay(tmp_path, 4, 5)
    assert update.anchors.shape == (3, update.after.size)
    np.testing.assert_array_equal(update.anchors[-1], update.after)
    np.testing.assert_array_equal(update.before, after[3][1])
    assert update.proposal == EmptySpace()
    expected = EmptySpace()(update.anchors[None], Probed.nothing(update.after[None]), [np.random.default_rng()])
    np.testing.assert_array_equal(update.propose(Probed.nothing(update.after[None])), expected)


def test_epochs_that_change_nothing_are_no_anchors(tmp_path):
    stopping = replace(PLAIN.algorithm, epochs=4, target_kl=1e-12)
    train(tmp_path, replace(PLAIN, num_seeds=1, algorithm=stopping))
    update = replay.replay(tmp_path, None, None)
    assert (np.diff(update.anchors, axis=0) != 0).any(1).all()
    assert len(update.anchors) < 4


def test_an_exploring_runs_anchors_are_its_own(tmp_path):
    after = train(tmp_path, replace(PLAIN, explore=PROBING["iterations"]))
    update = replay.replay(tmp_path, 4, 5)
    assert update.proposal == Line()
    np.testing.assert_array_equal(update.anchors, [one[1] for one in after[2:5]])


def test_a_replay_that_is_not_the_run_is_noticed(tmp_path):
    train(tmp_path, PLAIN)
    lines = (tmp_path / "progress.csv").read_text().splitlines()
    column = lines[0].split(",").index("grad_norm")
    cells = lines[-1].split(",")
    cells[column] = str(1.001 * float(cells[column]))
    (tmp_path / "progress.csv").write_text("\n".join([*lines[:-1], ",".join(cells)]) + "\n")
    assert replay.replay(tmp_path, 4, 5).differs_at is None
    assert replay.replay(tmp_path, 4, 6).differs_at == 96
    assert replay.replay(tmp_path, 3, 6).differs_at is None, "that row is of the other seed"


@pytest.mark.parametrize(
    ("seed", "iteration", "message"),
    [
        (None, 0, r"--iteration 0: seed 3 of .* has made 6 updates, from 1 on"),
        (None, 7, r"--iteration 7: seed 3 of .* has made 6 updates"),
        (5, None, r"--seed 5: .* holds seeds 3 to 4"),
    ],
)
def test_what_the_run_does_not_have_is_named(seed, iteration, message, tmp_path):
    train(tmp_path, PLAIN)
    with pytest.raises(UsageError, match=message):
        replay.replay(tmp_path, seed, iteration)


def test_what_is_no_run_or_not_this_one_any_more_is_named(tmp_path):
    with pytest.raises(RunDirectoryError, match="is not a run directory"):
        replay.replay(tmp_path, None, None)
    run = tmp_path / "run"
    session = tiny.begin(run, PLAIN)
    session.run.release()
    with pytest.raises(RunDirectoryError, match="run has made no update yet"):
        replay.replay(run, None, None)
    train(tmp_path / "other", PLAIN)
    recipe = tmp_path / "other" / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("total_steps = 96", "total_steps = 112"))
    assert runs.read_recipe(tmp_path / "other").total_steps == 112
    with pytest.raises(RunDirectoryError, match="was changed after the run began"):
        replay.replay(tmp_path / "other", None, None)
