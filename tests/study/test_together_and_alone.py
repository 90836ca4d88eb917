"""Runs that differ in numbers, trained together from their directories, leave there what they leave alone."""

from dataclasses import replace

import pairs
import pytest
import tiny
from differing import SIZE, changed, varied
from matplotlib.figure import Figure

from rlsparse.run import directory as runs
from rlsparse.run.stop import Stop
from rlsparse.study import worker
from rlsparse.study.populations import populations

HELPED = {"advantage.scaffold.after": 1, "advantage.scaffold.success_return": -0.3}


@pytest.fixture(autouse=True)
def fresh_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.fsync", lambda _: None)
    monkeypatch.setattr(Figure, "savefig", lambda _, file, **__: file.write(b"a picture"))


@pytest.mark.long
@pytest.mark.parametrize(
    ("kinds", "settings"),
    [
        ([("algorithm", "trpo")], {}),
        ([("algorithm", "n-harpg")], {}),
        ([("objective", "hpt")], {}),
        ([("advantage", "group-relative")], HELPED),
        ([("advantage", "submodular")], {}),
        ([("sparse", "ast")], {}),
        ([("sparse", "dcil"), ("proposal", "empty-space")], {}),
        ([("probe", "racing")], {}),
        ([("probe", "in-rollout")], {}),
    ],
    ids=lambda x: "+".join(name for _, name in x) if isinstance(x, list) else "",
)
def test_what_is_trained_together_leaves_the_bytes_that_it_leaves_alone(kinds, settings, tmp_path):
    recipe = replace(pairs.verdict(*kinds).recipe, **SIZE, eval_every=64, eval_episodes=2)
    for place, value in settings.items():
        recipe = changed(recipe, place, value)
    recipes = [replace(recipe, num_seeds=1), varied(recipe, 0.7)]
    assert populations(recipes) == [[0, 1]]
    folders = [tmp_path / f"run-{i}" for i in range(2)]
    for folder, own in zip(folders, recipes, strict=True):
        runs.create(own, "ppo", tmp_path, folder).release()
    assert worker.work(folders, True, Stop()) == 0
    for folder, own in zip(folders, recipes, strict=True):
        assert tiny.outcome(folder) == tiny.outcome(tiny.train(folder.with_name(f"{folder.name}-alone"), own))
