"""TensorBoard event files: CleanRL's, ours, resumed and cut ones."""

import sys

import numpy as np
import pytest
from foreign_runs import write_events

from rlsparse.compare.find import log_files
from rlsparse.compare.foreign_logs import event_logs
from rlsparse.compare.logs import read_path
from rlsparse.compare.record import EVALUATION, TRAINING, UnreadableLog


def test_cleanrl_logs_episodes_under_a_folder_that_says_it_all(tmp_path):
    folder = tmp_path / "Hopper-v5__ppo_continuous_action__3__1700000000"
    write_events(folder, "charts/episodic_return", [(10, 1.0), (10, 3.0), (30, 5.0)])
    (log,) = read_path(folder, "auto")
    assert (log.agent, log.env, log.curves[0].seed) == ("ppo_continuous_action", "Hopper-v5", 3)
    assert log.measure == TRAINING
    assert log.curves[0].axes["steps"].tolist() == [10, 30]
    assert log.curves[0].axes["seconds"].tolist() == [0, 2]
    assert log.curves[0].returns.tolist() == [2, 3]


def test_steps_that_a_resumed_run_wrote_again_count_once(tmp_path):
    write_events(tmp_path, "eval/mean_reward", [(10, 1.0), (20, 2.0), (30, 3.0)], ".0")
    write_events(tmp_path, "eval/mean_reward", [(20, 2.5), (30, 3.5)], ".1")
    (log,) = read_path(tmp_path, "auto")
    assert log.measure == EVALUATION
    assert log.curves[0].returns.tolist() == [1, 2.5, 3.5]


def test_values_that_are_not_finite_are_left_out(tmp_path):
    write_events(tmp_path, "rollout/ep_rew_mean", [(10, 1.0), (20, float("nan")), (30, 3.0)])
    assert read_path(tmp_path, "auto")[0].curves[0].returns.tolist() == [1, 3]


def test_an_event_file_cut_or_damaged_anywhere_gives_points_that_were_there(tmp_path):
    write_events(tmp_path, "eval/mean_reward", [(10, 1.25), (20, 2.25)])
    (path,) = log_files(tmp_path)
    whole = path.read_bytes()
    for at in range(0, len(whole), 5):
        flipped = bytearray(whole)
        flipped[at] ^= 0x41
        for content in (whole[:at], bytes(flipped)):
            path.write_bytes(content)
            try:
                logs = [*event_logs([path], ("eval/mean_reward",), EVALUATION)]
            except UnreadableLog:
                continue
            for (curve,) in (log.curves for log in logs):
                assert set(zip(curve.axes["steps"], curve.returns, strict=True)) <= {(10, 1.25), (20, 2.25)}


def test_other_tags_are_no_curve(tmp_path):
    write_events(tmp_path, "losses/value_loss", [(10, 1.0)])
    with pytest.raises(UnreadableLog, match="holds no returns"):
        read_path(tmp_path, "auto")
    assert read_path(tmp_path, "losses/value_loss")[0].measure == "TensorBoard tag losses/value_loss"


class Broken:
    """A module of a package that was built for another one."""

    def __getattr__(self, name):
        raise TypeError("Descriptors cannot be created directly.")


@pytest.mark.parametrize("broken", [False, True])
def test_without_a_tensorboard_that_works_the_extra_is_named(tmp_path, monkeypatch, broken):
    write_events(tmp_path, "eval/mean_reward", [(10, 1.0)])
    monkeypatch.setitem(
        sys.modules, "tensorboard.backend.event_processing.event_file_loader", Broken() if broken else None
    )
    with pytest.raises(UnreadableLog, match=r"pip install 'rlsparse\[tb\]'"):
        read_path(tmp_path, "auto")


def test_a_tag_of_a_run_of_ours_is_read_from_all_its_seeds(tmp_path):
    from synthetic_runs import write_run

    run = write_run(tmp_path / "ppo" / "run", [[1.0, 2.0], [3.0, 4.0]])
    for seed in (0, 1):
        write_events(run / "tb" / f"seed-{seed}", "train/std", [(10, 0.5 + seed), (20, 0.25)])
    (log,) = read_path(run, "train/std")
    assert [(curve.seed, curve.returns.tolist()) for curve in log.curves] == [(0, [0.5, 0.25]), (1, [1.5, 0.25])]
    np.testing.assert_array_equal(log.curves[0].axes["steps"], [10, 20])
