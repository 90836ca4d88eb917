"""Runs trained in one process are, file by file, what each would be alone; what ends one does not end the others."""

from dataclasses import replace

import numpy as np
import pairs
import pytest
import tiny
from matplotlib.figure import Figure

from rlsparse.algorithms.objectives import A2C
from rlsparse.errors import DivergenceError, EnvironmentFailure, StorageError
from rlsparse.run import checkpoint
from rlsparse.run import directory as runs
from rlsparse.run.flags import ResumeFlags
from rlsparse.run.status import Settings
from rlsparse.run.stop import Stop
from rlsparse.study import together
from rlsparse.study.together import train_together
from rlsparse.train.training import reopen

KINDS = [(family, name) for family, names in pairs.FAMILIES.items() for name in names]


class StopAfter(Stop):
    """Asks to stop when it has been asked so often."""

    def __init__(self, count):
        self.left = count

    def __call__(self):
        self.left -= 1
        if self.left == 0:
            self.ask("the test")
        return super().__call__()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Nothing is waited for that is not looked at here."""
    monkeypatch.setattr("os.fsync", lambda _: None)
    monkeypatch.setattr(Figure, "savefig", lambda _, file, **__: file.write(b"a picture"))


def made(folder, recipe):
    runs.create(recipe, "ppo", folder, folder).release()
    return folder


def opened(folders):
    return [reopen(ResumeFlags(folder, trust=True, quiet=True)) for folder in folders]


def alone(folder, recipe):
    assert not train_together(opened([made(folder, recipe)]), Stop())
    return tiny.outcome(folder)


def differing(folder, expected):
    own = tiny.outcome(folder)
    return [name for name in own.keys() | expected.keys() if own.get(name) != expected.get(name)]


def settings(recipe=tiny.RECIPE):
    """Three runs that differ in their learning rates, of one to three seeds each."""
    rates = (0.03, 0.1, 0.003)
    seeds = ((0, 2), (5, 3), (1, 1))
    return [
        replace(recipe, seed=seed, num_seeds=count, algorithm=replace(recipe.algorithm, learning_rate=rate))
        for rate, (seed, count) in zip(rates, seeds, strict=True)
    ]


def state(folder):
    return runs.read_json(folder / "status.json")


@pytest.fixture
def built(monkeypatch):
    """How many runs were in each population that was built."""
    sizes = []
    build = together._built
    monkeypatch.setattr(together, "_built", lambda group, recipe: sizes.append(len(group)) or build(group, recipe))
    return sizes


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_runs_of_every_kind_end_as_they_do_alone(kind, tmp_path, built):
    found = pairs.verdict(kind)
    assert found.recipe is not None, found.refusal
    check_alike(settings(replace(found.recipe, total_steps=96, eval_every=48, eval_episodes=2))[:2], kind[1], tmp_path)
    assert built == [2]


def check_alike(recipes, kind, tmp_path):
    folders = [made(tmp_path / f"together-{i}", recipe) for i, recipe in enumerate(recipes)]
    assert not train_together(opened(folders), Stop())
    for i, (folder, recipe) in enumerate(zip(folders, recipes, strict=True)):
        assert runs.read_recipe(folder) == recipe
        assert differing(folder, alone(tmp_path / f"alone-{i}", recipe)) == []


@pytest.mark.parametrize("asked", [0, 150, 270])
def test_a_run_that_has_spent_its_budget_before_the_others_stays_as_it_ended(asked, tmp_path):
    """Probes that begin earlier take steps: such a run ends while others go on; it may get more later."""
    probing = pairs.verdict(("probe", "episodes"), ("optimiser", "adam")).recipe
    base = replace(probing, total_steps=480, eval_every=160, eval_episodes=2)
    starts = ((0, 1, 0.0), (1, 2, 0.3), (2, 1, 0.7))
    recipes = [replace(base, seed=s, num_seeds=n, explore=replace(base.explore, start=x)) for s, n, x in starts]
    folders = [made(tmp_path / f"together-{i}", recipe) for i, recipe in enumerate(recipes)]
    train_together(opened(folders), StopAfter(asked))
    train_together(opened([x for x in folders if state(x)["state"] != "finished"]), Stop())
    ends = {checkpoint.load_latest(x / "checkpoint").arrays["learner"]["counters.train"].max() for x in folders}
    assert len(ends) == 3
    for i, recipe in enumerate(recipes):
        assert differing(folders[i], alone(tmp_path / f"alone-{i}", recipe)) == []


def test_so_do_runs_whose_groups_are_helped(tmp_path):
    recipe = pairs.verdict(("advantage", "group-relative")).recipe
    scaffold = replace(recipe.advantage.scaffold, after=1, success_return=-0.3)
    recipe = replace(recipe, advantage=replace(recipe.advantage, scaffold=scaffold))
    recipes = settings(replace(recipe, total_steps=96, eval_every=48, eval_episodes=2))[:2]
    check_alike(recipes, "group-relative", tmp_path)


@pytest.mark.parametrize("asked", [1, 40, 90, 130])
def test_runs_that_are_stopped_together_go_on_together(asked, tmp_path, built, caplog):
    folders = [made(tmp_path / f"together-{i}", recipe) for i, recipe in enumerate(settings())]
    train_together(opened(folders), StopAfter(asked))
    assert {state(folder)["state"] for folder in folders} <= {"interrupted", "running"}
    assert not train_together(opened(folders), Stop())
    assert set(built) == {3}
    assert not caplog.records
    for i, recipe in enumerate(settings()):
        assert tiny.outcome(folders[i]) == alone(tmp_path / f"alone-{i}", recipe)


def test_a_run_that_was_saved_earlier_goes_on_by_itself(tmp_path, built):
    folders = [made(tmp_path / f"together-{i}", recipe) for i, recipe in enumerate(settings())]
    train_together(opened(folders[:1]), StopAfter(90))
    assert not train_together(opened(folders), Stop())
    assert built == [2]
    for i, recipe in enumerate(settings()):
        assert tiny.outcome(folders[i]) == alone(tmp_path / f"alone-{i}", recipe)


def test_a_run_that_diverges_does_not_take_the_others_along(tmp_path, built):
    good = settings()
    wild = replace(good[0], algorithm=replace(good[0].algorithm, learning_rate=1e30, max_grad_norm=1e30))
    good = [replace(x, algorithm=replace(x.algorithm, max_grad_norm=0.5)) for x in good]
    recipes = [good[0], wild, good[1]]
    folders = [made(tmp_path / f"together-{i}", recipe) for i, recipe in enumerate(recipes)]
    (failure,) = train_together(opened(folders), Stop())
    assert failure.opened.run.given == folders[1]
    assert isinstance(failure.error, DivergenceError)
    assert built == [3, 2]
    assert [state(folder)["state"] for folder in folders] == ["finished", "failed", "finished"]
    assert "is not finite" in state(folders[1])["reason"]
    for i in (0, 2):
        assert tiny.outcome(folders[i]) == alone(tmp_path / f"alone-{i}", recipes[i])


def test_of_a_failure_that_nobody_is_named_for_the_runs_go_on_in_halves(tmp_path, monkeypatch, built):
    """Until one run alone fails, or none does."""
    train = together.loop.train

    def fail(session, *others):
        if 5 in session.learner.seeds and len(session.learner.seeds) > 3:
            raise EnvironmentFailure("the simulator is broken")
        train(session, *others)

    monkeypatch.setattr(together.loop, "train", fail)
    folders = [made(tmp_path / f"together-{i}", recipe) for i, recipe in enumerate(settings())]
    assert not train_together(opened(folders), Stop())
    assert built == [3, 2]
    assert [state(folder)["state"] for folder in folders] == ["finished"] * 3


def test_a_full_disk_ends_all_of_them_with_one_line_each(tmp_path, monkeypatch):
    def fail(*_):
        raise StorageError("no space left")

    monkeypatch.setattr(together.loop, "train", fail)
    folders = [made(tmp_path / f"together-{i}", recipe) for i, recipe in enumerate(settings())]
    failures = train_together(opened(folders), Stop())
    assert [failure.opened.run.given for failure in failures] == folders
    assert {state(folder)["reason"] for folder in folders} == {"no space left"}


@pytest.mark.parametrize(
    "blocked", ["policy-best.safetensors", "checkpoint/progress.rows", "checkpoint", "summary.json"]
)
def test_a_folder_that_cannot_be_written_costs_its_own_run_alone(blocked, tmp_path, monkeypatch):
    monkeypatch.setattr("rlsparse.run.record_files.LONGEST_TAIL", 200)
    folders = [made(tmp_path / f"together-{i}", recipe) for i, recipe in enumerate(settings())]
    begun = opened(folders)
    if blocked == "checkpoint":
        (folders[1] / blocked).write_text("")
    else:
        (folders[1] / blocked).mkdir(parents=True)
    (failure,) = train_together(begun, Stop())
    assert failure.opened.run.given == folders[1]
    assert [state(folder)["state"] for folder in folders] == ["finished", "failed", "finished"]
    assert blocked in state(folders[1])["reason"]
    for i in (0, 2):
        assert differing(folders[i], alone(tmp_path / f"alone-{i}", settings()[i])) == []


def test_runs_are_trained_together_only_where_they_count_alike(tmp_path, monkeypatch):
    """Of some kinds, rollouts differ in length: as many steps may be another number of iterations."""
    counts = iter([[0, 2], [0, 3], [0, 2]])

    def load(_):
        arrays = {"learner": {"counters.train": np.array([32])}, "explorer": {"count": np.array(next(counts))}}
        return checkpoint.Checkpoint(arrays, {})

    monkeypatch.setattr(together, "load_latest", load)
    groups, _ = together._groups(opened([made(tmp_path / f"run-{i}", recipe) for i, recipe in enumerate(settings())]))
    assert [len(group) for group in groups] == [2, 1]


def test_a_run_without_a_whole_checkpoint_costs_no_other(tmp_path):
    folders = [made(tmp_path / f"together-{i}", recipe) for i, recipe in enumerate(settings())]
    train_together(opened(folders), StopAfter(120))
    for manifest in folders[1].glob("checkpoint/*/manifest.json"):
        manifest.write_text("{")
    (failure,) = train_together(opened(folders), Stop())
    assert failure.opened.run.given == folders[1]
    assert "no whole checkpoint is left" in state(folders[1])["reason"]
    for i in (0, 2):
        assert differing(folders[i], alone(tmp_path / f"alone-{i}", settings()[i])) == []


def test_runs_whose_recipes_do_not_fit_are_trained_one_after_the_other(tmp_path, built):
    first = settings()[0]
    other = replace(first, algorithm=replace(first.algorithm, objective=A2C()))
    folders = [made(tmp_path / "first", first), made(tmp_path / "other", other)]
    assert not train_together(opened(folders), Stop())
    assert built == []
    assert tiny.outcome(folders[1]) == alone(tmp_path / "alone", other)


def test_runs_with_other_checkpoints_are_trained_apart(tmp_path, built):
    folders = [made(tmp_path / f"together-{i}", recipe) for i, recipe in enumerate(settings())]
    begun = opened(folders)
    begun[2].run.settings = Settings(checkpoint_every=16, keep_checkpoints=3)
    assert not train_together(begun, Stop())
    assert built == [2]
    assert len([*(folders[2] / "checkpoint").iterdir()]) > len([*(folders[0] / "checkpoint").iterdir()])


def test_every_run_is_let_go(tmp_path):
    folders = [made(tmp_path / f"together-{i}", recipe) for i, recipe in enumerate(settings())]
    train_together(opened(folders), StopAfter(40))
    for folder in folders:
        runs.Run(folder).release()


def test_runs_trained_together_have_summaries_and_pictures_of_their_own(tmp_path):
    folders = [made(tmp_path / f"together-{i}", recipe) for i, recipe in enumerate(settings())]
    train_together(opened(folders), Stop())
    for folder, recipe in zip(folders, settings(), strict=True):
        run = runs.Run(folder)
        run.state = "finished"
        assert run.complete
        run.release()
        rows = runs.read_progress(folder / "progress.csv")
        assert {row["seed"] for row in rows} == set(recipe.seeds)
        last = np.mean([row["return_mean"] for row in rows if row["total_steps"] == 96])
        assert np.isclose(runs.read_json(folder / "summary.json")["return_mean"], last)
