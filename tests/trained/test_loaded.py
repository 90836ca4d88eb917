"""A trained policy in Python: raw observations in, actions of the environment out, as the networks say."""

import json
import pickle

import fake_envs
import gymnasium
import numpy as np
import pytest
import tiny
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

import rlsparse
from rlsparse.errors import RunDirectoryError, UsageError
from rlsparse.learner.streams import env_seeds
from rlsparse.run import policy_file
from rlsparse.sim.gym import episode_seed
from rlsparse.trained import play

POINT = "fake_envs:Point-v0"


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run of two seeds whose policies have learnt a little."""
    path = tmp_path_factory.mktemp("loaded") / "run"
    tiny.train(path, tiny.recipe(num_seeds=2, seed=5))
    return path


@pytest.fixture
def policy(run_dir):
    return rlsparse.load(run_dir, POINT, member=1)


def expected(run_dir, member, obs):
    """Actions [N, 1] of a member's network, written out: actions of these environments go from -2 to 2."""
    actors = policy_file.load(run_dir / "policy.safetensors").actors
    return np.clip(2 * actors(np.stack([obs, obs]))[member], -2, 2)


def test_one_observation_gives_one_action_and_several_give_several(policy, run_dir):
    obs = np.random.default_rng(0).normal(size=(7, 2))
    actions = policy(obs)
    assert (actions.shape, actions.dtype) == ((7, 1), np.float32)
    np.testing.assert_allclose(actions, expected(run_dir, 1, obs), rtol=1e-6)
    np.testing.assert_allclose(policy(obs[0]), actions[0], rtol=1e-6)
    assert policy(obs[0].tolist()).shape == (1,)


def test_members_are_apart(run_dir):
    obs = np.ones(2)
    first, second = (rlsparse.load(run_dir, POINT, member=m) for m in range(2))
    assert (first.seed, second.seed) == (5, 6)
    assert first(obs) != second(obs)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (1, 2, 2)])
def test_observations_of_another_shape_are_refused(shape, policy):
    with pytest.raises(ValueError, match=r"observations have shape .*, expected \(2,\) or \(N, 2\) as fake_envs:Point"):
        policy(np.zeros(shape))


def test_an_observation_with_its_info_is_told_how_reset_is_unpacked(policy):
    with pytest.raises(ValueError, match=r"not what env.reset\(\) gives: obs, info = env.reset\(\)"):
        policy(gymnasium.make(POINT).reset())


def test_observations_of_several_parts_are_taken_as_they_are(tmp_path):
    tiny.train(tmp_path / "run", tiny.recipe(env="fake_envs:Windy"))
    policy = rlsparse.load(tmp_path / "run", "fake_envs:Windy")
    left, right = ({"side": side, "speed": np.array([0.1 * side])} for side in (0, 1))
    both = policy({"side": np.array([0, 1]), "speed": np.array([[0.0], [0.1]])})
    np.testing.assert_allclose(both, [policy(left), policy(right)], rtol=1e-6)
    np.testing.assert_array_equal(policy(left), policy(np.array([1.0, 0.0, 0.0])))  # the vector that it was trained on
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(policy))(left), policy(left))
    assert policy(left) != policy(right)
    for wrong in ({"side": 1}, [left, right], {"side": 5, "speed": [0.0]}):
        with pytest.raises(ValueError, match=r"expected an observation of Dict\('side': Discrete\(2\), 'speed': Box"):
            policy(wrong)


def test_predict_is_what_stable_baselines3_evaluates(policy):
    env = make_vec_env(POINT, 2, seed=3)
    mean, _ = evaluate_policy(policy, env, n_eval_episodes=4)  # type: ignore[arg-type]
    assert np.isfinite(mean)
    obs = np.zeros((2, 2))
    action, state = policy.predict(obs, state="kept")
    np.testing.assert_array_equal(action, policy(obs))
    assert state == "kept"


def test_predict_draws_the_action_noise_that_training_has(policy):
    obs = np.zeros((20_000, 2))
    drawn, _ = policy.predict(obs, deterministic=False)
    std = 2 * np.exp(policy.actors.layout.log_std(policy.actors.params)[0])
    inside = np.abs(drawn) < 2  # the others are clipped to the range
    assert 0.3 < inside.mean() < 1
    assert np.median(drawn) == pytest.approx(policy(obs[0])[0], abs=0.05 * float(std[0]))


def test_evaluate_equals_a_loop_of_ones_own(policy):
    found = policy.evaluate(episodes=3, seed=4)
    env, returns, lengths = gymnasium.make(POINT), [], []
    for seed in env_seeds(4, "play", 3):
        obs, _ = env.reset(seed=episode_seed(seed, 0))  # as a batch begins an environment's first episode
        total, length, over = 0.0, 0, False
        while not over:
            obs, reward, terminated, truncated, _ = env.step(policy(obs))
            total, length, over = total + reward, length + 1, terminated or truncated
        returns.append(total)
        lengths.append(length)
    np.testing.assert_allclose(found.returns, returns, rtol=1e-9)
    np.testing.assert_array_equal(found.lengths, lengths)
    assert found.mean == pytest.approx(np.mean(returns))
    assert found.std == pytest.approx(np.std(returns))
    assert found.seeds == tuple(env_seeds(4, "play", 3))


def test_evaluate_repeats_itself_and_depends_on_its_seed(policy):
    again, other = policy.evaluate(3, seed=0), policy.evaluate(3, seed=1)
    np.testing.assert_array_equal(policy.evaluate(3).returns, again.returns)
    assert (again.returns != other.returns).any()
    with pytest.raises(UsageError, match="episodes is 0: expected 1 or more"):
        policy.evaluate(0)
    with pytest.raises(UsageError, match="episodes is '10': expected a whole number"):
        policy.evaluate("10")


def test_a_shipped_policy_acts_on_its_task_as_play_does(capsys):
    policy = rlsparse.load("ppo", env="HalfCheetah")
    play.main(["ppo", "--env", "HalfCheetah", "--episodes", "1", "--json"])
    told = json.loads(capsys.readouterr().out)
    env = gymnasium.make("HalfCheetah-v5")
    obs, _ = env.reset(seed=told["episodes"][0]["seed"])
    total = 0.0
    for _ in range(told["episodes"][0]["length"]):
        obs, reward, *_ = env.step(policy(obs))
        total += reward
    assert total == pytest.approx(told["episodes"][0]["episode_return"], rel=1e-4)
    (seed,) = policy_file.load(policy.path).actors.seeds
    assert repr(policy).startswith(f"Policy('HalfCheetah-v5', seed={seed}, ")


def test_a_policy_is_pickled_and_acts_as_before(policy):
    obs = np.ones((3, 2))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(policy))(obs), policy(obs))


def test_what_cannot_be_loaded_is_told(run_dir, tmp_path):
    with pytest.raises(UsageError, match="member 2: .* holds members 0 to 1, of seeds 5 to 6"):
        rlsparse.load(run_dir, POINT, member=2)
    with pytest.raises(RunDirectoryError, match="there is no run directory"):
        rlsparse.load(tmp_path / "nothing")
    with pytest.raises(UsageError, match="has several trained policies: add --env"):
        rlsparse.load("ppo")
    with pytest.raises(UsageError, match="if you trust it, say so by"):
        rlsparse.load(run_dir)


def test_code_that_a_file_names_is_run_where_it_is_trusted(run_dir, capsys):
    before = fake_envs.made
    assert rlsparse.load(run_dir, trust=True).env == POINT
    assert fake_envs.made == before + 1
    assert "running the module fake_envs" in capsys.readouterr().err
