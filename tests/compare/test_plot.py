"""curve.png shows the curve, with an interval when there are seeds enough for one."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from rlsparse.compare import plot
from rlsparse.compare.plot import BLUE, curves, draw_curve


def rows(seeds, points, value=lambda seed, step: step * (1 + 0.2 * seed)):
    return [
        {"seed": seed, "total_steps": step, "return_mean": value(seed, step)}
        for step in np.linspace(0, 1e6, points)
        for seed in seeds
    ]


def share_of(image, colour):
    """Share of pixels that are close to a colour."""
    return (np.abs(image[..., :3] - to_rgb(colour)).max(-1) < 0.05).mean()


def test_curves_are_sorted_by_seed_and_step_whatever_the_order_of_rows():
    shuffled = np.random.default_rng(0).permutation(rows([4, 3, 10], 5)).tolist()
    steps, returns, seeds = curves(shuffled)
    assert seeds == [3, 4, 10]
    np.testing.assert_array_equal(steps, np.linspace(0, 1e6, 5))
    np.testing.assert_allclose(returns, [[step * (1 + 0.2 * seed) for step in steps] for seed in seeds])


@pytest.mark.parametrize("seeds", [[0], [0, 1], [0, 1, 2, 3, 4]])
def test_the_picture_is_a_png_with_a_curve_in_it(seeds, tmp_path):
    draw_curve(rows(seeds, 21), "ppo on HalfCheetah-v5", tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    image = imread(tmp_path / "curve.png")
    assert image.shape[:2] == (630, 1050)
    assert share_of(image, "white") > 0.5
    assert share_of(image, BLUE) > 0.002


def test_an_interval_is_drawn_from_three_seeds_on(tmp_path):
    """As an area in a light blue: the line's colour at a fifth of its strength, on white."""
    light = np.array(to_rgb(BLUE)) * 0.2 + 0.8
    shares = []
    for count in (2, 3):
        draw_curve(rows(range(count), 21), "title", tmp_path / "curve.png")
        shares.append(share_of(imread(tmp_path / "curve.png"), light))
    assert shares[0] < 0.01 < shares[1]


def test_a_better_run_draws_another_curve(tmp_path):
    for name, slope in (("flat", 0.0), ("steep", 1.0)):
        draw_curve(rows([0], 21, lambda _, step, slope=slope: slope * step), "title", tmp_path / f"{name}.png")
    assert not np.array_equal(imread(tmp_path / "flat.png"), imread(tmp_path / "steep.png"))


def test_one_evaluation_is_enough_for_a_picture(tmp_path):
    draw_curve(rows([0], 1), "title", tmp_path / "curve.png")
    assert (tmp_path / "curve.png").is_file()


def test_of_a_long_curve_so_many_points_are_drawn_from_the_first_to_the_last(monkeypatch):
    monkeypatch.setattr(plot, "MOST_POINTS", 5)
    steps, returns, _ = curves(rows([0, 1], 21, lambda seed, step: step + seed))
    assert len(steps) == 5
    assert (steps[0], steps[-1]) == (rows([0], 21)[0]["total_steps"], rows([0], 21)[-1]["total_steps"])
    assert (returns == [steps, steps + 1]).all()
