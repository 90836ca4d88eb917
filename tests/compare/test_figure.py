"""The picture: nothing overlaps or leaves it, every arm has its colour, and what must be said is on it."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from synthetic_runs import KNOWN_ENVIRONMENTS, rising, write_run

from rlsparse.compare.arms import arrange
from rlsparse.compare.comparison import compare
from rlsparse.compare.figure import draw_report, short_names
from rlsparse.compare.logs import read_logs
from rlsparse.compare.plot import COLORS, MUTED, arm_styles


def comparison_of(folder, arms, envs, seeds=5, points=6, **options):
    generator = np.random.default_rng(0)
    for env, (i, arm) in itertools.product(envs, enumerate(arms)):
        returns = rising(generator, seeds, points, top=100 + i % 3)
        write_run(folder / env / str(i), returns, agent=arm, env=env)
    return compare(arrange(read_logs([str(folder)]).logs, {}), **options)


LONG = [f"explorler-with-a-very-long-name learning_rate=0.000{i}" for i in range(1, 4)]
CASES = {
    "one arm": (["ppo"], ["Pendulum-v1"]),
    "two by two": (["ppo", "sb3-defaults"], ["Hopper-v5", "InvertedDoublePendulum-v5"]),
    "long names": (LONG, ["Hopper-v5", "Ant-v5", "Walker2d-v5"]),
    "many": ([f"agent-{i}" for i in range(12)], KNOWN_ENVIRONMENTS[:5]),
}


@pytest.fixture(params=CASES, scope="module")
def comparison(request, tmp_path_factory):
    return comparison_of(tmp_path_factory.mktemp("runs"), *CASES[request.param])


def texts(figure):
    """Extents in pixels of all texts of a figure, by what they say."""
    figure.canvas.draw()
    found = [*figure.texts]
    for axes in figure.axes:
        if axes.axison:
            drawn = [tick.label1 for axis in (axes.xaxis, axes.yaxis) for tick in axis._update_ticks()]
            legend = axes.get_legend().get_texts() if axes.get_legend() else []
            found += [*axes.texts, axes.title, axes._left_title, axes.xaxis.label, *legend, *drawn]
    ticks = [(text, text.get_window_extent()) for text in found if text.get_visible() and text.get_text().strip()]
    return [(text.get_text(), box) for text, box in ticks if box.width > 0]


def check_layout(figure):
    boxes = texts(figure)
    width, height = figure.get_size_inches() * figure.dpi
    for name, box in boxes:
        assert box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height, f"{name} leaves the picture"
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        overlap = min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1
        assert not overlap, f"{one} and {other} overlap"


def test_no_text_overlaps_another_or_leaves_the_picture(comparison):
    check_layout(draw_report(comparison))


def test_every_arm_is_named_with_its_n_in_the_legend_of_each_environment(comparison):
    said = [text.replace("\n", " ") for text, _ in texts(draw_report(comparison))]
    for arm in comparison.arms:
        assert said.count(f"{arm}, n=5") == len(comparison.panels)


def test_the_arm_that_ends_highest_is_named_first(tmp_path):
    for agent, top in (("low", 1.0), ("high", 3.0), ("middle", 2.0)):
        write_run(tmp_path / agent, [[0.0, top]] * 3, agent=agent)
    axes = draw_report(compare(arrange(read_logs([str(tmp_path)]).logs, {}))).axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["high, n=3", "middle, n=3", "low, n=3"]


def test_the_title_is_one_line_whatever_the_number_of_arms(comparison):
    assert sum(text == comparison.title for text, _ in texts(draw_report(comparison))) == 1


def test_an_arm_has_one_colour_everywhere(tmp_path):
    comparison = comparison_of(tmp_path, ["a", "b"], ["Hopper-v5", "Ant-v5"])
    figure = draw_report(comparison)
    colors = {to_rgb(line.get_color()) for axes in figure.axes for line in axes.lines}
    assert colors - {to_rgb(MUTED)} == {to_rgb(color) for color in COLORS[:2]}


def test_colours_are_told_apart_and_no_two_arms_look_the_same():
    styles = arm_styles([str(i) for i in range(28)])
    assert len({(style["color"], str(style["linestyle"])) for style in styles.values()}) == 28
    # simulated deuteranopia (Vienot, Brettel and Mollon 1999, in linear RGB): no two colours come close
    deuteranopia = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])
    seen = [deuteranopia @ np.array(to_rgb(style["color"])) ** 2.2 for style in list(styles.values())[:7]]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 0.08


def test_the_axis_the_intervals_and_the_remarks_are_on_it(tmp_path):
    write_run(tmp_path / "a", np.random.default_rng(0).normal(size=(3, 6)))
    write_run(tmp_path / "b", {3: [1.0, 2.0]}, state="failed", reason="out of memory")
    said = " ".join(text for text, _ in texts(draw_report(compare(arrange(read_logs([str(tmp_path)]).logs, {})))))
    assert "environment steps per seed (train + probe)" in said
    assert "95 % t interval of the mean" in said
    assert "n=3 of 4" in said
    assert "seed 3 failed (out of memory) at 1,000; it is not in the mean" in said
    assert "SMOKE CHECK" in said


def test_mismatches_are_on_it(tmp_path):
    generator = np.random.default_rng(0)
    write_run(tmp_path / "a", rising(generator, 5))
    write_run(tmp_path / "b", rising(generator, 5), agent="old", packages={"mujoco": "3.2.0"})
    comparison = compare(arrange(read_logs([str(tmp_path)]).logs, {}), allow_mixed=True)
    said = " ".join(text for text, _ in texts(draw_report(comparison)))
    assert "NOT ALIKE: Pendulum-v1 was computed by different versions of mujoco" in said


def test_shortened_names_keep_their_ends_and_stay_different():
    short = short_names(["ppo", *LONG], 14)
    assert short["ppo"] == "ppo"
    assert all(len(short[name]) == 14 for name in LONG)
    same_ends = ["a-long-name-of-one-kind-and-the-same-end", "a-long-name-of-other-kind-and-the-same-end"]
    assert len(set(short_names(same_ends, 14).values())) == 2
