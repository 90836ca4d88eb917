"""The update that follows a kept checkpoint is the run's own, for every member; and nothing is written."""

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
from rlsparse.run import directory as runs
from rlsparse.run.status import Settings
from rlsparse.trained.update import next_update

SEEDS = (3, 4)
PLAIN = tiny.recipe(seed=SEEDS[0], num_seeds=len(SEEDS))
PROBING = {
    "episodes": ExploRLer(Line(), Episodes(2, accept="always"), num_anchors=2, budget_fraction=0.5),
    "iterations": ExploRLer(Line(), Episodes(2), anchors="iterations", num_anchors=3, budget_fraction=0.5),
    "in-rollout": ExploRLer(Line(), InRollout(share=1.0, move="evolution"), num_anchors=2),
    "surrogate": ExploRLer(Line(), Surrogate(blocks=4, accept="always"), num_anchors=2),
}
ALL = 100
"""More checkpoints than any of these runs makes."""


@pytest.fixture(autouse=True)
def do_not_wait_for_the_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture
def save_always(monkeypatch):
    """Save after every update and probe."""
    monkeypatch.setattr(loop, "SAVE_INTERVAL", -1)


class Notes(tiny.Silent):
    """Keeps every member's actor as each of its updates leaves it."""

    def __init__(self):
        self.after = []

    def iteration(self, session, stats):
        self.after.append(session.learner.params[:, session.learner.layout.group("actor")].copy())


def train(run_dir, recipe, keep_checkpoints=2):
    """A whole run; returns the actors [S, P] after every update."""
    session, notes = tiny.begin(run_dir, recipe), Notes()
    session.run.settings = Settings(keep_checkpoints)
    loop.train(session, notes, tiny.never)
    session.run.release()
    return notes.after


def contents(folder):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("explore", [None, *PROBING])
def test_every_update_of_every_seed_is_the_runs_own(explore, tmp_path, save_always):
    recipe = replace(PLAIN, explore=PROBING.get(explore))
    after = train(tmp_path, recipe, ALL)
    before = contents(tmp_path)
    for iteration in range(2, len(after) + 1):  # the untrained policy is not kept
        for member, seed in enumerate(SEEDS):
            update = next_update(tmp_path, seed, iteration)
            np.testing.assert_array_equal(update.after, after[iteration - 1][member])
            assert (update.seed, update.iteration, update.made_by_run) == (seed, iteration, True)
    assert contents(tmp_path) == before


def test_where_an_update_is_one_step_the_anchors_are_before_between_and_after_two(tmp_path, save_always):
    after = train(tmp_path, replace(PLAIN, total_steps=256, algorithm=TRPO(critic_minibatches=4)), ALL)
    for iteration in (3, 16):
        update = next_update(tmp_path, SEEDS[1], iteration)
        expected = np.stack([actors[1] for actors in after[iteration - 3 : iteration]])
        np.testing.assert_array_equal(update.anchors, expected)
        assert (update.iteration, update.made_by_run) == (iteration, True)
        np.testing.assert_array_equal(update.before, expected[1])
    with pytest.raises(UsageError, match="lead to the updates 3, 4"):
        next_update(tmp_path, None, 2)


def test_the_first_seed_after_the_newest_checkpoint_with_budget_left_is_the_default(tmp_path):
    after = train(tmp_path, PLAIN)
    update = next_update(tmp_path)
    assert (update.seed, update.iteration) == (SEEDS[0], 5), "the checkpoints are of 64 steps and of all 96"
    np.testing.assert_array_equal(update.after, after[4][0])


def test_of_a_run_that_is_not_finished_it_is_the_next_one(tmp_path, save_always):
    after = train(tmp_path, PLAIN)
    shutil.rmtree(tmp_path / "checkpoint" / "96")
    update = next_update(tmp_path)
    assert update.iteration == 6
    np.testing.assert_array_equal(update.after, after[5][0])


def test_damaged_checkpoints_are_passed_over(tmp_path, save_always):
    after = train(tmp_path, PLAIN, ALL)
    for steps in (80, 64):
        (tmp_path / "checkpoint" / str(steps) / "learner.safetensors").write_bytes(b"")
    np.testing.assert_array_equal(next_update(tmp_path, 4).after, after[3][1])


def test_a_plain_runs_anchors_are_the_epochs_of_the_update(tmp_path):
    recipe = replace(PLAIN, algorithm=replace(PLAIN.algorithm, epochs=3))
    after = train(tmp_path, recipe)
    update = next_update(tmp_path, 4, 5)
    assert update.anchors.shape == (3, update.after.size)
    np.testing.assert_array_equal(update.anchors[-1], update.after)
    np.testing.assert_array_equal(update.before, after[3][1])
    assert update.proposal == EmptySpace()
    expected = EmptySpace()(update.anchors[None], Probed.nothing(update.after[None]), [np.random.default_rng()])
    np.testing.assert_array_equal(update.propose(Probed.nothing(update.after[None])), expected)


def test_epochs_that_change_nothing_are_no_anchors(tmp_path):
    stopping = replace(PLAIN.algorithm, epochs=4, target_kl=1e-12)
    train(tmp_path, replace(PLAIN, num_seeds=1, algorithm=stopping))
    update = next_update(tmp_path)
    assert (np.diff(update.anchors, axis=0) != 0).any(1).all()
    assert len(update.anchors) < 4


def test_an_exploring_runs_anchors_are_its_own(tmp_path):
    after = train(tmp_path, replace(PLAIN, explore=PROBING["iterations"]))
    update = next_update(tmp_path, 4)
    assert update.proposal == Line()
    place = update.iteration
    np.testing.assert_array_equal(update.anchors, [one[1] for one in after[place - 3 : place]])


def test_an_update_that_the_run_did_not_make_is_told(tmp_path, save_always):
    """After its first probe this run only probes, until its budget is spent."""
    probing = replace(PROBING["episodes"], start=0.5, finish=True, budget_fraction=1.0)
    after = train(tmp_path, replace(PLAIN, num_seeds=1, total_steps=300, explore=probing))
    update = next_update(tmp_path)
    assert (update.iteration, update.made_by_run) == (len(after) + 1, False)


@pytest.mark.parametrize(
    ("seed", "iteration", "message"),
    [
        (
            None,
            0,
            r"--iteration 0: the checkpoints kept in .* lead to the updates 5; .* --keep-checkpoints N keeps more",
        ),
        (None, 4, r"--iteration 4: the checkpoints kept in .* lead to the updates 5;"),
        (5, None, r"--seed 5: .* holds seeds 3 to 4"),
    ],
)
def test_what_the_run_does_not_have_is_named(seed, iteration, message, tmp_path):
    train(tmp_path, PLAIN)
    with pytest.raises(UsageError, match=message):
        next_update(tmp_path, seed, iteration)


def test_what_is_no_run_or_not_this_one_any_more_is_named(tmp_path):
    with pytest.raises(RunDirectoryError, match="is not a run directory"):
        next_update(tmp_path)
    run = tmp_path / "run"
    session = tiny.begin(run, PLAIN)
    session.run.release()
    with pytest.raises(RunDirectoryError, match="holds no whole checkpoint before the end of the budget"):
        next_update(run)
    train(tmp_path / "other", PLAIN)
    recipe = tmp_path / "other" / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("total_steps = 96", "total_steps = 112"))
    assert runs.read_recipe(tmp_path / "other").total_steps == 112
    with pytest.raises(RunDirectoryError, match="was changed after the run began"):
        next_update(tmp_path / "other")
