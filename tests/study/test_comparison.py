"""A study is compared as a whole: each arm with each setting is an arm of the comparison."""

import logging
from pathlib import Path

import pytest
import tiny
from cells import Here, cell
from matplotlib.figure import Figure

from rlsparse.run.stop import Stop
from rlsparse.study import comparison
from rlsparse.study.comparison import best, compare_finished
from rlsparse.study.drive import Drive, Options
from rlsparse.study.standing import Standing


def told(label, env, *returns):
    return Standing(label, env, range(len(returns)), 100, Path(label), "finished", 100, returns)


def test_few_arms_are_all_kept():
    assert best([told("a", "x", 1.0), told("b", "x", 2.0), told("a", "y", 1.0)], 2) == ["a", "b"]


def test_of_many_those_are_kept_that_rank_best_whatever_the_scale_of_returns():
    standings = [
        *(told("a", "x", 1000.0), told("b", "x", 990.0, 1000.0), told("c", "x", 0.0)),
        *(told("a", "y", 1.0), told("b", "y", 2.0), told("c", "y", 3.0)),
        told("d", "x"),
    ]
    assert best(standings, 2) == ["a", "b"]
    assert best(standings, 3) == ["a", "b", "c"]


@pytest.fixture
def study(monkeypatch, tmp_path):
    """How three cells stand, of which one failed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.fsync", lambda _: None)
    monkeypatch.setattr(Figure, "savefig", lambda _, file, **__: file.write(b"a picture"))
    cells = [cell("slow"), cell("fast", algorithm=tiny.fast()), cell("bad", env="fake_envs:Unbuildable")]
    return Drive(cells, Here(), Options(trust=True), Stop(), lambda _: None).run([[x] for x in cells])


def test_what_is_finished_is_compared(study):
    compared = compare_finished(study, Path("study"))
    assert compared.account["arms"] == ["slow", "fast"]
    assert compared.account["n"] == {"fake_envs:Point-v0": {"slow": 1, "fast": 1}}
    assert Path("study/comparison/report.html").exists()
    assert compare_finished([], Path("study")) is None


def test_a_comparison_that_fails_costs_only_itself(study, caplog):
    for x in study[:2]:
        (x.folder / "progress.csv").write_text("damaged")
    with caplog.at_level(logging.WARNING):
        assert compare_finished(study, Path("study")) is None
    assert "no comparison: " in caplog.text


def test_that_not_all_are_compared_is_said(study, caplog, monkeypatch):
    monkeypatch.setattr(comparison, "MOST_ARMS", 1)
    with caplog.at_level(logging.WARNING):
        assert len(compare_finished(study, Path("study")).account["arms"]) == 1
    assert "the 1 settings that rank best by their last returns, of 2" in caplog.text
