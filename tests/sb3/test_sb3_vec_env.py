"""The VecEnv for Stable-Baselines3 against its own DummyVecEnv: the same numbers, so the same training."""

import errno
import inspect
import json
import warnings

import fake_envs
import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box
from gymnasium.wrappers import FrameStackObservation
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env as make_dummy_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor, ResultsWriter
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from rlsparse.compare.logs import read_logs
from rlsparse.errors import StorageError, UsageError
from rlsparse.sb3 import BatchedVecEnv, make_vec_env

TOLERANCE = {"rtol": 0, "atol": 1e-10}
READ_BY_SB3 = {"TimeLimit.truncated", "terminal_observation", "episode"}


def pair(env_id, num_envs, seed):
    return make_vec_env(env_id, num_envs, seed), make_dummy_vec_env(env_id, num_envs, seed)


def trained(env, **options):
    model = PPO("MlpPolicy", env, n_steps=64, batch_size=64, n_epochs=2, seed=3, device="cpu", **options)
    return model.learn(4 * 64)


def assert_equal_models(ours, theirs):
    for name, array in ours.policy.state_dict().items():
        np.testing.assert_allclose(array, theirs.policy.state_dict()[name], rtol=0, atol=1e-6, err_msg=name)
    episodes, expected = ([(end["r"], end["l"]) for end in model.ep_info_buffer] for model in (ours, theirs))
    assert len(episodes) >= 4
    np.testing.assert_allclose(episodes, expected, atol=2e-6)


@pytest.mark.parametrize("env_id", ["HalfCheetah-v5", "Hopper-v5"])
def test_1005_steps_equal_a_dummy_vec_env(env_id):
    ours, theirs = pair(env_id, 2, seed=5)
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    np.testing.assert_allclose(ours.reset(), theirs.reset(), **TOLERANCE)
    rng = np.random.default_rng(0)
    ends = 0
    for _ in range(1005):
        actions = rng.uniform(-1, 1, (2, *ours.action_space.shape)).astype(np.float32)
        results, expected = ours.step(actions), theirs.step(actions)
        for array, their_array in zip(results[:3], expected[:3], strict=True):
            np.testing.assert_allclose(array, their_array, **TOLERANCE)
            assert array.dtype == their_array.dtype
        for info, their_info in zip(results[3], expected[3], strict=True):
            assert set(info) == set(their_info) & READ_BY_SB3
            assert info["TimeLimit.truncated"] is bool(their_info["TimeLimit.truncated"])
            if "episode" in info:
                np.testing.assert_allclose(
                    info["terminal_observation"], their_info["terminal_observation"], **TOLERANCE
                )
                assert info["episode"]["r"] == pytest.approx(their_info["episode"]["r"], abs=2e-6)
                assert info["episode"]["l"] == their_info["episode"]["l"]
                assert info["episode"]["t"] >= 0
                ends += 1
    assert ends >= 2


def test_seeds_hold_for_one_reset():
    ours, theirs = pair("Hopper-v5", 2, seed=None)
    for env in (ours, theirs):
        assert env.seed(11) == [11, 12]
    for _ in range(3):  # the second and third go on with the same generators
        np.testing.assert_allclose(ours.reset(), theirs.reset(), **TOLERANCE)


def test_ppo_learns_the_same():
    ours, theirs = (trained(env) for env in pair("Hopper-v5", 4, seed=0))
    assert_equal_models(ours, theirs)


def test_normalised_ppo_learns_and_evaluates_the_same():
    envs = [VecNormalize(env) for env in pair("Hopper-v5", 4, seed=0)]
    ours, theirs = (trained(env) for env in envs)
    assert_equal_models(ours, theirs)
    np.testing.assert_allclose(envs[0].obs_rms.mean, envs[1].obs_rms.mean, **TOLERANCE)
    scores = []
    for model, env in zip((ours, theirs), envs, strict=True):
        env.training = False
        env.seed(1)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # above all: no complaint about a missing Monitor
            scores.append(evaluate_policy(model, env, n_eval_episodes=5, return_episode_rewards=True))
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-3)


def test_names_are_resolved_as_everywhere():
    env = make_vec_env("half-cheetah", n_envs=3)
    assert env.num_envs == 3
    assert env.get_attr("spec", indices=[0, 2]) == [gymnasium.spec("HalfCheetah-v5")] * 2


def test_any_other_environment_is_what_stable_baselines3_makes():
    class Grid(fake_envs.Point):
        observation_space = Box(0, 255, (3, 2), np.uint8)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return np.full((3, 2), 7, np.uint8), {}

    for env_id in (Grid, lambda: Grid()):
        env = make_vec_env(env_id, n_envs=2)
        assert isinstance(env, DummyVecEnv)
        obs = env.reset()
        assert (obs.shape, obs.dtype) == ((2, 3, 2), np.uint8)
    ours, theirs = pair("Pendulum-v1", 2, seed=0)
    np.testing.assert_array_equal(ours.reset(), theirs.reset())
    assert make_vec_env("CartPole-v1").action_space.n == 2
    assert make_vec_env("pendulum", 1).get_attr("spec")[0].id == "Pendulum-v1"


def test_a_class_is_named_as_for_training(tmp_path):
    (tmp_path / "robot.py").write_text("import fake_envs\nclass Robot(fake_envs.Windy): pass\n")
    for env_id in ("fake_envs:Windy", f"{tmp_path / 'robot.py'}:Robot"):
        env = make_vec_env(env_id, 2, env_kwargs={"wind": 0.5})
        assert env.get_attr("wind") == [0.5, 0.5]
        assert set(env.reset()) == {"side", "speed"}  # Stable-Baselines3 has policies for them


# The arguments of Stable-Baselines3's function


def test_it_takes_the_same_arguments_in_the_same_order():
    ours, theirs = (inspect.signature(make).parameters for make in (make_vec_env, make_dummy_vec_env))
    assert [(x.name, x.default) for x in ours.values()] == [(x.name, x.default) for x in theirs.values()]


def test_changed_tasks_are_batched_and_equal_a_dummy_vec_env():
    changed = {"healthy_reward": 5.0, "ctrl_cost_weight": 0.1, "max_episode_steps": 20, "reset_noise_scale": 0.01}
    changed |= {"xml_file": "hopper.xml", "exclude_current_positions_from_observation": False}
    ours, theirs = (make("Hopper-v5", 2, 5, env_kwargs=changed) for make in (make_vec_env, make_dummy_vec_env))
    assert isinstance(ours, BatchedVecEnv)
    np.testing.assert_allclose(ours.reset(), theirs.reset(), **TOLERANCE)
    ends = np.zeros(2)
    for _ in range(45):
        actions = np.zeros((2, 3), np.float32)
        obs, reward, done, _ = ours.step(actions)
        expected = theirs.step(actions)
        np.testing.assert_allclose(obs, expected[0], **TOLERANCE)
        np.testing.assert_array_equal(reward, expected[1])
        np.testing.assert_array_equal(done, expected[2])
        ends += done
    assert (ends == 2).all()
    spec, single = ours.get_attr("spec")[0], theirs.get_attr("spec")[0]
    assert spec.kwargs | {"render_mode": "rgb_array"} == single.kwargs
    assert spec.max_episode_steps == single.max_episode_steps == 20


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("wrapper_class", {"wrapper_class": FrameStackObservation, "wrapper_kwargs": {"stack_size": 3}}),
        ("vec_env_cls", {"vec_env_cls": DummyVecEnv}),
        ("env_kwargs width", {"env_kwargs": {"width": 64, "exclude_current_positions_from_observation": False}}),
        ("monitor_kwargs info_keywords", {"monitor_kwargs": {"info_keywords": ("x_position",)}}),
    ],
)
def test_what_needs_single_environments_has_them_and_is_told(message, options, caplog):
    env = make_vec_env("Hopper", 2, **options)
    assert isinstance(env, DummyVecEnv)
    (record,) = caplog.records
    assert record.getMessage().startswith(f"Hopper-v5: {message}")
    if "wrapper_class" in options:
        assert env.observation_space.shape == (3, 11)
    elif "width" in message:
        assert env.observation_space.shape == (12,)


def test_seeds_and_names_begin_at_the_start_index(tmp_path):
    for make, name in ((make_vec_env, "ours"), (make_dummy_vec_env, "theirs")):
        make("Hopper-v5", 2, 3, 4, tmp_path / name if name == "ours" else str(tmp_path / name)).close()
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["4.monitor.csv", "5.monitor.csv"]
    ours, theirs = (make("Hopper-v5", 2, 3, 4) for make in (make_vec_env, make_dummy_vec_env))
    np.testing.assert_allclose(ours.reset(), theirs.reset(), **TOLERANCE)
    np.testing.assert_array_equal(ours.action_space.sample(), theirs.action_space.sample())


def test_monitor_files_are_those_of_stable_baselines3(tmp_path):
    def rows(folder):
        texts = [path.read_text().splitlines() for path in sorted(folder.iterdir())]
        heads = [json.loads(text[0].removeprefix("#")) for text in texts]
        assert [set(head) for head in heads] == [{"t_start", "env_id"}] * 2
        assert [(head["env_id"], text[1]) for head, text in zip(heads, texts, strict=True)] == [
            ("Hopper-v5", "r,l,t")
        ] * 2
        return [[[float(x) for x in line.split(",")] for line in text[2:]] for text in texts]

    for make, name in ((make_vec_env, "ours"), (make_dummy_vec_env, "theirs")):
        env = make("Hopper-v5", 2, seed=1, monitor_dir=str(tmp_path / name))
        env.reset()
        for _ in range(150):
            env.step(np.ones((2, 3), np.float32))
        env.close()
    ours, theirs = rows(tmp_path / "ours"), rows(tmp_path / "theirs")
    for own, expected in zip(ours, theirs, strict=True):
        assert len(own) >= 2
        np.testing.assert_allclose([row[:2] for row in own], [row[:2] for row in expected], atol=2e-6)
        assert all(row[2] >= 0 for row in own)
    (log,) = read_logs([str(tmp_path / "ours")], "training").logs
    assert (log.env, log.curves[0].axes["steps"][-1]) == ("Hopper-v5", sum(row[1] for rows in ours for row in rows))

    before = len(rows(tmp_path / "ours")[0])
    options = {"monitor_kwargs": {"override_existing": False}}
    env = make_vec_env("Hopper-v5", 2, seed=1, monitor_dir=str(tmp_path / "ours"), **options)
    env.close()
    assert len(rows(tmp_path / "ours")[0]) == before


def test_a_full_disk_ends_the_monitor_files_but_not_training(tmp_path, monkeypatch, caplog):
    def full(self, row):
        if write.left == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        write.left -= 1
        write(self, row)

    write = ResultsWriter.write_row
    monkeypatch.setattr(ResultsWriter, "write_row", full)
    write.left = 3
    env = make_vec_env("Hopper", 2, seed=1, monitor_dir=tmp_path)
    env.reset()
    ends = sum(env.step(np.ones((2, 3), np.float32))[2].sum() for _ in range(150))
    env.close()
    assert ends > 5
    assert sum(len(path.read_text().splitlines()) - 2 for path in tmp_path.iterdir()) == 3
    assert caplog.messages == ["monitor files end here, and training goes on: No space left on device"]


def test_a_place_for_monitor_files_that_is_none_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot write .*file/0.monitor.csv: "):
        make_vec_env("Hopper", monitor_dir=tmp_path / "file")


@pytest.mark.parametrize(
    ("message", "make"),
    [
        ("n_envs is 0", lambda: make_vec_env("Hopper", 0)),
        ("n_envs is -1", lambda: make_vec_env("Pendulum", n_envs=-1)),
        ("Hopper-v5 has no argument drag", lambda: make_vec_env("Hopper", env_kwargs={"drag": 1})),
        ("did you mean HalfCheetah-v5", lambda: make_vec_env("HalfCheeta")),
        ("'Hopper-v5' is no vector environment.*make_vec_env", lambda: BatchedVecEnv("Hopper-v5")),
        ("no vector environment", lambda: BatchedVecEnv(gymnasium.make("Hopper-v5"))),
        ("same-step autoreset", lambda: BatchedVecEnv(gymnasium.make_vec("Hopper-v5"))),
    ],
)
def test_what_is_refused(message, make):
    with pytest.raises(UsageError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_there_are_no_single_environments():
    env = make_vec_env("Hopper", n_envs=2)
    assert env.env_is_wrapped(Monitor) == [True, True]
    assert env.env_is_wrapped(gymnasium.wrappers.TimeLimit, indices=0) == [False]
    assert env.has_attr("render_mode") and not env.has_attr("model")
    for call in (lambda: env.env_method("jump"), lambda: env.set_attr("gravity", 0), lambda: env.get_attr("gravity")):
        with pytest.raises(AttributeError, match="batched environments"):
            call()
    env.close()
