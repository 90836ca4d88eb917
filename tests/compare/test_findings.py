"""The result in sentences."""

import numpy as np
import pytest
from synthetic_runs import rising, write_run

from rlsparse.compare.arms import arrange
from rlsparse.compare.comparison import compare
from rlsparse.compare.findings import findings
from rlsparse.compare.logs import read_logs
from rlsparse.compare.report import text


@pytest.fixture
def generator():
    return np.random.default_rng(1)


def compared(folder):
    return compare(arrange(read_logs([str(folder)]).logs, {}))


def test_one_arm_is_told_with_its_interval_or_without_seeds_its_mean(tmp_path):
    write_run(tmp_path / "one" / "a", [np.full(5, y) for y in (90.0, 100.0, 110.0)])
    write_run(tmp_path / "two" / "a", [np.full(5, 90.0)])
    assert findings(compared(tmp_path / "one")) == [
        "Pendulum-v1: ppo ends at 100.0 (95 % interval 75.2 to 124.8, n = 3)."
    ]
    assert findings(compared(tmp_path / "two")) == ["Pendulum-v1: ppo ends at 90.0 (n = 1)."]


def test_few_seeds_cannot_tell_arms_apart(tmp_path, generator):
    write_run(tmp_path / "a", rising(generator, 3))
    write_run(tmp_path / "b", rising(generator, 4) + 1000, agent="trpo")
    assert findings(compared(tmp_path)) == ["Pendulum-v1: too few seeds to tell the arms apart (n = 3 to 4)."]


def test_a_difference_is_told_with_its_direction_and_interval(tmp_path):
    spread = np.arange(5.0)
    for agent, level in (("low", 0), ("high", 100), ("same", 100)):
        write_run(tmp_path / agent, [np.full(5, level + x) for x in spread], agent=agent)
    (told,) = findings(compared(tmp_path))
    interval = "(95 % interval 97.7 to 102.3)"  # 100 -+ 2.306 (t, 8 degrees of freedom) x 1
    high = f"high above low by 100.0 {interval}"
    assert told.startswith("Pendulum-v1: ")
    assert high in told or f"low below high by 100.0 {interval}" in told
    assert told.endswith("no evidence of another difference (n = 5).")


def test_what_holds_over_environments_comes_first_and_is_printed_before_any_table(tmp_path, generator):
    for env in ("Hopper-v5", "Ant-v5"):
        for agent, top in (("low", 100), ("high", 1000)):
            write_run(tmp_path / env / agent, rising(generator, 5, top=top), agent=agent, env=env)
    comparison = compared(tmp_path)
    iqm, probability, ant, hopper = findings(comparison)
    assert iqm.startswith("Over 2 environments: normalised IQM high 0.")
    assert probability.startswith("Over 2 environments: high above low with probability 1.00 (95 % interval 0.")
    assert (ant[:7], hopper[:10]) == ("Ant-v5:", "Hopper-v5:")
    report = text(comparison)
    assert report.startswith(iqm[:60])
    assert report.index("Ant-v5: ") < report.index("Normalised IQM over") < report.index("Ant-v5: evaluation return")
