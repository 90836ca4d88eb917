"""How a study stands, in text."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from rlsparse.study.standing import Standing, Watch, refused
from rlsparse.study.study import Failure
from rlsparse.study.table import duration, name, news, record, returns_text, seeds_text, short, summary, table

CELL = Standing("ppo", "Hopper-v5", range(5), 1_000_000, Path("runs/ppo"))
RUNNING = replace(CELL, state="running", steps=250_000, rate=100.0, returns=(1.0, 2.0, 3.0))
FAILED = replace(CELL, label="trpo", state="failed", reason="the motor burned out", code=3)
FINISHED = replace(CELL, state="finished", steps=1_000_448, returns=(10.0,) * 5)


def test_a_table_has_a_line_for_each_cell():
    assert table([RUNNING, FAILED, FINISHED]).splitlines() == [
        "      environment  seeds   state              steps  steps/s       return",
        "ppo   Hopper-v5    0 to 4  2:05:00 left  250k of 1M      500   2.0 +- 2.5",
        "trpo  Hopper-v5    0 to 4  failed           0 of 1M                        the motor burned out",
        "ppo   Hopper-v5    0 to 4  finished              1M           10.0 +- 0.0",
        "3 cells: 1 finished, 1 running, 1 failed; 41.7 % of 15M steps, 500 steps/s, 2:05:00 left",
    ]


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (9_999, "9,999"), (12_340, "12.34k"), (1_000_448, "1M"), (2_500_000, "2.5M"), (10**9, "1G")],
)
def test_large_numbers_are_told_in_few_characters(number, text):
    assert short(number) == text


def test_it_is_no_higher_and_no_wider_than_the_terminal_and_begins_with_what_matters():
    many = [FINISHED] * 50 + [RUNNING] * 3 + [FAILED] + [CELL] * 50
    lines = table(many, 10, 80).splitlines()
    assert len(lines) == 10
    assert max(map(len, lines)) <= 80
    assert lines[1].endswith("failed        the motor burned out")
    assert ["left" in line for line in lines[2:5]] == [True] * 3
    assert lines[8] == "and 97 more cells"
    assert table(many, 2, 80).count("\n") <= 2


def grid(env="Hopper-v5"):
    """Four settings, one of which is refused."""
    for rate in (1e-4, 1e-3):
        for gamma in (0.97, 0.995):
            setting = {"algorithm.learning_rate": rate, "advantage.gamma": gamma}
            label = f"ppo, learning_rate {rate}, gamma {gamma}"
            cell = replace(RUNNING, label=label, env=env, arm="ppo", setting=setting, returns=(10.0, 200.0, 3000.0))
            yield cell if gamma < 0.99 else replace(FAILED, label=label, env=env, arm="ppo", setting=setting)


@pytest.mark.parametrize(
    ("width", "first", "second", "third"),
    [
        (
            100,
            "                                        environment  state              steps              return",
            "ppo, learning_rate 0.0001, gamma 0.97   Hopper-v5    2:05:00 left  250k of 1M  1,070.0 +- 4,158.8",
            "ppo, learning_rate 0.0001, gamma 0.995  Hopper-v5    failed        the motor burned out",
        ),
        (
            80,
            "on Hopper-v5        state              steps              return",
            "ppo, 0.0001, 0.97   2:05:00 left  250k of 1M  1,070.0 +- 4,158.8",
            "ppo, 0.0001, 0.995  failed        the motor burned out",
        ),
        (
            60,
            "on Hopper-v5        state                     return",
            "ppo, 0.0001, 0.97   2:05:00 left  1,070.0 +- 4,158.8",
            "ppo, 0.0001, 0.995  failed        the motor burned out",
        ),
        (
            44,
            "on Hopper-  state                     return",
            "ppo, 0.000  2:05:00 left  1,070.0 +- 4,158.8",
            "ppo, 0.000  failed        the motor burned o",
        ),
    ],
)
def test_on_a_narrow_terminal_returns_and_reasons_stay(width, first, second, third):
    lines = table([*grid()], width=width).splitlines()
    assert lines[:3] == [first, second, third]
    assert all(len(line) <= width for line in lines)


def test_where_environments_differ_their_column_stays():
    lines = table([*grid(), *grid("Walker2d-v5")], width=80).splitlines()
    assert lines[0].split() == ["environment", "state", "steps", "return"]
    assert lines[1].startswith("ppo, 0.0001, 0.97   Hopper-v5    2:05:00 left")


def test_a_table_that_is_not_cut_says_reasons_whole():
    failed = replace(FAILED, reason="the motor burned out " * 20)
    assert ("the motor burned out " * 20).strip() in table([failed], width=80, cut=False)


def test_a_table_of_no_cell_fits_any_terminal():
    assert table([], 1, 1) == " \n0"


def test_news_are_told_when_a_state_changes():
    assert news(CELL, replace(CELL, state="running")) == "ppo on Hopper-v5, seeds 0 to 4: running"
    assert news(RUNNING, replace(RUNNING, steps=300_000)) == ""
    assert news(RUNNING, FINISHED) == "ppo on Hopper-v5, seeds 0 to 4: finished, return 10.0 +- 0.0"
    assert news(CELL, FAILED) == "trpo on Hopper-v5, seeds 0 to 4: failed: the motor burned out"
    stopped = replace(RUNNING, state="interrupted")
    assert news(RUNNING, stopped) == "ppo on Hopper-v5, seeds 0 to 4: interrupted at 250,000 steps"


def test_the_interval_is_told_where_there_are_seeds_enough():
    assert returns_text([]) == ""
    assert returns_text([1.0, 2.0]) == "1.5"
    # Student's t with 2 degrees of freedom: 4.3027 x 1 / sqrt(3)
    assert returns_text([1001.0, 1002.0, 1003.0]) == "1,002.0 +- 2.5"


@pytest.mark.parametrize(("seeds", "text"), [(range(3, 4), "3"), (range(2, 5), "2 to 4"), (range(0), "")])
def test_seeds_are_told_from_the_first_to_the_last(seeds, text):
    assert seeds_text(seeds) == text


def test_a_cell_whose_recipe_is_refused_has_a_line_too():
    now = refused(Failure("ppo, gamma 2", "Hopper-v5", "--advantage.gamma is 2: expected a number from 0 to 1"))
    assert "failed" in table([now])
    assert "--advantage.gamma is 2: expected a number" in table([now])
    assert name(now) == "ppo, gamma 2 on Hopper-v5"
    assert summary([now]) == "1 cell: 1 failed; 0.0 % of 0 steps"
    assert record(now)["run_dir"] is None


def test_the_whole_study_is_told_in_a_line():
    assert summary([CELL, RUNNING], 60) == (
        "2 cells: 1 waiting, 1 running; 12.5 % of 10M steps, 500 steps/s, 4:51:40 left, 0:01:00"
    )


def test_durations_are_told_as_on_a_clock():
    assert [duration(x) for x in (0, 59.6, 3_723)] == ["0:00:00", "0:01:00", "1:02:03"]


def test_a_standing_as_plain_values():
    assert record(FINISHED) == {
        "label": "ppo",
        "arm": "",
        "setting": {},
        "env": "Hopper-v5",
        "seeds": [0, 1, 2, 3, 4],
        "state": "finished",
        "reason": "",
        "total_steps": 1_000_448,
        "returns": [10.0] * 5,
        "run_dir": "runs/ppo",
    }


def test_the_speed_is_that_between_the_first_and_the_last_status(tmp_path):
    def write(steps, at):
        (tmp_path / "status.json").write_text(json.dumps({"total_steps": steps}))
        os.utime(tmp_path / "status.json", (at, at))

    watch = Watch(replace(CELL, folder=tmp_path))
    assert watch.look().rate == 0
    write(1_000, 100)
    assert (watch.look().steps, watch.look().rate) == (1_000, 0)
    write(3_000, 110)
    assert (watch.look().steps, watch.look().rate) == (3_000, 200)
    write(4_000, 120)
    assert watch.look().rate == 150


def test_an_evaluation_tells_steps_too_as_it_comes_more_often_than_a_status(tmp_path):
    def evaluate(steps, at):
        (tmp_path / "progress.csv").write_text(f"seed,total_steps,return_mean\n0,{steps},{steps / 1_000}\n")
        os.utime(tmp_path / "progress.csv", (at, at))

    watch = Watch(replace(CELL, seeds=range(1), folder=tmp_path))
    evaluate(1_000, 100)
    assert (watch.look().returns, watch.look().steps, watch.look().rate) == ((1.0,), 1_000, 0)
    evaluate(5_000, 120)
    assert (watch.look().returns, watch.look().steps, watch.look().rate) == ((5.0,), 5_000, 200)


def test_times_of_an_earlier_session_say_nothing_of_the_speed_of_this_one(tmp_path):
    def write(steps, at):
        (tmp_path / "status.json").write_text(json.dumps({"total_steps": steps}))
        os.utime(tmp_path / "status.json", (at, at))

    write(1_000, 100)
    watch = Watch(replace(CELL, folder=tmp_path, steps=1_000))
    assert (watch.look().steps, watch.look().rate) == (1_000, 0)
    write(1_000, 90_000)
    write(2_000, 90_010)
    assert watch.look().rate == 0
    write(3_000, 90_020)
    assert watch.look().rate == 100


def test_a_failure_is_seen_while_others_are_trained_on_but_not_that_of_an_earlier_session(tmp_path):
    def write(**status):
        (tmp_path / "status.json").write_text(json.dumps(status))
        os.utime(tmp_path / "status.json", ns=(0, len(json.dumps(status))))

    write(state="failed", reason="another time")
    watch = Watch(replace(CELL, folder=tmp_path, state="running"), {"state": "failed", "reason": "another time"})
    assert watch.look().state == "running"
    write(state="running")
    assert watch.look().state == "running"
    write(state="failed", reason="the motor burned out")
    assert (watch.look().state, watch.look().reason) == ("failed", "the motor burned out")
