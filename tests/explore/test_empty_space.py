"""Empty-space search, against numbers of the published code and against a search in the space of all parameters."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlsparse.explore.anchors import Probed, combine, differences
from rlsparse.explore.empty_space import (
    EmptySpace,
    distances,
    lennard_jones,
    net_force,
    norm,
    search,
    start_weights,
)

CASE = json.loads((Path(__file__).parent.parent / "data" / "explorler.json").read_text())
ANCHORS = np.array(CASE["anchors_10x5"])
PUBLISHED = EmptySpace(reach=0.06, unit="absolute")
CLAMP = 0.001

seeds = st.integers(0, 2**32 - 1)
forms = st.sampled_from([PUBLISHED, EmptySpace(), EmptySpace(unit="spread", reach=0.5)])


def gram(anchors):
    from_last = differences(np.asarray(anchors, float))
    return from_last @ from_last.swapaxes(-1, -2)


def weights_of(point, anchors):
    """Some weights of sum 1 over the anchors that make the point."""
    system = np.vstack([np.transpose(anchors), np.ones(len(anchors))])
    return np.linalg.lstsq(system, [*point, 1.0])[0]


def candidates(form, anchors):
    anchors = np.asarray(anchors, float)
    if anchors.ndim == 2:
        return candidates(form, anchors[None])[0]
    return form(anchors, Probed.nothing(anchors[:, -1]), [])


def way(anchors, start, moves, step, gamma=0.3, epsilon=0.5):
    """Points before every move and after the last, of one agent."""
    options = {"moves": moves, "keep_every": 1, "neighbours": 6, "gamma": gamma, "shortest": CLAMP, "epsilon": epsilon}
    weights = search(gram(anchors), weights_of(start, anchors)[None], step, **options)
    return combine(anchors, weights[0])


@pytest.mark.parametrize("case", CASE["lj_force"]["cases"], ids=str)
def test_force_of_one_anchor(case):
    force = lennard_jones(max(case["d"], CLAMP), case["sigma"], case["epsilon"])
    np.testing.assert_allclose(force, case["force"], rtol=1e-9, atol=1e-9)


@given(st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0.1, 5), st.floats(0.01, 100))
def test_force_scales_with_the_inverse_of_lengths(distance, sigma, epsilon, scale):
    np.testing.assert_allclose(lennard_jones(sigma, sigma, epsilon), 6 * epsilon / sigma)
    force = lennard_jones(distance, sigma, epsilon)
    np.testing.assert_allclose(lennard_jones(scale * distance, scale * sigma, epsilon), force / scale, rtol=1e-9)


@pytest.mark.parametrize("name", ["net_force", "net_force_with_clamp"])
def test_net_force(name):
    case = CASE[name]
    anchors, point = np.array(case["neighbours"]), case["point"]
    weights = weights_of(point, anchors)
    if name == "net_force_with_clamp":
        # exact weights: the forces along the two axes are 41 orders of magnitude apart
        weights = np.array([1 / (1 - 0.0005), -0.0005 / (1 - 0.0005), 0.0])
    np.testing.assert_allclose(distances(gram(anchors), weights[None])[0], case["distances"], rtol=1e-9)
    force = net_force(gram(anchors), weights[None], len(anchors), CLAMP, case["epsilon"])
    assert abs(force.sum()) <= 1e-12 * np.abs(force).sum()
    np.testing.assert_allclose(force[0] @ anchors, case["result"], rtol=1e-9)
    np.testing.assert_allclose(norm(gram(anchors), force), np.linalg.norm(case["result"]), rtol=1e-9)


def test_first_direction_is_that_of_the_net_force():
    case, start = CASE["esa_first_move_direction"], CASE["esa_first_steps"]["start"]
    weights = weights_of(start, ANCHORS)[None]
    distance = distances(gram(ANCHORS), weights)[0]
    nearest = np.argsort(distance)[:6]
    assert nearest.tolist() == case["neighbours_of_start"]
    np.testing.assert_allclose(distance[nearest], case["distances"], rtol=1e-9)
    force = net_force(gram(ANCHORS), weights, 6, CLAMP)[0] @ ANCHORS
    np.testing.assert_allclose(force, case["net_force"], rtol=1e-9)
    first, second = way(ANCHORS, start, 1, 0.001)
    np.testing.assert_allclose((second - first) / 0.001, case["unit_direction"], atol=1e-9)


def test_start_points_are_means_of_the_nearest_others():
    case = CASE["knn_start_points"]
    distance = distances(gram(ANCHORS), np.eye(10))
    nearest = np.argsort(distance, axis=1)[:, :6]
    np.testing.assert_array_equal(nearest, case["adjacency"])
    np.testing.assert_allclose(np.take_along_axis(distance, nearest, 1), case["distances"], atol=1e-9)
    starts = combine(ANCHORS, start_weights(gram(ANCHORS), 10, 6))
    np.testing.assert_allclose(starts, case["starts_all_10"], atol=1e-9)
    for agents, every in ((5, "2nd"), (4, "3rd"), (3, "4th")):
        chosen = case[f"subset_m{agents}_every_{every}"]
        np.testing.assert_array_equal(
            start_weights(gram(ANCHORS), agents, 6), start_weights(gram(ANCHORS), 10, 6)[chosen]
        )


@pytest.mark.parametrize("name", ["esa_first_steps", "esa_big_step"])
def test_positions_after_every_move(name):
    case = CASE[name]
    expected = list(case["positions_after_n_moves"].values())
    got = way(ANCHORS, case["start"], len(expected) - 1, case["step"])
    np.testing.assert_allclose(got, expected, atol=1e-9)


@pytest.mark.parametrize(("gamma", "moved"), [(0.0, 0.053125), (0.3, 0.052991), (0.5, 0.052851), (0.9, 0.053251)])
def test_momentum_changes_how_far_an_agent_gets(gamma, moved):
    points = way(ANCHORS, CASE["esa_first_steps"]["start"], 60, 0.001, gamma)
    assert np.linalg.norm(points[-1] - points[0]) == pytest.approx(moved, abs=1e-6)


def test_candidates_of_the_published_form():
    case = CASE["esa_candidates"]
    got = candidates(PUBLISHED, ANCHORS)
    np.testing.assert_allclose(got, case["candidates"], atol=1e-9)
    agents = got.reshape(5, 4, 5)
    moved = np.linalg.norm(agents[:, -1] - agents[:, 0], axis=1)
    np.testing.assert_allclose(moved, case["displacement_per_agent"], atol=1e-9)
    starts = np.array(CASE["knn_start_points"]["starts_all_10"])[::2]
    np.testing.assert_allclose(agents[:, 0], starts, atol=1e-9)


def test_epsilon_has_no_effect():
    case, start = CASE["esa_epsilon_invariance"], CASE["esa_first_steps"]["start"]
    for epsilon in case["epsilons"]:
        np.testing.assert_allclose(way(ANCHORS, start, 60, 0.001, epsilon=epsilon)[-1], case["final"], atol=1e-9)


def test_an_agent_that_feels_no_force_stays_and_is_kept_again():
    case = CASE["esa_zero_force"]
    points = way(np.array(case["anchors"], float), case["start"], 3, 0.001)
    np.testing.assert_allclose(points, np.tile(case["rows"][0], (4, 1)), atol=1e-15)


@pytest.mark.parametrize("case", CASE["candidate_counts"]["cases"], ids=str)
def test_candidates_are_counted_beforehand(case):
    form = EmptySpace(agents=case["agents"], moves=case["moves"])
    assert form.count(10) == case["candidates"] == len(candidates(form, ANCHORS))


def search_in_full(anchors, form, step):
    """The same search on all parameters, as the papers write it."""
    for own in anchors[:: (len(anchors) - 1) // (form.agents - 1)][: form.agents]:
        nearest = np.argsort(np.linalg.norm(anchors - own, axis=1))[: form.neighbours]
        x, heading, magnitude = anchors[nearest[1:]].mean(0), 0.0, 0.0
        for move in range(form.moves):
            if move % form.keep_every == 0:
                yield x
            d = np.linalg.norm(anchors - x, axis=1)
            nearest = np.argsort(d)[: form.neighbours]
            sigma, d = d[nearest].mean(), np.maximum(d[nearest], step)
            size = 3.0 * (2 * (sigma / d) ** 13 - (sigma / d) ** 7) / sigma
            force = (size / d) @ (x - anchors[nearest])
            strength = np.linalg.norm(force)
            v = (force + magnitude * heading) / (magnitude + strength)
            x = x + step * v
            magnitude = form.gamma * magnitude + strength
            heading = form.gamma * heading + v
            heading = heading / np.linalg.norm(heading)
        yield x


@given(seeds, st.integers(8, 12), st.integers(2, 30))
def test_equals_the_search_on_all_parameters(seed, num_anchors, size):
    anchors = 0.01 * np.random.default_rng(seed).standard_normal((num_anchors, size)).cumsum(0)
    expected = list(search_in_full(anchors, PUBLISHED, 0.001))
    np.testing.assert_allclose(candidates(PUBLISHED, anchors), expected, atol=1e-9)


@given(seeds, forms)
def test_candidates_lie_in_the_span_of_the_anchors(seed, form):
    anchors = np.random.default_rng(seed).standard_normal((10, 12))
    weights = form.trajectories(anchors[None])
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-12)
    found = candidates(form, anchors)
    back = np.array([weights_of(point, anchors) @ anchors for point in found])
    np.testing.assert_allclose(back, found, atol=1e-12)


@given(seeds, forms)
def test_candidates_move_with_the_anchors(seed, form):
    generator = np.random.default_rng(seed)
    anchors, shift = 0.1 * generator.standard_normal((10, 7)), 10 * generator.standard_normal(7)
    turn = np.linalg.qr(generator.standard_normal((7, 7)))[0]
    found = candidates(form, anchors)
    np.testing.assert_allclose(candidates(form, anchors + shift), found + shift, atol=1e-9)
    np.testing.assert_allclose(candidates(form, anchors @ turn), found @ turn, atol=1e-9)


@given(seeds, st.sampled_from(["spread", "update"]), st.floats(1e-4, 1e4))
def test_in_relative_units_the_whole_search_scales_with_the_anchors(seed, unit, scale):
    anchors = np.random.default_rng(seed).standard_normal((10, 7))
    found = candidates(EmptySpace(unit=unit), anchors)
    np.testing.assert_allclose(candidates(EmptySpace(unit=unit), scale * anchors), scale * found, rtol=1e-6)


@given(seeds, forms)
def test_no_agent_goes_beyond_its_reach(seed, form):
    anchors = np.random.default_rng(seed).standard_normal((10, 7))
    agents = candidates(form, anchors).reshape(5, 4, 7)
    unit = {
        "absolute": 1.0,
        "spread": np.sqrt(((anchors - anchors.mean(0)) ** 2).sum(1).mean()),
        "update": np.linalg.norm(anchors[-1] - anchors[0]),
    }[form.unit]
    far = np.linalg.norm(agents - agents[:, :1], axis=-1)
    assert (far <= form.reach * unit * np.array([0, 1, 2, 3]) / 3 * (1 + 1e-9)).all()
    assert (far[:, -1] > 0).all()


def test_anchors_close_together_and_far_from_zero_keep_their_digits():
    generator = np.random.default_rng(0)
    near = np.round(generator.standard_normal((10, 50)) * 2**20) / 2**34
    far = 2.0**4 * np.sign(generator.standard_normal(50))  # exact in float64, where a Gram of raw anchors loses 1e-9
    found = candidates(EmptySpace(), near)
    np.testing.assert_allclose(candidates(EmptySpace(), near + far) - far, found, atol=1e-13)


@pytest.mark.parametrize("num_anchors", [1, 2, 3, 5, 6, 7])
def test_few_anchors_make_fewer_neighbours_and_agents(num_anchors):
    anchors = np.random.default_rng(num_anchors).standard_normal((num_anchors, 4))
    found = candidates(PUBLISHED, anchors)
    assert np.isfinite(found).all()
    assert len(found) == PUBLISHED.count(num_anchors) == 4 * min(num_anchors, 5)
    others = [np.delete(anchors, i, 0).mean(0) for i in range(num_anchors)] if num_anchors > 1 else anchors
    if num_anchors <= 5:
        np.testing.assert_allclose(found[::4], others, atol=1e-12)


def test_from_one_or_equal_anchors_nothing_moves():
    one = np.random.default_rng(0).standard_normal((1, 1, 4))
    for anchors in (one, np.repeat(one, 10, 1)):
        for unit in ("absolute", "spread", "update"):
            found = candidates(EmptySpace(unit=unit), anchors)
            np.testing.assert_array_equal(found, np.broadcast_to(one, found.shape))


def test_an_update_that_returned_to_its_start_gives_no_length_to_move():
    anchors = np.random.default_rng(0).standard_normal((10, 4))
    anchors[-1] = anchors[0]
    agents = candidates(EmptySpace(unit="update"), anchors).reshape(5, 4, 4)
    np.testing.assert_array_equal(agents, np.broadcast_to(agents[:, :1], agents.shape))


def test_an_agent_that_starts_on_an_anchor_is_held_apart_by_the_clamp():
    anchors = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [0.0, 0.0], [3.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    assert np.isfinite(candidates(PUBLISHED, anchors)).all()
