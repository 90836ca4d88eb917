"""The best of several settings: a maximum, which is told as one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from rlsparse import UsageError
from rlsparse.study.ranking import best_lines, ranked
from rlsparse.study.result import Sweep
from rlsparse.study.standing import Standing


def cell(rate, returns, env="Hopper-v5", first=0):
    seeds = range(first, first + len(returns))
    folder = Path(f"runs/{env}/{rate}/{first}")
    setting = {"algorithm.learning_rate": rate}
    label = f"ppo, learning_rate {rate}"
    return Standing(label, env, seeds, 100, folder, "finished", 100, returns, arm="ppo", setting=setting)


STANDINGS = [
    cell(0.1, (1.0, 2.0, 3.0)),
    cell(0.2, (5.0, 6.0)),
    cell(0.2, (10.0, 9.0), first=2),
    cell(0.3, (3.0,)),
    cell(0.1, (1.0,), "Walker2d-v5"),
    cell(0.2, (1.0,), "Walker2d-v5"),
]


def study(standings=STANDINGS):
    return Sweep(Path("runs"), (), tuple(standings))


def test_the_highest_mean_over_all_seeds_is_first_in_each_environment():
    found = [(x.environment, x.setting["algorithm.learning_rate"], x.mean) for x in study().ranked()]
    hopper = [("Hopper-v5", 0.2, 7.5), ("Hopper-v5", 0.3, 3.0), ("Hopper-v5", 0.1, 2.0)]
    assert found == [*hopper, ("Walker2d-v5", 0.1, 1.0), ("Walker2d-v5", 0.2, 1.0)]


def test_the_best_has_the_seeds_returns_and_directories_of_all_its_runs():
    best = study().best("hopper")
    assert (best.arm, best.seeds, best.returns) == ("ppo", (0, 1, 2, 3), (5.0, 6.0, 10.0, 9.0))
    assert best.folders == (Path("runs/Hopper-v5/0.2/0"), Path("runs/Hopper-v5/0.2/2"))
    assert str(best) == "ppo, learning_rate 0.2 on Hopper-v5: 7.5 +- 3.8, n = 4"


def test_its_interval_is_that_of_student():
    best = study().best("Hopper-v5")
    sem = stats.sem(best.returns)
    assert np.allclose(best.interval, stats.t.interval(0.95, 3, loc=7.5, scale=sem))


def test_cells_that_are_not_finished_have_no_rank():
    assert ranked([replace(x, state="failed") for x in STANDINGS]) == []


@pytest.mark.parametrize(
    ("standings", "environment", "said"),
    [
        (STANDINGS, None, "best of which environment? Hopper-v5 or Walker2d-v5"),
        (STANDINGS, "Hoper-v5", "no finished runs on 'Hoper-v5': did you mean Hopper-v5?"),
        ([], None, "no run of the study is finished"),
    ],
)
def test_what_cannot_be_ranked_is_said_in_one_line(standings, environment, said):
    with pytest.raises(UsageError) as told:
        study(standings).best(environment)
    assert said in str(told.value)


def test_the_command_tells_the_best_setting_as_a_maximum():
    assert best_lines(STANDINGS) == [
        "best of 3 on Hopper-v5: ppo, learning_rate 0.2; a maximum, and so no score",
        "best of 2 on Walker2d-v5: ppo, learning_rate 0.1, and 1 more with the same mean; a maximum, and so no score",
    ]


def test_arms_without_settings_are_compared_and_not_ranked():
    arms = [replace(x, label=f"arm {i}", setting={}) for i, x in enumerate(STANDINGS)]
    assert best_lines(arms) == []
