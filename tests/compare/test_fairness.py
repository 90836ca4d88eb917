"""What is not alike is refused, or compared and said."""

import json
import re

import numpy as np
import pytest
from synthetic_runs import write_run

from rlsparse.compare.arms import arrange
from rlsparse.compare.comparison import compare
from rlsparse.compare.logs import read_logs
from rlsparse.errors import UsageError

GENERATOR = np.random.default_rng(0)


def curves(seeds=3, points=11):
    return GENERATOR.normal(size=(seeds, points))


def write_evaluations(folder, points=11):
    folder.mkdir(parents=True)
    np.savez(folder / "evaluations.npz", timesteps=1000 * np.arange(1, points + 1), results=curves(points, 5))


def write_monitor(folder, episodes=60):
    folder.mkdir(parents=True)
    rows = "".join(f"{r},200,{i}\n" for i, r in enumerate(GENERATOR.normal(size=episodes)))
    (folder / "monitor.csv").write_text('#{"t_start": 0.0, "env_id": "Pendulum-v1"}\nr,l,t\n' + rows)


def compared(folder, axis="steps", **options):
    return compare(arrange(read_logs([str(folder)]).logs, {}), axis, **options)


def refused(folder, message, axis="steps"):
    """Check that the comparison is refused in one line, and made, and marked, when it is allowed."""
    with pytest.raises(UsageError, match=message) as error:
        compared(folder, axis)
    assert "--allow-mixed" in str(error.value)
    assert "\n" not in str(error.value)
    allowed = compared(folder, axis, allow_mixed=True)
    assert len(allowed.mismatches) == 1
    return allowed


def test_training_and_evaluation_returns(tmp_path):
    write_run(tmp_path / "a", curves())
    write_monitor(tmp_path / "sb3" / "Pendulum-v1_1")
    refused(tmp_path, "training and evaluation returns are not the same measure")


def test_versions_of_an_environment(tmp_path):
    write_run(tmp_path / "a", curves(), env="HalfCheetah-v5")
    write_evaluations(tmp_path / "ppo" / "HalfCheetah-v4_1")
    allowed = refused(tmp_path, "HalfCheetah-v4 and HalfCheetah-v5 are different tasks")
    assert [panel.env for panel in allowed.panels] == ["HalfCheetah-v4 + HalfCheetah-v5"]
    assert len(allowed.panels[0].cells) == 2


def test_returns_of_other_arguments_are_never_in_one_panel(tmp_path):
    """Returns of another reward are those of another task, though the id is the same."""
    write_run(tmp_path / "a", curves(), env="Ant-v5")
    write_run(tmp_path / "b", curves(), env="Ant-v5", env_kwargs={"healthy_reward": 2.0})
    found = compared(tmp_path)
    assert [panel.env for panel in found.panels] == ["Ant-v5", "Ant-v5 healthy_reward=2.0"]
    assert [list(panel.cells) for panel in found.panels] == [["ppo"], ["ppo"]]
    write_run(tmp_path / "c" / "d", curves(), env="Ant-v5", env_kwargs={"healthy_reward": 3.0}, agent="trpo")
    write_run(tmp_path / "c" / "e", curves(), env="Ant-v5")
    refused(tmp_path / "c", r"no two arms share an environment: .*trpo ran on Ant-v5 healthy_reward=3.0")


def test_a_class_of_a_file_is_the_same_task_wherever_the_file_lies(tmp_path):
    write_run(tmp_path / "a", curves(), env="/home/a/robot.py:Robot")
    write_run(tmp_path / "b", curves(), env="/Users/b/robot.py:Robot", agent="trpo")
    found = compared(tmp_path)
    assert ([panel.env for panel in found.panels], found.mismatches) == (["robot.py:Robot"], [])


def test_files_of_an_environment_that_are_not_the_same_are_told(tmp_path):
    for name, digest in (("a", "1" * 64), ("b", "2" * 64), ("c", "")):
        run = write_run(tmp_path / name, curves(), env=f"/{name}/robot.py:Robot", seed=3 * ord(name))
        versions = json.loads((run / "versions.json").read_text())
        (run / "versions.json").write_text(
            json.dumps({**versions, "files": {"robot.py:Robot": digest} if digest else {}})
        )
    found = compared(tmp_path)
    told = (
        "robot.py:Robot may be another task, for robot.py:Robot has other contents: 11111111 (.*/a) and 22222222 (.*/b)"
    )
    assert [text for text in found.remarks if re.fullmatch(re.escape(told).replace(r"\.\*", ".*"), text)]
    assert found.mismatches == []


def test_the_same_arguments_are_one_task(tmp_path):
    write_run(tmp_path / "a", curves(), env_kwargs={"g": 5})
    write_run(tmp_path / "b", curves(), env_kwargs={"g": 5}, agent="trpo")
    assert compared(tmp_path).mismatches == []


def test_arms_without_a_common_environment(tmp_path):
    write_run(tmp_path / "a", curves(), env="Hopper-v5")
    write_run(tmp_path / "b", curves(), env="Ant-v5", agent="trpo")
    refused(tmp_path, "no two arms share an environment: ppo ran on Hopper-v5 and trpo ran on Ant-v5")


@pytest.mark.parametrize(
    "packages", [{"mujoco": "3.3.1"}, {"mujoco": "4.1.0"}, {"gymnasium": "1.2.0"}, {"backend": "warp"}]
)
def test_versions_and_backends_of_the_simulator(tmp_path, packages):
    write_run(tmp_path / "a", curves(), packages={"backend": "cpu"})
    write_run(tmp_path / "b", curves(), agent="trpo", packages={"backend": "cpu"} | packages)
    refused(tmp_path, f"Pendulum-v1 was computed by different versions of {next(iter(packages))}")


@pytest.mark.parametrize("packages", [{"mujoco": "4.0.7"}, {"numpy": "1.0"}])
def test_other_versions_may_differ(tmp_path, packages):
    write_run(tmp_path / "a", curves())
    write_run(tmp_path / "b", curves(), agent="trpo", packages=packages)
    assert compared(tmp_path).mismatches == []


def test_probe_steps_against_logs_that_do_not_know_of_them(tmp_path):
    write_run(tmp_path / "a", curves(), agent="explorler", probe_share=0.5)
    write_evaluations(tmp_path / "sb3" / "Pendulum-v1_1")
    allowed = refused(tmp_path, "steps are counted differently")
    assert "probe steps unknown" in allowed.mismatches[0]
    assert compared(tmp_path, "train-steps").mismatches == []


def test_without_probing_both_count_the_same(tmp_path):
    write_run(tmp_path / "a", curves())
    write_evaluations(tmp_path / "sb3" / "Pendulum-v1_1")
    comparison = compared(tmp_path)
    assert comparison.mismatches == []
    assert any("logs of different origin" in text for text in comparison.remarks)


def test_several_reasons_are_told_together(tmp_path):
    write_run(tmp_path / "a", curves(), probe_share=0.5, packages={"mujoco": "3.0"})
    write_run(tmp_path / "b", curves(), agent="trpo")
    write_monitor(tmp_path / "sb3" / "Pendulum-v1_1")
    with pytest.raises(UsageError) as error:
        compared(tmp_path)
    for reason in ("measure", "mujoco", "counted differently"):
        assert reason in str(error.value)


def test_different_numbers_of_episodes_are_said(tmp_path):
    write_run(tmp_path / "a", curves())
    write_run(tmp_path / "b", curves(), agent="trpo", episodes=5)
    assert "Pendulum-v1: points are means of different numbers of episodes: 5, 10" in compared(tmp_path).remarks


def test_an_axis_that_a_log_does_not_know_is_refused(tmp_path):
    write_run(tmp_path / "a", curves())
    write_evaluations(tmp_path / "sb3" / "Pendulum-v1_1")
    with pytest.raises(UsageError, match=r"--x seconds: .* does not log it, only steps, train-steps"):
        compared(tmp_path, "seconds")


@pytest.mark.parametrize(("axis", "end"), [("train-steps", 7500), ("updates", 7500 / 2048), ("seconds", 5.0)])
def test_other_axes_say_what_they_are(tmp_path, axis, end):
    write_run(tmp_path / "a", curves(), probe_share=0.25)
    comparison = compared(tmp_path, axis)
    assert comparison.panels[0].end == end
    assert comparison.x_label != "environment steps per seed (train + probe)"
