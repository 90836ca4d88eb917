"""A checkpoint that is whole, but not of this run or environment, is told in one line, before anything is built."""

import re
import shutil

import fake_envs
import numpy as np
import pytest
import tiny
from gymnasium.spaces import Box

from rlsparse.errors import RunDirectoryError
from rlsparse.run import checkpoint
from rlsparse.run import directory as runs
from rlsparse.run.checkpoint import Checkpoint
from rlsparse.run.reading import read_json, seal, unseal
from rlsparse.run.recipe import to_dict, to_toml
from rlsparse.run.saved import check_arrays, check_values


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return tiny.train(tmp_path_factory.mktemp("saved") / "run")


@pytest.fixture
def values(trained):
    return checkpoint.load_latest(trained / "checkpoint").values


def change_recipe(run_dir, recipe):
    """Give a run and its checkpoints another recipe, all digests right."""
    (run_dir / "recipe.toml").write_text(to_toml(recipe))
    for manifest in run_dir.glob("checkpoint/*/manifest.json"):
        body = unseal(manifest.read_text(), manifest)
        body["values"]["recipe"] = to_dict(recipe)
        manifest.write_text(seal(body))


def test_fields_that_differ_are_named_side_by_side(values, tmp_path):
    recipe = tiny.recipe(num_envs=4, eval_every=None, policy=tiny.ActorCritic((8,), (9,)))
    with pytest.raises(RunDirectoryError) as caught:
        check_values(values, recipe, tmp_path)
    assert (
        "recipe.toml was changed after the run began (num_envs: 2 in the checkpoint, 4 in recipe.toml; "
        "eval_every: 32 in the checkpoint, None in recipe.toml; policy.critic_hidden: [8] in the checkpoint, [9] in "
        "recipe.toml): a resumed run keeps its recipe, so undo the change or start a new run"
    ) in str(caught.value)


def test_a_budget_of_another_type_differs_too(values, tmp_path):
    values["recipe"]["total_steps"] = [96]
    with pytest.raises(RunDirectoryError, match=r"total_steps: \[96\] in the checkpoint, 96 in recipe.toml"):
        check_values(values, tiny.recipe(), tmp_path)


@pytest.mark.parametrize(
    ("field", "x", "message"),
    [
        ("seconds", "1", "seconds must be a number, not '1'"),
        ("seconds", -1, "seconds must be zero or a positive number, not -1"),
        ("evaluated_at", [0, 0], "is not of this run"),
        ("evaluated_at", [2**63], "evaluated_at must be numbers of steps, not"),
        ("records", {"../x.csv": ""}, "is not of this run"),
        ("records", {"progress.csv": 1}, r"records.progress.csv must be text, not 1"),
        ("recipe", [], "recipe must be a table"),
    ],
)
def test_values_of_other_types_are_named(field, x, message, values, tmp_path):
    with pytest.raises(RunDirectoryError, match=message):
        check_values(values | {field: x}, tiny.RECIPE, tmp_path)


def test_networks_are_not_built_larger_than_what_is_saved(trained, tmp_path, monkeypatch):
    """Whoever made the files made them agree; what they ask for would take minutes, and all memory."""
    run_dir = shutil.copytree(trained, tmp_path / "run")
    change_recipe(run_dir, tiny.recipe(policy=tiny.ActorCritic((8191, 8191, 8191), (8,))))
    with pytest.raises(RunDirectoryError, match=r"params is of shape \(1, \d+\), expected \(1, 134.* or more"):
        runs.reopen(run_dir)
    change_recipe(run_dir, tiny.recipe(num_seeds=1000))
    with pytest.raises(RunDirectoryError, match="is not of this run|expected .1000, "):
        runs.reopen(run_dir)


def test_an_environment_whose_observations_have_changed_is_told(trained, tmp_path, monkeypatch):
    run_dir = shutil.copytree(trained, tmp_path / "run")
    monkeypatch.setattr(fake_envs.Point, "observation_space", Box(-np.inf, np.inf, (3,), np.float64))
    monkeypatch.setattr(fake_envs.Point, "_observation", lambda self: np.array([self.position, self.speed, 0.0]))
    with pytest.raises(RunDirectoryError) as caught:
        tiny.reopen(run_dir)
    assert re.search(r"learner\.[\w.]+ has float\d+ numbers of shape .*, here it would have float", str(caught.value))
    assert "the environment or a package is another than the run began with" in str(caught.value)


FRESH = {
    "learner": {"params": np.zeros((1, 5), np.float32), "archive.kept": np.zeros(1), "counters.train": np.array([0])},
    "explorer": {"anchors": np.zeros((1, 0, 5))},
}


@pytest.mark.parametrize(
    ("group", "name", "x"),
    [
        ("learner", "params", np.zeros((1, 6), np.float32)),
        ("learner", "params", np.zeros((1, 5), np.float64)),
        ("learner", "params", np.zeros((1, 5, 1), np.float32)),
        ("learner", "other", np.zeros(1)),
        ("learner", "archive.kept", np.zeros((1, 1))),
        ("explorer", "anchors", np.zeros((1, 3, 6))),
        ("explorer", "anchors", np.zeros((2, 3, 5))),
        ("stats", "entropy", np.zeros(2)),
        ("learner", "counters.train", np.array([-1])),
    ],
)
def test_arrays_of_another_state_are_named(group, name, x, tmp_path):
    saved = {own: dict(arrays) for own, arrays in FRESH.items()}
    saved.setdefault(group, {})[name] = x
    with pytest.raises(RunDirectoryError):
        check_arrays(Checkpoint(saved, {}), FRESH, tmp_path)


def test_what_grows_while_training_may_have_any_length(tmp_path):
    saved = {
        "learner": FRESH["learner"] | {"archive.kept": np.zeros(7)},
        "explorer": {"anchors": np.zeros((1, 4, 5))},
        "stats": {"entropy": np.zeros(1)},
    }
    check_arrays(Checkpoint(saved, {}), FRESH, tmp_path)


@pytest.mark.parametrize(
    ("name", "field", "x", "message"),
    [
        ("versions.json", "device", "cuda:0; rm -rf", "device must be cpu, cuda or cuda:N, not 'cuda:0; rm -rf'"),
        ("versions.json", "device", [], r"device must be text, not \[\]"),
        ("versions.json", "packages", [], r"packages must be a table, not \[\]"),
        ("versions.json", "agent", 7, "agent must be text, not 7"),
        ("status.json", "state", "done", "state must be one of running, finished, interrupted, failed, not 'done'"),
        ("status.json", "keep_checkpoints", 2**64, "keep_checkpoints must be a number from 2 to 10,000, not"),
        ("status.json", "keep_checkpoints", True, "keep_checkpoints must be a whole number, not True"),
    ],
)
def test_fields_of_json_files_are_checked(name, field, x, message, trained, tmp_path):
    run_dir = shutil.copytree(trained, tmp_path / "run")
    (run_dir / name).write_text(seal(read_json(run_dir / name) | {field: x}))
    with pytest.raises(RunDirectoryError, match=message):
        runs.reopen(run_dir)
    runs.Run(run_dir).release()  # it is not held
