"""Stable-Baselines3's files, written by Stable-Baselines3 itself, whole, cut and damaged."""

import io
import json
import zipfile

import numpy as np
import pytest
from foreign_runs import write_arguments, write_monitor
from hypothesis import given
from hypothesis import strategies as st

from rlsparse.compare.find import log_files
from rlsparse.compare.foreign_logs import read_evaluations
from rlsparse.compare.logs import read_files, read_path
from rlsparse.compare.monitors import read_monitors, rolling_mean
from rlsparse.compare.origin import Origin, origin_of
from rlsparse.compare.record import EVALUATION, PROBES_COUNTED, PROBES_UNKNOWN, TRAINING, UnreadableLog


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a real run: two monitored environments, evaluations, a CSV log and TensorBoard events."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import EvalCallback
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.logger import configure

    folder = tmp_path_factory.mktemp("logs") / "ppo" / "Pendulum-v1_1"
    env = make_vec_env("Pendulum-v1", 2, seed=3, monitor_dir=str(folder))
    model = PPO("MlpPolicy", env, n_steps=100, batch_size=100, n_epochs=1, seed=3, device="cpu")
    model.set_logger(configure(str(folder), ["csv", "tensorboard"]))
    evaluation = make_vec_env("Pendulum-v1", 1, seed=4)
    model.learn(800, EvalCallback(evaluation, eval_freq=100, n_eval_episodes=2, log_path=str(folder), verbose=0))
    return folder


def test_evaluations_come_first(trained):
    (log,) = read_path(trained, "auto")
    assert (log.kind, log.measure, log.agent, log.env) == ("SB3 evaluations.npz", EVALUATION, "ppo", "Pendulum-v1")
    assert (log.accounting, log.episodes) == (PROBES_UNKNOWN, (2,))
    with np.load(trained / "evaluations.npz") as saved:
        np.testing.assert_array_equal(log.curves[0].returns, saved["results"].mean(1))
        np.testing.assert_array_equal(log.curves[0].axes["steps"], saved["timesteps"])


def test_monitors_of_two_environments_are_one_training_curve(trained):
    (log,) = read_path(trained, "training")
    assert (log.kind, log.measure, log.env) == ("SB3 monitor.csv", TRAINING, "Pendulum-v1")
    assert log.curves[0].axes["steps"].tolist() == [200, 400, 600, 800]
    episodes = []
    for path in trained.glob("*.monitor.csv"):
        first, _, *rows = path.read_text().splitlines()
        start = json.loads(first[1:])["t_start"]
        episodes += [(start + float(t), float(r)) for r, _, t in (row.split(",") for row in rows)]
    rewards = [r for _, r in sorted(episodes)]
    np.testing.assert_allclose(log.curves[0].returns, [np.mean(rewards[: i + 1]) for i in range(4)], atol=1e-9)


@pytest.mark.parametrize(("returns", "column"), [("evaluation", "eval/mean_reward"), ("training", "ep_rew_mean")])
def test_progress_alone(trained, returns, column):
    (log,) = read_files(trained, [trained / "progress.csv"], returns)
    assert log.kind == "SB3 progress.csv"
    assert log.curves[0].axes["steps"][-1] == 800
    header, *lines = (trained / "progress.csv").read_text().splitlines()
    at = next(i for i, name in enumerate(header.split(",")) if name.endswith(column))
    expected = [float(line.split(",")[at]) for line in lines if line.split(",")[at]]
    assert set(log.curves[0].returns) <= set(expected)


@pytest.mark.parametrize("returns", ["evaluation", "training"])
def test_tensorboard_agrees_with_the_other_files(trained, returns):
    events = [path for path in log_files(trained) if path.name.startswith("events")]
    (log,) = read_files(trained, events, returns)
    (other,) = read_files(trained, [trained / "progress.csv"], returns)
    assert log.kind.startswith("TensorBoard")
    np.testing.assert_array_equal(log.curves[0].axes["steps"], other.curves[0].axes["steps"])
    np.testing.assert_allclose(log.curves[0].returns, other.curves[0].returns, rtol=1e-5)


def test_any_tensorboard_tag_by_name(trained):
    (log,) = read_path(trained, "train/value_loss")
    assert log.measure == "TensorBoard tag train/value_loss"
    with pytest.raises(UnreadableLog, match="no TensorBoard tag nothing/here"):
        read_path(trained, "nothing/here")


def test_episodes_of_several_environments_are_in_the_order_in_which_they_ended(tmp_path):
    first = write_monitor(tmp_path / "0.monitor.csv", [(1, 10, 1.0), (3, 10, 3.0)], start=100.0)
    second = write_monitor(tmp_path / "1.monitor.csv", [(2, 20, 1.5), (4, 20, 3.5)], start=100.5)
    (log,) = read_monitors([first, second])
    (curve,) = log.curves
    assert curve.axes["steps"].tolist() == [10, 30, 40, 60]
    assert curve.axes["seconds"].tolist() == [0, 1, 2, 3]
    assert curve.returns.tolist() == [1, 1.5, 2, 2.5]
    assert log.remarks == ()


def test_a_resumed_monitor_whose_clock_starts_again_keeps_its_order(tmp_path):
    path = write_monitor(tmp_path / "monitor.csv", [(1, 10, 50.0), (2, 10, 90.0), (9, 10, 5.0), (9, 10, 9.0)])
    (curve,) = read_monitors([path])[0].curves
    assert curve.axes["steps"].tolist() == [10, 20, 30, 40]
    assert curve.returns.tolist() == [1, 1.5, 4, 5.25]


def test_a_monitor_cut_anywhere_gives_episodes_that_were_there(tmp_path):
    path = write_monitor(tmp_path / "monitor.csv", [(-1617.878392, 200, 1.528445), (-1350.276513, 200, 1.709515)])
    whole = path.read_bytes()
    expected = rolling_mean(np.array([-1617.878392, -1350.276513]))
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        try:
            returns = read_monitors([path])[0].curves[0].returns
        except UnreadableLog:
            assert whole[:length].count(b"\n") < 2
            continue
        assert returns.tolist() == expected[: len(returns)].tolist()


def test_a_damaged_episode_is_left_out_and_said(tmp_path):
    path = write_monitor(tmp_path / "monitor.csv", [(1, 10, 1.0), ("1,3", 10, 2.0), (3, 10, 3.0), ("", 10, 4.0)])
    (log,) = read_monitors([path])
    assert log.curves[0].axes["steps"].tolist() == [10, 20]
    assert log.remarks == (f"{path}: 2 damaged lines left out",)


def test_extra_columns_may_be_text(tmp_path):
    path = write_monitor(tmp_path / "monitor.csv", [(1, 10, 1.0)], extra=",True")
    assert read_monitors([path])[0].curves[0].returns.tolist() == [1]


@pytest.mark.parametrize(
    "content",
    [
        '#{"t_start": 1.0, "env_id": "Foo-v0"}\nr,l,t-21.0,792,63.4\n-20.0,819,96.5\n',
        '\ufeff#{"t_start": 1.0, "env_id": "Foo-v0"}\nr,l,t\n-21.0,792,63.4\n-20.0,819,96.5\n',
        "r,l,t\n-21.0,792,63.4\n-20.0,819,96.5\n",
    ],
)
def test_a_head_without_a_line_feed_or_after_a_byte_order_mark_is_read(tmp_path, content):
    (tmp_path / "0.monitor.csv").write_text(content)
    (log,) = read_path(tmp_path, "auto")
    assert log.curves[0].axes["steps"].tolist() == [792, 792 + 819]
    assert log.curves[0].returns.tolist() == [-21, -20.5]
    assert log.env == ("Foo-v0" if "Foo" in content else None)


@pytest.mark.parametrize("content", ["", "#{", "#{}\n", "#[]\nr,l\n1,2\n", '#{"t_start": "x"}\nr,l,t\n'])
def test_a_monitor_without_episodes_is_refused(tmp_path, content):
    (tmp_path / "monitor.csv").write_text(content)
    with pytest.raises(UnreadableLog):
        read_path(tmp_path, "auto")


def test_rolling_mean_is_of_the_last_hundred():
    x = np.arange(250.0)
    np.testing.assert_allclose(rolling_mean(x), [x[max(0, i - 99) : i + 1].mean() for i in range(250)])


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_evaluations_cut_or_damaged_anywhere_are_refused_or_right(tmp_path):
    path = npz(tmp_path / "evaluations.npz", timesteps=np.array([10, 20]), results=np.array([[1.0, 3.0], [5.0, 7.0]]))
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        flipped = bytearray(whole)
        flipped[at] ^= 0x41
        for content in (whole[:at], bytes(flipped)):
            path.write_bytes(content)
            try:
                log = read_evaluations(path)
            except UnreadableLog:
                continue
            (curve,) = log.curves
            assert (curve.axes["steps"].tolist(), curve.returns.tolist(), log.episodes) == ([10, 20], [2, 6], (2,))


@pytest.mark.parametrize(
    "arrays",
    [
        {"timesteps": np.arange(3)},
        {"timesteps": np.arange(3), "results": np.zeros((2, 5))},
        {"timesteps": np.arange(3), "results": np.zeros(3)},
        {"timesteps": np.arange(3), "results": np.zeros((3, 0))},
        {"timesteps": np.arange(3), "results": np.zeros((3, 5, 2))},
        {"timesteps": np.arange(3), "results": np.array([[1], ["a"], [None]], object)},
        {"timesteps": np.array(["a", "b"]), "results": np.zeros((2, 1))},
    ],
)
def test_other_arrays_are_refused(tmp_path, arrays):
    with pytest.raises(UnreadableLog, match=r"evaluations\.npz"):
        read_evaluations(npz(tmp_path / "evaluations.npz", **arrays))


def test_nothing_in_an_npz_is_unpickled_and_nothing_huge_is_allocated(tmp_path):
    path = tmp_path / "evaluations.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2**40, 5)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("timesteps.npy", header.getvalue())
        archive.writestr("results.npy", header.getvalue())
    with pytest.raises(UnreadableLog):
        read_evaluations(path)


@given(st.binary(max_size=200))
def test_no_bytes_crash_a_reader(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("any")
    for name in ("monitor.csv", "progress.csv", "evaluations.npz"):
        (folder / name).write_bytes(content)
        with pytest.raises(UnreadableLog):
            read_files(folder, [folder / name], "auto")


def test_probe_steps_that_were_logged_count(tmp_path):
    header = "time/total_timesteps,steps/total,eval/mean_reward"
    (tmp_path / "progress.csv").write_text(f"{header}\n100,150,1.0\n200,300,2.0\n")
    (log,) = read_path(tmp_path, "auto")
    assert log.accounting == PROBES_COUNTED
    assert log.curves[0].axes["steps"].tolist() == [150, 300]
    assert log.curves[0].axes["train-steps"].tolist() == [100, 200]


def test_a_progress_of_ours_goes_before_the_monitor_beside_it(tmp_path):
    write_monitor(tmp_path / "monitor.csv", [(1, 10, 1.0)], env="Hopper-v5")
    header = "seed,total_steps,train_steps,probe_steps,return_mean"
    (tmp_path / "progress.csv").write_text(f"{header}\n7,0,0,0,1.0\n7,100,80,20,2.0\n")
    (log,) = read_path(tmp_path, "auto")
    assert (log.env, log.accounting, log.curves[0].seed) == ("Hopper-v5", PROBES_COUNTED, 7)


@pytest.mark.parametrize(
    ("path", "origin"),
    [
        ("logs/ppo/HalfCheetah-v5_12", Origin("ppo", "HalfCheetah-v5", None)),
        (
            "runs/HalfCheetah-v5__ppo_continuous_action__3__1700000000",
            Origin("ppo_continuous_action", "HalfCheetah-v5", 3),
        ),
        ("out/sac/Hopper-v5/seed_4", Origin("sac", "Hopper-v5", 4)),
        ("out/sac/Hopper-v5/4", Origin("sac", "Hopper-v5", 4)),
        ("out/Hopper-v5/sac/s4", Origin("sac", "Hopper-v5", 4)),
        ("out/sac-seed7", Origin("sac", None, 7)),
        ("tb/PPO_2", Origin("PPO", None, None)),
        ("results/learning/ppo/Walker2d-v5.csv", Origin("ppo", "Walker2d-v5", None)),
        ("x/ALE/Pong-v5/dqn/seed0", Origin("dqn", "Pong-v5", 0)),
        ("sac/Foo-v0_1/train", Origin("sac", "Foo-v0", None)),
        ("sac/Foo-v0_1/train/0.monitor.csv", Origin("sac", "Foo-v0", None)),
        ("out/ppo_seed3.monitor.csv", Origin("ppo", None, 3)),
        ("out/sac/Foo-v0/train_monitor.csv", Origin("sac", "Foo-v0", None)),
        ("ppo/Hopper-v5/20261129-055837/monitor.csv", Origin("ppo", "Hopper-v5", None)),
        ("study/cls:MLP, lb:ba/env: Ant-v5, alg:sac, stamp:1/seed:7", Origin("sac cls=MLP lb=ba", "Ant-v5", 7)),
        ("sweep/ppo/env=hopper,lr=0.1,seed=3", Origin("ppo lr=0.1", "Hopper-v5", 3)),
    ],
)
def test_what_a_path_says(tmp_path, path, origin):
    assert origin_of(tmp_path / "somewhere" / path) == origin


def test_the_seed_in_rl_zoos_arguments(tmp_path):
    folder = tmp_path / "ppo" / "Pendulum-v1_1"
    write_monitor(folder / "0.monitor.csv", [(1, 10, 1.0)])
    write_arguments(folder, "Pendulum-v1", 2474408487)
    (log,) = read_path(folder, "auto")
    assert (log.agent, log.env, log.curves[0].seed) == ("ppo", "Pendulum-v1", 2474408487)
