"""policy.safetensors: the policy that acts is the policy that was trained, or none at all."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import tiny
from test_checkpoint import Marker

from rlsparse.errors import DivergenceError, RunDirectoryError
from rlsparse.run import policy_file
from rlsparse.sim.episodes import evaluate

RECIPE = tiny.recipe(num_seeds=2, seed=3)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """A run of two seeds, to its end."""
    session = tiny.begin(tmp_path_factory.mktemp("policy") / "run", RECIPE)
    tiny.go_on(session)
    return session


@pytest.fixture
def path(session, tmp_path):
    """A copy of its policy file."""
    return Path(shutil.copy(session.run.path / "policy.safetensors", tmp_path))


def test_the_loaded_policy_acts_as_the_trained_one(session, path):
    policy = policy_file.load(path)
    learner = session.learner
    obs = np.random.default_rng(0).standard_normal((5, 2))
    expected = learner.actors()(np.stack([obs, obs]))
    for member in (0, 1):
        np.testing.assert_array_equal(policy.actors.only(member)(obs[None]), expected[member : member + 1])


def test_it_repeats_the_last_evaluation(session, path):
    """Episodes run with the file alone give the returns that training reports."""
    policy = policy_file.load(path)
    session.learner.params[...] = 0.0
    session.learner.params[...] = policy.actors.params
    seeds = [int(s) for s in session.eval_env.get_state()["seed"]]
    again = evaluate(session.eval_env, session.learner.actors(), seeds).returns.mean(1)
    last = (session.run.path / "progress.csv").read_text().splitlines()[-2:]
    np.testing.assert_allclose(again, [float(row.split(",")[6]) for row in last], rtol=1e-12)


def test_it_says_what_it_was_trained_by(path):
    policy = policy_file.load(path)
    assert policy.recipe == RECIPE
    assert policy.actors.seeds == (3, 4)
    assert (policy.actors.layout.obs_size, policy.actors.layout.action_size) == (2, 1)


def test_equal_policies_are_equal_files(session, path, tmp_path):
    for name in "abcdefgh":
        policy_file.save(tmp_path / name, RECIPE, session.learner)
        assert (tmp_path / name).read_bytes() == path.read_bytes()


def test_it_opens_with_safetensors_alone(session, path):
    with safetensors.safe_open(path, "np") as file:
        assert sorted(file.keys()) == sorted(["obs_inv_std", "obs_mean", "params", *policy_file.STATISTICS])
        np.testing.assert_array_equal(file.get_tensor("params"), session.learner.params)


def test_it_holds_all_that_training_goes_on_from_beside_the_optimiser(session, path):
    """What the normaliser has seen is known to the last bit but for float32 of mean and deviation."""
    statistics, returns = policy_file.load(path).statistics, session.learner.return_moments
    np.testing.assert_array_equal(statistics["obs_count"], [96.0, 96.0])
    for name in ("mean", "var", "count"):
        np.testing.assert_array_equal(statistics[f"return_{name}"], getattr(returns, name))


def test_files_of_earlier_versions_have_no_statistics_and_still_act(session, path):
    recorded, arrays = parts(path)
    path.write_bytes(
        policy_file._encode(recorded, {x: y for x, y in arrays.items() if x not in policy_file.STATISTICS})
    )
    policy = policy_file.load(path)
    assert policy.statistics == {}
    np.testing.assert_array_equal(policy.actors.params, session.learner.params)


@pytest.mark.parametrize("share", [0, 0.001, 0.01, 0.5, 0.99])
def test_a_cut_file_is_refused_by_name(share, path):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(RunDirectoryError, match=r"policy\.safetensors is not a policy file, or is damaged"):
        policy_file.load(path)


def test_a_changed_byte_is_refused_or_changes_nothing(path):
    """Only blanks of the header may differ."""
    content, expected = path.read_bytes(), policy_file.load(path)
    rng = np.random.default_rng(0)
    for at in [*range(8), *rng.integers(8, len(content), 300)]:
        changed = bytearray(content)
        changed[at] ^= int(rng.integers(1, 256))
        path.write_bytes(changed)
        try:
            policy = policy_file.load(path)
        except RunDirectoryError as error:
            assert str(path) in str(error)
            assert "\n" not in str(error)
        else:
            assert chr(content[at]).isspace()
            assert policy.recipe == expected.recipe
            np.testing.assert_array_equal(policy.actors.params, expected.params)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RunDirectoryError, match=r"cannot read .*/none\.safetensors: No such file"):
        policy_file.load(tmp_path / "none.safetensors")


def test_somebody_elses_safetensors_is_refused(tmp_path):
    safetensors.numpy.save_file({"weight": np.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(RunDirectoryError, match="is not a policy file"):
        policy_file.load(tmp_path / "other.safetensors")


def parts(path):
    """What a policy file says, and its arrays."""
    with safetensors.safe_open(path, "np") as file:
        recorded = json.loads(file.metadata()["policy"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    del recorded["sha256"]
    return recorded, arrays


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"params": np.zeros((2, 9), np.float32)}, "params has type and shape .'F32', .2, 9.*expected .'F32', .2, 67"),
        ({"obs_mean": np.zeros((2, 3), np.float32)}, "obs_mean has type and shape"),
        ({"obs_mean": np.zeros((2, 2), np.float16)}, "obs_mean has type and shape .'F16'"),
        ({"params": np.zeros((2, 67), np.int64)}, "params has type and shape .'I64'"),
        ({"levels": np.zeros((2, 67), np.int8)}, "levels has type and shape .'I8'"),
        ({"weight": np.zeros(1)}, "weight has type and shape .* expected None"),
        ({"obs_count": np.zeros(2, np.float32)}, "obs_count has type and shape .'F32'"),
        ({"obs_count": np.full(2, -1.0)}, "its counts or variances are below zero"),
        ({"return_var": np.full(2, -1.0)}, "its counts or variances are below zero"),
    ],
)
def test_arrays_that_the_recipe_does_not_make_are_refused(change, message, path):
    """Such a file has a right digest: somebody made it."""
    recorded, arrays = parts(path)
    path.write_bytes(policy_file._encode(recorded, arrays | change))
    with pytest.raises(RunDirectoryError, match=f"is not a policy file.*{message}"):
        policy_file.load(path)


def test_some_of_the_statistics_are_as_good_as_damaged(path):
    recorded, arrays = parts(path)
    del arrays["return_count"]
    path.write_bytes(policy_file._encode(recorded, arrays))
    with pytest.raises(RunDirectoryError, match="return_count has type and shape None, expected .'F64', .2.."):
        policy_file.load(path)


@pytest.mark.parametrize("x", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(x, path):
    recorded, arrays = parts(path)
    path.write_bytes(policy_file._encode(recorded, arrays | {"obs_inv_std": np.full((2, 2), x, np.float32)}))
    with pytest.raises(DivergenceError, match="holds numbers that are not finite"):
        policy_file.load(path)


@pytest.mark.parametrize(
    ("field", "x", "message"),
    [
        ("seeds", {}, "seeds must be a list, not {}"),
        ("seeds", 1.5, "seeds must be a list, not 1.5"),
        ("seeds", [], "its seeds are not those of its recipe"),
        ("seeds", [3, 3], "its seeds are not those of its recipe"),
        ("obs_size", 2.5, "obs_size must be a whole number, not 2.5"),
        ("obs_size", 0, "obs_size must be a positive whole number, not 0"),
        ("action_size", 10**6, "params has type and shape"),
        ("obs_clip", "x", "obs_clip must be a number, not 'x'"),
        ("obs_clip", -1, "obs_clip must be a positive number, not -1"),
        ("obs_clip", float("nan"), "NaN is no number of JSON"),
        ("recipe", [], "recipe must be a table"),
        ("more", 1, "unknown key more"),
        ("best", [{"return_mean": 1.0, "total_steps": 8, "evaluations": 0}], "evaluations must be a positive whole"),
        ("best", [{"return_mean": 1.0, "total_steps": 8, "evaluations": 2}], "its seeds are not those of its recipe"),
    ],
)
def test_fields_of_other_types_or_ranges_are_named(field, x, message, path):
    recorded, arrays = parts(path)
    path.write_bytes(policy_file._encode(recorded | {field: x}, arrays))
    with pytest.raises(RunDirectoryError, match=f"is not a policy file.*{message}"):
        policy_file.load(path)


def test_a_tensor_that_is_there_twice_is_refused(path):
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + size].decode().rstrip()
    twice = f'{header[:-1]},"params":{json.dumps(json.loads(header)["params"])}}}'.encode()
    path.write_bytes(len(twice).to_bytes(8, "little") + twice + content[8 + size :])
    with pytest.raises(RunDirectoryError, match="a key is there twice"):
        policy_file.load(path)


def test_a_pickle_is_refused_and_not_run(path, tmp_path):
    path.write_bytes(pickle.dumps(Marker(tmp_path / "marker")))
    with pytest.raises(RunDirectoryError, match="is not a policy file"):
        policy_file.load(path)
    assert not (tmp_path / "marker").exists()
