"""The picture of returns against settings: one line for each combination of the other fields, values in order."""

import pytest
from matplotlib.figure import Figure

from rlsparse.compare.settings import Result, draw_settings, lines, values_of


def grid(rates=(1e-3, 1e-4), gammas=(0.99, 0.9), env="Hopper-v5", arm="ppo"):
    return [
        Result(arm, env, {"learning_rate": rate, "gamma": gamma}, (100 * gamma + 1e4 * rate, 100 * gamma))
        for rate in rates
        for gamma in gammas
    ]


@pytest.fixture
def figures(monkeypatch):
    """The figures that were drawn."""
    made = []
    begin = Figure.__init__
    monkeypatch.setattr(Figure, "__init__", lambda self, *args, **kw: made.append(self) or begin(self, *args, **kw))
    return made


def test_numbers_are_in_order_and_words_as_they_come():
    assert values_of(grid(), "learning_rate") == [1e-4, 1e-3]
    words = [Result("ppo", "Hopper-v5", {"sparse": x}, (1.0,)) for x in ("rigl", "none", "set")]
    assert values_of(words, "sparse") == ["rigl", "none", "set"]


def test_a_line_has_the_results_that_differ_in_one_field_alone():
    found = lines(grid(), "learning_rate")
    assert [line.name for line in found] == ["ppo, gamma 0.9", "ppo, gamma 0.99"]
    assert {line.values for line in found} == {(1e-4, 1e-3)}
    assert found[0].returns == ((91.0, 90.0), (100.0, 90.0))


def test_a_setting_that_is_not_there_yet_leaves_its_line_shorter():
    assert [line.values for line in lines(grid()[1:], "learning_rate")] == [(1e-4, 1e-3), (1e-4,)]


def test_every_field_and_environment_has_a_panel_and_the_thick_line_is_the_mean_of_the_others(tmp_path, figures):
    assert draw_settings(grid() + grid(env="Ant-v5"), tmp_path / "settings.png")
    assert (tmp_path / "settings.png").read_bytes().startswith(b"\x89PNG")
    axes = figures[0].axes
    assert [(x.get_title(), x.get_xlabel()) for x in axes] == [
        ("Hopper-v5", "learning_rate"),
        ("Ant-v5", "learning_rate"),
        ("", "gamma"),
        ("", "gamma"),
    ]
    thick = max(axes[0].lines, key=lambda line: line.get_linewidth())
    assert thick.get_xydata().tolist() == [[1e-4, (90.5 + 99.5) / 2], [1e-3, (95 + 104) / 2]]
    assert axes[0].get_xscale() == "log"
    assert axes[2].get_xscale() == "linear"


def test_of_many_lines_none_is_named(tmp_path, figures):
    draw_settings(grid(rates=[1e-4 * k for k in range(1, 10)]), tmp_path / "settings.png")
    learning_rate, gamma = figures[0].axes
    assert learning_rate.get_legend() is not None
    assert gamma.get_legend() is None


def test_words_yes_and_no_and_none_lie_side_by_side(tmp_path, figures):
    results = [
        Result("ppo", "Hopper-v5", {"target_kl": x, "scale": y}, (1.0,)) for x in (None, 0.02) for y in (True, False)
    ]
    assert draw_settings(results, tmp_path / "settings.png")
    assert [[x.get_text() for x in axes.get_xticklabels()] for axes in figures[0].axes] == [
        ["None", "0.02"],
        ["True", "False"],
    ]


def test_where_nothing_is_swept_nothing_is_drawn(tmp_path):
    assert not draw_settings(grid(rates=[1e-3], gammas=[0.9]), tmp_path / "settings.png")
    assert not (tmp_path / "settings.png").exists()
