"""Sparse models of Stable-Baselines3 that are saved, loaded, copied and go on."""

import copy
import pickle

import gymnasium
import numpy as np
import pytest
from sparse_models import (
    ALGORITHMS,
    POINT,
    ROLLOUT,
    AtEveryRollout,
    absent,
    dense,
    everything,
    layers,
    restarted,
    sparse,
)
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from rlsparse.errors import UsageError
from rlsparse.sb3 import load_sparse, moments, sparsify
from rlsparse.sparse.rules import SET, RigL

# Going on


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_loaded_model_goes_on_as_if_it_had_never_been_saved(algorithm, tmp_path):
    model = sparse(algorithm)
    model.learn(5 * ROLLOUT)
    model.save(tmp_path / "model")
    loaded = load_sparse(algorithm, tmp_path / "model", env=make_vec_env(POINT, 2, seed=3), device="cpu")
    assert set(loaded.policy.state_dict()) == set(dense(algorithm).policy.state_dict())
    ends = []
    for one in (model, loaded):
        restarted(one).learn(5 * ROLLOUT, reset_num_timesteps=False)
        assert not absent(one).any()
        ends.append(everything(one) | {"sparsity": one.sparsity.metrics(), "ages": one.sparsity._ages})
    np.testing.assert_equal(*ends)
    assert ends[0]["sparsity"]["regrown"] > 0
    np.testing.assert_array_equal(model.sparsity.masks.explored, loaded.sparsity.masks.explored)


def test_a_checkpoint_within_learning_knows_how_old_weights_are(tmp_path):
    model, paths = sparse(rule=RigL(every=3, drop=0.9)), []

    def save(model):
        if model.num_timesteps == 5 * ROLLOUT:
            model.save(tmp_path / "model")
            paths.append(model.sparsity._hooks.young.age.tolist())

    model.learn(6 * ROLLOUT, callback=AtEveryRollout(start=save))
    loaded = load_sparse(PPO, tmp_path / "model", env=make_vec_env(POINT, 2), device="cpu")
    ages = loaded.sparsity._ages
    assert sorted(ages[ages >= 0].tolist()) == sorted(paths[0])
    assert set(ages[ages >= 0].tolist()) == {12}  # two updates of six steps since the exchange


# Environments to go on in


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The file of a model that has learned a little in two environments."""
    path = tmp_path_factory.mktemp("saved") / "model"
    sparse().learn(2 * ROLLOUT).save(path)
    return path


def loads(path, env):
    return load_sparse(PPO, path, env=env, device="cpu")


def test_an_id_becomes_as_many_environments_as_the_model_had(saved):
    model = loads(saved, POINT)
    assert (model.n_envs, model.env.num_envs) == (2, 2)
    model.learn(2 * ROLLOUT, reset_num_timesteps=False)
    assert model.num_timesteps == 4 * ROLLOUT
    assert not absent(model).any()


def test_a_single_environment_and_another_number_of_them_are_taken(saved):
    for env, number in ((gymnasium.make(POINT), 1), (make_vec_env(POINT, 3), 3)):
        model = loads(saved, env)
        assert model.n_envs == number
        model.learn(4 * number, reset_num_timesteps=False)


def test_a_model_without_an_environment_predicts(saved):
    assert loads(saved, None).predict(np.zeros(2))[0].shape == (1,)


@pytest.mark.parametrize(
    ("error", "message", "env"),
    [
        (UsageError, "did you mean Hopper-v5", "Hoper"),
        (UsageError, "env is 5: expected an id", 5),
        (UsageError, "expected an id, a Gymnasium environment or a VecEnv", gymnasium.make_vec("Pendulum-v1")),
        (ValueError, "Observation spaces do not match", "Pendulum-v1"),
    ],
)
def test_environments_that_are_refused(error, message, env, saved):
    with pytest.raises(error, match=message) as caught:
        loads(saved, env)
    assert "\n" not in str(caught.value)


def test_statistics_that_are_missing_are_missed(tmp_path, caplog):
    env = VecNormalize(make_vec_env(POINT, 2))
    sparse(env=env).learn(ROLLOUT).save(tmp_path / "model")
    loads(tmp_path / "model", VecNormalize(make_vec_env(POINT, 2)))
    loads(tmp_path / "model", None)
    assert not caplog.records
    for bare in (POINT, make_vec_env(POINT, 2)):
        caplog.clear()
        loads(tmp_path / "model", bare)
        assert "learned under VecNormalize" in caplog.text


# Copies


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_dense_algorithm_loads_it_to_predict(algorithm, tmp_path):
    model = sparse(algorithm)
    model.learn(3 * ROLLOUT).save(tmp_path / "model")
    plain = algorithm.load(tmp_path / "model", device="cpu")
    obs = np.linspace(-1, 1, 10).reshape(5, 2)
    np.testing.assert_array_equal(plain.predict(obs, deterministic=True)[0], model.predict(obs, deterministic=True)[0])
    with pytest.raises(UsageError, match=rf"load it by load_sparse\({algorithm.__name__}, path\)"):
        sparsify(plain)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_copy_learns_as_its_original_does(algorithm, duplicate):
    model = sparse(algorithm)
    model.learn(3 * ROLLOUT)
    model.predict(np.zeros((1, 2)))  # Stable-Baselines3 can copy no model that holds the graph of its last update
    copied = duplicate(model)
    assert type(copied) is type(model)
    ends = []
    for one in (model, copied):
        one.set_env(make_vec_env(POINT, 2, seed=3))
        restarted(one).learn(4 * ROLLOUT)
        assert not absent(one).any()
        ends.append(everything(one) | {"active": one.sparsity.masks.active})
    np.testing.assert_equal(*ends)
    assert copied.sparsity is not model.sparsity


def test_learning_twice_begins_its_schedule_anew_or_goes_on_with_it():
    model = sparse(rule=SET(every=1, end=0.5))
    seen = []
    watch = AtEveryRollout(start=lambda model: seen.append(model.sparsity.metrics()["regrown"]))
    model.learn(4 * ROLLOUT, callback=watch)
    model.learn(4 * ROLLOUT, callback=watch)
    model.learn(8 * ROLLOUT, callback=watch, reset_num_timesteps=False)
    grew = np.diff(seen[:4]), np.diff(seen[4:8])
    for one in grew:
        assert (one[:2] > 0).all()
        assert one[2] == 0
    assert model.num_timesteps == 12 * ROLLOUT
    assert not absent(model).any()


def test_an_optimiser_that_forgets_everything_forgets_how_old_weights_are():
    model = sparse(rule=RigL(every=2, drop=0.9))
    model.learn(2 * ROLLOUT)
    assert (model.sparsity._ages == 0).any()
    model.policy.optimizer.state.clear()
    model.learn(ROLLOUT)
    assert (model.sparsity._ages == moments.GROWN_UP).all()


def test_weights_put_in_from_elsewhere_are_masked_before_learning():
    model = sparse()
    model.set_parameters(dense().get_parameters())
    assert absent(model).any()
    seen = []
    model.learn(ROLLOUT, callback=AtEveryRollout(start=lambda model: seen.append(absent(model).any())))
    assert seen == [False]


def test_after_an_exception_no_hook_is_left():
    def fail(model):
        raise RuntimeError("stop")

    model = sparse()
    with pytest.raises(RuntimeError, match="stop"):
        model.learn(10 * ROLLOUT, callback=AtEveryRollout(end=fail))
    assert not model.policy.optimizer._optimizer_step_post_hooks
    assert not any(weight._backward_hooks for weight, _ in layers(model))
    model.learn(2 * ROLLOUT)
    assert not absent(model).any()
