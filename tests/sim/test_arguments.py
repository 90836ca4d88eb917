"""Arguments of environments: which values a recipe can hold, and which a task takes."""

import math
import os
from pathlib import Path

import numpy as np
import pytest

from rlsparse import sim
from rlsparse.errors import UsageError
from rlsparse.sim.arguments import LONGEST, located, plain
from rlsparse.sim.environment import Environment
from rlsparse.sim.tasks import check_task, make_task


def test_arguments_are_kept_as_values_that_every_file_can_hold():
    given = {
        "text": "x",
        "flag": True,
        "many": (1, 2.5),
        "array": np.eye(2),
        "number": np.float32(0.5),
        "path": Path("a.xml"),
        "table": {"distance": 4, "lookat": [0, 0, np.int64(1)]},
        "range": (0.7, "inf"),
    }
    expected = {
        "text": "x",
        "flag": True,
        "many": [1, 2.5],
        "array": [[1.0, 0.0], [0.0, 1.0]],
        "number": 0.5,
        "path": "a.xml",
        "table": {"distance": 4, "lookat": [0, 0, 1]},
        "range": [0.7, math.inf],
    }
    assert plain(given) == expected
    assert plain(expected) == expected


@pytest.mark.parametrize(
    "value", [None, math.nan, object(), len, {1: 2}, 2**63, [None], {"x": b"bytes"}, [[[[[[[[[1]]]]]]]]]]
)
def test_other_values_are_refused(value):
    with pytest.raises(UsageError, match=r"^--env-kwargs.a-b is .*: expected text, a number, true or false, or a list"):
        plain({"a_b": value})


@pytest.mark.parametrize(
    "name", ["id", "self", "render_mode", "disable_env_checker", "a.b", "a b", "", "1x", 200 * "x"]
)
def test_names_that_are_no_arguments_are_refused(name):
    with pytest.raises(UsageError, match="cannot be given to an environment"):
        plain({name: 1})


def test_what_a_message_repeats_is_short():
    for kwargs in ({"x" * 9000: 1}, {"xml_file": ["x" * 9000]}, {"xml_file": "x" * 9000}, {"main_body": "x" * 9000}):
        with pytest.raises(UsageError) as caught:
            sim.make(Environment("Ant-v5", kwargs), 1)
        assert len(str(caught.value)) < 500


def test_arguments_fit_into_a_recipe():
    with pytest.raises(UsageError, match=f"characters long: expected at most {LONGEST:,}"):
        plain({"points": np.zeros(10_000)})


@pytest.mark.parametrize("steps", [0, -1, 1.5, True, "many"])
def test_a_time_limit_is_a_positive_whole_number(steps):
    with pytest.raises(UsageError, match="max-episode-steps is .*: expected a positive whole number"):
        plain({"max_episode_steps": steps})


@pytest.mark.parametrize(
    ("task", "name", "value", "expected"),
    [
        ("Hopper-v5", "healthy_z_range", [1.0, 0.5], "two numbers, the lower one first"),
        ("Hopper-v5", "healthy_z_range", 0.5, "two numbers"),
        ("Hopper-v5", "ctrl_cost_weight", True, "a number"),
        ("Hopper-v5", "ctrl_cost_weight", "much", "a number"),
        ("Hopper-v5", "frame_skip", 2.0, "a whole number from 1 to 10,000"),
        ("Hopper-v5", "frame_skip", 0, "a whole number from 1 to 10,000"),
        ("Hopper-v5", "frame_skip", 2**40, "a whole number from 1 to 10,000"),
        ("Hopper-v5", "reset_noise_scale", -0.1, "zero or a positive number"),
        ("Hopper-v5", "xml_file", 3, "text"),
        ("Hopper-v5", "terminate_when_unhealthy", 1, "true or false"),
        ("Ant-v5", "main_body", 1.5, "a number or a name"),
    ],
)
def test_a_value_of_another_type_than_the_task_s_is_refused(task, name, value, expected):
    with pytest.raises(UsageError, match=f"^--env-kwargs.{name.replace('_', '-')} is .*: expected {expected}"):
        check_task(task, {name: value})


def test_a_misspelled_argument_is_answered_with_the_nearest_one():
    with pytest.raises(
        UsageError,
        match="^--env-kwargs.helthy-reward: Ant-v5 has no argument helthy_reward: did you mean healthy_reward.$",
    ):
        sim.make(Environment("Ant-v5", {"helthy_reward": 1}), 1)


def test_a_task_has_its_arguments_as_gymnasium_s_class_takes_them():
    task = make_task("Hopper-v5", {"healthy_z_range": [0.5, "inf"], "ctrl_cost_weight": 2, "width": 640})
    assert (task.healthy_z_range, task.ctrl_cost_weight) == ((0.5, math.inf), 2)


def test_a_file_in_the_working_directory_is_found_from_everywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my.xml").touch()
    assert located({"xml_file": "my.xml", "x": 1}) == {"xml_file": str(tmp_path / "my.xml"), "x": 1}
    assert located({"xml_file": f"..{os.sep}{tmp_path.name}/my.xml"}) == {"xml_file": str(tmp_path / "my.xml")}
    assert located({"xml_file": "ant.xml"}) == {"xml_file": "ant.xml"}  # which Gymnasium has
    assert located({"x": 1}) == {"x": 1}
